"""Clips in line, and the drafter that repeats a frame."""

import pytest
import torch
from decoding.checks import check_law
from decoding.markov import MarkovSession, markov_tables

from mmgen.decoding.drafters.drafter import Context
from mmgen.decoding.drafters.initial import FrameRepeat, VerticalRepeat
from mmgen.decoding.line import Line
from mmgen.errors import SizeError
from mmgen.layout import RasterLayout, VideoLayout
from mmgen.rng import Rng

CLIP = VideoLayout(6, 4, frames=3)


def test_codes_stand_frame_by_frame_row_by_row():
    codes = torch.arange(24).view(1, 1, 3, 2, 4)
    assert CLIP.grid == (3, 2, 4) and (CLIP.length, CLIP.frame_length) == (24, 8)
    assert torch.equal(CLIP.flatten(codes), torch.arange(24)[None])
    assert torch.equal(CLIP.unflatten(torch.arange(24)[None]), codes)
    places = CLIP.coordinates()
    assert torch.equal(codes[0, 0][tuple(places.T)], torch.arange(24))
    known = torch.full((2, 1, 3, 2, 4), -1)
    known[1, 0, 0] = 5
    assert CLIP.known(known)[1].tolist() == [5] * 8 + [-1] * 16 and CLIP.known().tolist() == [[-1] * 24]


def test_rows_may_end_in_a_token():
    ended = VideoLayout(4, 3, row_end=9, frames=2)
    codes = torch.arange(8).view(1, 1, 2, 2, 2)
    assert ended.grid == (2, 2, 2) and ended.frame_length == 6
    assert ended.flatten(codes).tolist() == [[0, 1, 9, 2, 3, 9, 4, 5, 9, 6, 7, 9]]
    assert torch.equal(ended.unflatten(ended.flatten(codes)), codes)


def test_rows_are_shared_by_all_frames():
    with pytest.raises(SizeError, match="7 rows in 3 frames"):
        VideoLayout(7, 4, frames=3)


def drafted(drafter, layout: RasterLayout, committed: list[int], window: int) -> list[list[int]]:
    """The positions whose tokens a drafter proposes for the empty windows of rows."""
    counts = torch.tensor(committed)
    session = MarkovSession(markov_tables(), torch.zeros_like(counts), layout)
    line = Line(session, window)
    first = 1 + session.begin_token
    line.buffer[:, 1:] = first + torch.arange(line.buffer.shape[1] - 1)
    line.committed = counts
    zeros = torch.zeros_like(counts)
    widths = torch.full_like(counts, window)
    context = Context(line, zeros, widths, None, counts, zeros - 1, Rng(range(len(counts))), counts[:, None], False)
    return (drafter.propose(context).tokens - first).tolist()


def test_a_frame_is_repeated_as_far_as_it_is_committed():
    assert drafted(FrameRepeat(), CLIP, [9, 12], 10) == [
        [1, 2, 3, 4, 5, 6, 7, 8, 1, 2],
        [4, 5, 6, 7, 8, 9, 10, 11, 4, 5],
    ]


def test_in_the_first_frame_it_is_the_token_above():
    assert drafted(FrameRepeat(), CLIP, [4, 5], 3) == [[0, 1, 2], [1, 2, 3]]
    assert drafted(VerticalRepeat(), CLIP, [4, 5], 3) == [[0, 1, 2], [1, 2, 3]]
    picture = RasterLayout(6, 4)
    assert drafted(FrameRepeat(), picture, [9], 6) == drafted(VerticalRepeat(), picture, [9], 6)


@pytest.mark.parametrize("decoder", ["speculative-jacobi", "coupled-jacobi", "speculative"])
def test_it_is_exact(decoder):
    check_law(decoder, rows=3000, layout=VideoLayout(3, 2, frames=3), window=4, drafter="frame-repeat")
