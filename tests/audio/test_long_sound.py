"""Sound in windows, and sound that is heard while it is written."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from audio.musicgens import write_musicgen

import mmgen
from mmgen.checkpoints import sound_codecs
from mmgen.codebook_layout import CodebookLayout
from mmgen.errors import OptionError, SizeError
from mmgen.pipelines.sound_windows import in_turn, seed_of, windows, windows_around
from mmgen.tokenizers.overlapped_stream import OverlappedStream


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    """One that was "trained" on 16 frames, of which each window adds 10."""
    folder = tmp_path_factory.mktemp("musicgen")
    write_musicgen(folder)
    pipe = mmgen.load(str(folder))
    pipe.set_progress_bar_config(disable=True)
    pipe.window, pipe.stride = 0.16, 0.1
    return pipe


def test_windows_overlap_and_end_where_the_sound_does():
    assert windows(16, 16, 10) == [range(16)]
    assert windows(17, 16, 10) == [range(16), range(10, 17)]
    assert windows(26, 16, 10) == [range(16), range(10, 26)]
    assert windows(40, 16, 10) == [range(16), range(10, 26), range(20, 36), range(30, 40)]
    seeds = {seed_of(seed, number) for seed in range(50) for number in range(20)}
    assert len(seeds) == 1000 and min(seeds) >= 0 and max(seeds) < 2**63
    assert seed_of(7, 0) == 7


def test_an_interval_is_in_the_middle_of_a_window_as_far_as_the_recording_goes():
    assert windows_around(40, 10, range(19, 23)) == [range(16), range(16, 26), range(26, 40)]
    assert windows_around(40, 10, range(1, 4)) == [range(10), range(10, 40)]
    assert windows_around(40, 10, range(38, 40)) == [range(30), range(30, 40)]


def test_windows_in_turn_have_every_code_once_and_their_own_order():
    whole = in_turn(windows(7, 4, 2), lambda frames: CodebookLayout.grouped(frames, 2, 1))
    order = [(frame, book) for new in (range(4), range(4, 6), range(6, 7)) for book in range(2) for frame in new]
    assert [code for step in whole.steps for code in step] == order and whole.count == 14
    assert in_turn([range(5)], lambda frames: CodebookLayout.delay(frames, [0, 1])) == CodebookLayout.delay(5, [0, 1])


def test_each_window_goes_on_from_the_one_before(pipe):
    settings = {"decoder": "plane-wise", "output_type": "latent"}
    output = pipe(["happy", "a sad song"], seed=[3, 8], duration=0.33, **settings)
    codes = output.audios
    assert codes.shape == (2, 2, 33) and (codes >= 0).all()
    for number, window in enumerate(windows(33, 16, 10)):
        known = torch.full((2, 2, len(window)), -1)
        if number:
            known[..., :6] = codes[..., window.start : window.start + 6]
        seeds = [seed_of(seed, number) for seed in (3, 8)]
        own = pipe(["happy", "a sad song"], seed=seeds, duration=len(window) / 100, known=known, **settings)
        assert torch.equal(own.audios, codes[..., window.start : window.stop])
    assert all(item.complete and item.tokens == 66 for item in output.statistics)
    assert torch.equal(pipe("a sad song", seed=8, duration=0.33, **settings).audios[0], codes[1])
    faster = pipe(["happy", "a sad song"], seed=[3, 8], duration=0.33, decoder="jacobi", output_type="latent")
    assert torch.equal(faster.audios, codes)


def test_long_sound_only_grows_while_it_is_written(pipe):
    committed = torch.zeros(2, dtype=torch.long)
    final = torch.full((2, 2, 33), -1)
    for drawing in pipe.draw(["happy", "a sad song"], seed=3, duration=0.33, decoder_options={"window": 3}):
        assert (drawing.generation.committed >= committed).all()
        committed = drawing.generation.committed
        codes = pipe.render(drawing, "latent")
        assert torch.equal(codes[final >= 0], final[final >= 0])
        final = codes
    assert (final >= 0).all()


def test_pieces_are_the_whole(pipe):
    for duration in (0.15, 0.333):
        whole = pipe("happy", seed=3, duration=duration, decoder="plane-wise").audios
        pieces = list(pipe.stream("happy", seed=3, duration=duration, decoder="plane-wise", seconds=0.04))
        assert len(pieces) > 1
        np.testing.assert_allclose(np.concatenate(pieces, axis=-1), whole, atol=1e-4 * np.abs(whole).max())
    together = [np.concatenate(list(pipe.stream(texts, seed=3, duration=0.3, seconds=0.05)), axis=-1)
                for texts in (["happy", "a song"], "happy")]  # fmt: skip
    assert np.array_equal(together[0][:1], together[1])
    rows = list(pipe.stream(["happy", "a song"], seed=3, duration=0.15))
    assert [piece.shape for piece in rows] == [(2, 1, 120)]


@pytest.mark.parametrize("name", ["encodec_musicgen", "mimi", "dac"])
def test_any_pieces_of_a_codec_are_one_sound(published, name):
    folder, data = published(name)
    codec = sound_codecs.load(folder)
    codes = data["codes"].reshape(1, codec.codebooks, -1).repeat(1, 1, 5)
    whole = codec.decode(codes)
    for sizes in ((4, 1, 9, 3), (19,), (1, 1, 1, 1)):
        stream = codec.streaming()
        assert isinstance(stream, OverlappedStream)
        parts = codes.split([*sizes, codes.shape[2] - sum(sizes)], dim=-1)
        heard = torch.cat([stream.push(part, last=part is parts[-1]) for part in parts], dim=-1)
        assert heard.shape == whole.shape
        assert (heard - whole).abs().max() < 1e-4 * whole.abs().max()


def test_a_stream_of_pieces_decodes_no_more_than_it_needs(published):
    codec = sound_codecs.load(published("encodec_musicgen")[0])
    stream, lengths, decode = OverlappedStream(codec, context=6, behind=3), [], codec.decode
    codec.decode = lambda codes: lengths.append(codes.shape[2]) or decode(codes)
    for _ in range(8):
        stream.push(torch.zeros(1, codec.codebooks, 5, dtype=torch.long))
    assert lengths == [5, 10, *[6 + 5 + 3] * 6]
    with pytest.raises(SizeError, match=rf"\[1, {codec.codebooks}, frames\]"):
        stream.push(torch.zeros(2, codec.codebooks, 5, dtype=torch.long))


def test_a_piece_of_nothing_is_refused(pipe):
    for seconds in (0, -1, "1", True):
        with pytest.raises(OptionError, match="above 0"):
            pipe.stream("happy", seconds=seconds)
