"""Codes of clips: of every size, in time, and nothing before its time."""

from __future__ import annotations

import pytest
import torch

from mmgen.codebook import nearest
from mmgen.errors import SizeError
from mmgen.tokenizers.causal_patches import CausalPatchVQ


@pytest.fixture(scope="module")
def tokenizer():
    """A tokenizer with random weights whose transformer and scores change much."""
    tokenizer = CausalPatchVQ(codebook_size=32, patch_size=4, ways=(4, 8), size=16, layers=1, heads=2, hidden_size=32)
    generator = torch.Generator().manual_seed(0)
    for parameter in tokenizer.parameters():
        parameter.data.normal_(0, 0.3, generator=generator)
    return tokenizer.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def codes():
    return torch.randint(32, (2, 1, 4, 3, 5), generator=torch.Generator().manual_seed(1))


def test_codes_are_the_nearest_patches_of_the_last_frames_of_steps(tokenizer):
    clips = torch.rand(2, 3, 9, 8, 12, generator=torch.Generator().manual_seed(2)) * 2 - 1
    codes = tokenizer.encode(clips)
    assert codes.shape == (2, 1, 3, 2, 3)
    patch = clips[1, :, 4, 4:8, 8:12].permute(1, 2, 0).flatten()
    assert codes[1, 0, 1, 1, 2] == (tokenizer.codebook - patch).square().sum(-1).argmin()


def test_decoding_the_first_steps_gives_the_first_frames(tokenizer, codes):
    whole = tokenizer.decode(codes)
    assert whole.shape == (2, 3, 13, 12, 20)
    for steps in range(1, 5):
        frames = 1 + 4 * (steps - 1)
        torch.testing.assert_close(tokenizer.decode(codes[:, :, :steps]), whole[:, :, :frames], rtol=0, atol=1e-6)


def test_a_frame_depends_on_codes_up_to_its_time_alone(tokenizer, codes):
    whole = tokenizer.decode(codes)
    for step in range(4):
        other = codes.clone()
        other[:, :, step] = (other[:, :, step] + 1) % 32
        differs = (tokenizer.decode(other) - whole).abs().amax((0, 1, 3, 4)) > 1e-6
        first = max(4 * step - 3, 0)
        assert not differs[:first].any()
        assert differs[first : 4 * step + 4].all()
        assert not differs[4 * step + 4 :].any()  # and the next step is the last that it reaches


@pytest.mark.parametrize("frames, height, width", [(1, 8, 8), (2, 12, 20), (6, 7, 9), (13, 20, 12), (16, 3, 5)])
def test_any_size_comes_back_in_that_size(tokenizer, frames, height, width):
    clips = torch.rand(1, 3, frames, height, width, generator=torch.Generator().manual_seed(3)) * 2 - 1
    codes = tokenizer.encode(clips)
    assert codes.shape[2:] == tokenizer.grid(frames, height, width)
    shown = tokenizer.decode(codes, (frames, height, width))
    assert shown.shape == clips.shape
    assert torch.equal(shown, tokenizer.decode(codes)[:, :, :frames, :height, :width])


def test_what_goes_one_of_the_ways_is_found_between():
    """By scores that ask for agreement first, then for something to see."""
    tokenizer = CausalPatchVQ(codebook_size=2, patch_size=4, ways=(8,), size=8, layers=1, heads=1, hidden_size=8)
    with torch.no_grad():
        for layer in tokenizer.score[::2]:
            layer.weight.zero_()
            layer.bias.fill_(20.0)  # where silu is the identity
        for layer in (tokenizer.score[0], tokenizer.score[2]):
            layer.weight[:5, :5, 1, 1] = torch.eye(5)
        tokenizer.score[4].weight[0, :5, 0, 0] = torch.tensor([-5.0, 0.0, 0.6, 0.0, -5.0])
    keys = torch.full((1, 2, 3, 24, 24), -1.0)
    dot = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(4))
    keys[0, 0, :, 8:12, 8:12] = dot
    keys[0, 1, :, 8:12, 16:20] = dot
    for number, frame in enumerate(tokenizer._between(keys), start=1):
        expected = torch.full((3, 24, 24), -1.0)
        expected[:, 8:12, 8 + 2 * number : 12 + 2 * number] = dot
        torch.testing.assert_close(frame[0, 0], expected, rtol=0, atol=0.02)


@pytest.mark.parametrize("shape", [(3, 9, 8, 8), (1, 4, 9, 8, 8), (1, 3, 0, 8, 8)])
def test_what_is_no_clip_is_refused(tokenizer, shape):
    with pytest.raises(SizeError, match="clips of shape"):
        tokenizer.encode(torch.zeros(shape))


def test_sizes_that_codes_do_not_hold_are_refused(tokenizer, codes):
    with pytest.raises(SizeError):
        tokenizer.decode(codes, (14, 12, 20))
    with pytest.raises(SizeError, match="ways of"):
        CausalPatchVQ(ways=(6,))


def test_the_nearest_of_many_points_is_found_block_by_block():
    generator = torch.Generator().manual_seed(5)
    points, vectors = torch.randn(3, 1500, 4, generator=generator), torch.randn(9, 4, generator=generator)
    assert torch.equal(nearest(points, vectors), torch.cdist(points, vectors).argmin(-1))
