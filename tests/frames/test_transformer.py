"""What a token of a clip sees, and where it stands."""

from __future__ import annotations

import pytest
import torch

from mmgen.backbones.blocks import grid_angles
from mmgen.backbones.masked_frames import MaskedFrameTransformer, interleaved_angles
from mmgen.errors import OptionError

CAPTION = torch.randn(2, 2, 32, generator=torch.Generator().manual_seed(4))


def changed(transformer, position: int) -> torch.Tensor:
    """Which logits change with a token: bool [N]."""
    tokens = torch.randint(11, (2, 18), generator=torch.Generator().manual_seed(5))
    other = tokens.clone()
    other[:, position] = transformer.mask_token
    both = [transformer.teacher_forced(CAPTION, line) for line in (tokens, other)]
    return (both[0] - both[1]).abs().amax((0, 2)) > 1e-5


@pytest.mark.parametrize("position, first", [(0, 0), (5, 0), (6, 6), (11, 6), (17, 12)])
def test_a_token_is_seen_in_its_own_frame_and_in_later_ones(transformer, position, first):
    assert torch.equal(changed(transformer, position), torch.arange(18) >= first)


def test_captions_are_seen_everywhere(transformer):
    tokens = torch.randint(11, (2, 18), generator=torch.Generator().manual_seed(5))
    one, other = (transformer.teacher_forced(caption, tokens) for caption in (CAPTION, CAPTION.flip(0)))
    assert ((one - other).abs().amax((0, 2)) > 1e-4).all()


def test_axes_take_turns_over_the_whole_range_of_frequencies():
    coordinates = torch.eye(3) * 3
    cos, sin = interleaved_angles(coordinates, 32)
    assert cos.shape == sin.shape == grid_angles(coordinates, 32).shape[1:]
    turning = sin[:, :16].abs() > 1e-6  # no frequency makes whole turns of 3 steps
    assert torch.equal(turning.sum(0), torch.ones(16))
    assert turning.sum(1).tolist() == [4, 6, 6]
    first, last = turning.long().argmax(1), 15 - turning.flip(1).long().argmax(1)
    assert first.tolist() == [0, 2, 3] and last.tolist() == [9, 14, 15]


def test_heads_of_other_sizes_are_refused():
    with pytest.raises(OptionError, match="multiple of 16"):
        MaskedFrameTransformer(11, 2, 2, 2, 2, size=24, layers=1, heads=1, hidden_size=16)
