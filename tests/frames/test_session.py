"""What a session says of a frame, whatever was scored before."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mmgen.backbones.backbone import Prompt
from mmgen.errors import SizeError
from mmgen.sampling import Sampling
from mmgen.sessions.frames import FrameSession

GENERATOR = torch.Generator().manual_seed(4)
CAPTION, NULL = torch.randn(2, 2, 2, 32, generator=GENERATOR)
LINE = torch.randint(11, (2, 18), generator=GENERATOR)
HALF = torch.tensor([[True, False, True, False, False, True]])
GUIDED = Sampling(guidance=2.0, temperature=0.9, top_k=7)


def session(transformer, sampling=GUIDED, **given) -> FrameSession:
    made = FrameSession(transformer, transformer.layout, Prompt(CAPTION), Prompt(NULL), sampling, **given)
    made.open()
    return made


def expected(transformer, seen: torch.Tensor, frame: int, sampling: Sampling = GUIDED) -> torch.Tensor:
    """Probabilities of a frame from whole clips, int64 [B, N] with -1 where hidden, read at once."""
    tokens = torch.where(seen < 0, transformer.mask_token, seen)
    logits = [transformer.teacher_forced(caption, tokens) for caption in (CAPTION, NULL)]
    return sampling.probabilities(*logits[: 1 + sampling.guided])[:, 6 * frame : 6 * frame + 6]


@pytest.mark.parametrize("sampling", [GUIDED, Sampling()])
@pytest.mark.parametrize("hidden", [0.0, 0.5, 1.0])
def test_frames_are_scored_as_whole_clips_are(transformer, sampling, hidden):
    made, seen = session(transformer, sampling), torch.full((2, 18), -1)
    for frame in range(3):
        own = LINE[:, 6 * frame : 6 * frame + 6]
        assert made.positions()[1].tolist() == list(range(6 * frame, 6 * frame + 6))
        for shown in (torch.full_like(own, -1), own.masked_fill(HALF, -1), own.masked_fill(~HALF, -1)):
            seen[:, 6 * frame : 6 * frame + 6] = shown
            torch.testing.assert_close(made.score(shown), expected(transformer, seen, frame, sampling), **CLOSE)
        made.write(own, hidden)
        places = torch.tensor([False, True] * 3) if hidden == 0.5 else torch.full((6,), hidden == 1)
        seen[:, 6 * frame : 6 * frame + 6] = own.masked_fill(places, -1)
    assert made.finished and torch.equal(made.tokens, LINE)


CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def test_frames_that_are_written_unseen_are_read_with_the_next(transformer):
    made = session(transformer)
    made.write(LINE[:, :6])
    made.write(LINE[:, 6:12])
    seen = torch.cat((LINE[:, :12], torch.full((2, 6), -1)), dim=1)
    torch.testing.assert_close(made.score(seen[:, 12:]), expected(transformer, seen, 2), **CLOSE)


def test_known_tokens_are_shown_and_written_whatever_the_decoder_says(transformer):
    known = torch.full((2, 18), -1)
    known[0, :6], known[1, 2] = LINE[0, :6], 3
    made = session(transformer, known=known)
    assert made.free_here().tolist() == [0, 5]
    seen = known.clone()
    nothing = torch.full((2, 6), -1)
    torch.testing.assert_close(made.score(nothing), expected(transformer, seen, 0), **CLOSE)
    made.write(torch.zeros(2, 6, dtype=torch.long))
    assert made.tokens[0, :6].tolist() == LINE[0, :6].tolist() and made.tokens[1, :6].tolist() == [0, 0, 3, 0, 0, 0]


def test_eight_bits_change_little(transformer):
    made = session(transformer, cache_bits=8)
    made.write(LINE[:, :6])
    seen = torch.cat((LINE[:, :6], torch.full((2, 12), -1)), dim=1)
    assert (made.score(seen[:, 6:12]) - expected(transformer, seen, 1)).abs().max() < 0.1


def test_what_does_not_fit_is_refused(transformer):
    with pytest.raises(SizeError, match="known tokens"):
        session(transformer, known=torch.full((2, 12), -1))
    with pytest.raises(SizeError, match="prompt of 3"):
        FrameSession(transformer, transformer.layout, Prompt(CAPTION[:, [0, 1, 1]]), Prompt(NULL), Sampling())
    more = replace(transformer.layout, height=8, frames=4)
    with pytest.raises(SizeError, match="or fewer frames"):
        FrameSession(transformer, more, Prompt(CAPTION), Prompt(NULL), Sampling())
