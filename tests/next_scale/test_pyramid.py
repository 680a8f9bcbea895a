"""Patches, and colours on coarser grids before them."""

from __future__ import annotations

import pytest
import torch
from next_scale.scenes import COLOURS, PATCHES, pyramid

from mmgen.checkpoints.folder import load_model
from mmgen.errors import SizeError
from mmgen.tokenizers.patch_pyramid import PatchPyramid


@pytest.fixture(scope="module")
def tokenizer():
    return pyramid()


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_codes_are_nearest_colours_of_means_and_then_patches(tokenizer, images):
    one, two, four = tokenizer.layout.unflatten(tokenizer.encode(images))
    for row in range(3):
        mean = images[row].mean(dim=(1, 2))
        assert one[row].item() == (tokenizer.palette - mean).square().sum(-1).argmin()
        corner = images[row, :, 8:, :8].mean(dim=(1, 2))
        assert two[row, 1, 0] == (tokenizer.palette - corner).square().sum(-1).argmin()
    assert torch.equal(four - COLOURS, tokenizer.patch_vq.encode(images)[:, 0])


def test_every_scale_has_codes_of_its_own(tokenizer, images):
    assert [tokenizer.codes_of(scale) for scale in range(3)] == [
        range(COLOURS),
        range(COLOURS),
        range(COLOURS, COLOURS + PATCHES),
    ]
    for scale, codes in enumerate(tokenizer.layout.unflatten(tokenizer.encode(images))):
        assert codes.min() >= tokenizer.codes_of(scale).start and codes.max() < tokenizer.codes_of(scale).stop
    assert tokenizer.codebook.shape == (COLOURS + PATCHES, 48)


def test_whole_pictures_are_those_of_the_patches(tokenizer, images):
    line = tokenizer.encode(images)
    expected = tokenizer.patch_vq.decode(tokenizer.patch_vq.encode(images))
    torch.testing.assert_close(tokenizer.decode(line), expected, rtol=0, atol=1e-6)


def test_what_are_no_patches_is_shown_as_it_is(tokenizer, images):
    line = tokenizer.encode(images)
    coarse = tokenizer.features(line[:, :5])
    assert torch.equal(tokenizer.decode(line[:, :5]), coarse.clamp(-1, 1))
    mixed = tokenizer.features(line)
    mixed[:, :, :4] = coarse[:, :, :4]
    shown, whole = tokenizer.decode_features(mixed), tokenizer.decode(line)
    assert torch.equal(shown[:, :, :4], coarse[:, :, :4].clamp(-1, 1))
    assert not torch.allclose(whole, tokenizer.features(line).clamp(-1, 1), atol=0.01)  # the decoder changes patches


def test_a_scale_is_added_as_whole_lines_have_it(tokenizer, images):
    line, features = tokenizer.encode(images), tokenizer.blank(3)
    inputs = []
    for scale, (end, codes) in enumerate(zip(tokenizer.layout.ends, tokenizer.layout.unflatten(line), strict=True)):
        if scale:
            inputs.append(tokenizer.next_input(features, scale))
        features = tokenizer.add(features, tokenizer.embed(codes.flatten(1)), scale)
        torch.testing.assert_close(features, tokenizer.features(line[:, :end]), rtol=0, atol=1e-6)
        assert features.shape == images.shape
    assert [part.shape[1] for part in inputs] == [4, 16]
    torch.testing.assert_close(torch.cat(inputs, dim=1), tokenizer.next_inputs(line), rtol=0, atol=1e-6)


def test_coarse_features_have_the_colours_of_their_codes(tokenizer, images):
    line = tokenizer.encode(images)
    one = tokenizer.features(line[:, :1])
    torch.testing.assert_close(one, tokenizer.palette[line[:, 0]][:, :, None, None].expand_as(one))
    corners = tokenizer.features(line[:, :5])[:, :, ::15, ::15]
    nearest = (tokenizer.palette - corners.permute(0, 2, 3, 1)[..., None, :]).square().sum(-1).argmin(-1)
    assert (nearest.flatten(1) == line[:, 1:5]).float().mean() > 0.7  # bicubic enlargement overshoots a little


@pytest.mark.parametrize("shape", [(1, 3, 16, 20), (3, 16, 16), (1, 1, 16, 16)])
def test_pictures_of_other_shapes_are_refused(tokenizer, shape):
    with pytest.raises(SizeError, match="pictures of shape"):
        tokenizer.encode(torch.zeros(shape))


def test_the_last_scale_is_that_of_the_patches():
    with pytest.raises(SizeError, match="4 codes"):
        PatchPyramid((1, 2, 3), 4, {"image_size": 16})


def test_a_folder_holds_all_of_it(tokenizer, images, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    assert torch.equal(load_model(PatchPyramid, tmp_path).encode(images), tokenizer.encode(images))
