"""VAR's tokenizer says what the authors' says."""

from __future__ import annotations

import pytest
import torch

from mmgen.errors import SizeError
from mmgen.layout import ScaleLayout
from mmgen.tokenizers.multi_scale_vq import phi_of

PHIS = {
    5: [0, 1, 2, 2, 3],
    10: [0, 0, 1, 1, 1, 2, 2, 3, 3, 3],
    14: [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3],
}


@pytest.fixture(scope="module")
def case(goldens):
    return torch.load(goldens / "var" / "var_saln.golden.pt", weights_only=True)["vae"]


@pytest.mark.parametrize("scales", PHIS)
def test_the_published_table_of_convolutions(scales):
    assert [phi_of(scale, scales) for scale in range(scales)] == PHIS[scales]


def test_codes_are_the_authors(shared_pipeline, case):
    assert torch.equal(shared_pipeline.tokenizer.quantise(case["f"]), torch.cat(case["idx"], dim=1))


def test_features_and_inputs_are_the_authors(shared_pipeline, case):
    tokenizer, line = shared_pipeline.tokenizer, torch.cat(case["idx"], dim=1)
    for end, features in zip(tokenizer.layout.ends, case["f_hat_per_scale"], strict=True):
        torch.testing.assert_close(tokenizer.features(line[:, :end]), features, rtol=0, atol=1e-6)
    torch.testing.assert_close(tokenizer.next_inputs(line), case["tf_in"], rtol=0, atol=1e-6)


def test_pictures_are_the_authors(shared_pipeline, case):
    pictures = shared_pipeline.tokenizer.decode(torch.cat(case["idx"], dim=1))
    torch.testing.assert_close(pictures, case["rec"].float(), rtol=0, atol=5e-4)  # kept in 16 bits


def test_encoding_approaches_the_latents(tokenizer):
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    line, latents = tokenizer.encode(images), tokenizer.latents(images)
    assert line.shape == (2, 30) and line.dtype == torch.int64 and torch.equal(line, tokenizer.quantise(latents))
    squares = tokenizer.layout.unflatten(line)
    last = squares[-1]
    rest = latents - tokenizer.features(line[:, :14])
    distances = torch.cdist(rest.permute(0, 2, 3, 1).flatten(1, 2), tokenizer.codebook[None])
    assert torch.equal(distances.argmin(-1), last.flatten(1))


@pytest.mark.parametrize("shape", [(1, 3, 8, 16), (1, 3, 9, 8), (3, 8, 8), (1, 1, 8, 8)])
def test_pictures_of_other_shapes_are_refused(tokenizer, shape):
    with pytest.raises(SizeError, match="pictures of shape"):
        tokenizer.encode(torch.zeros(shape))


def test_layout():
    layout = ScaleLayout((1, 2, 3))
    line = torch.arange(28).view(2, 14)
    squares = layout.unflatten(line)
    assert [square.shape[1:] for square in squares] == [(1, 1), (2, 2), (3, 3)]
    assert torch.equal(layout.flatten(squares), line)
    assert [square.shape[1] for square in layout.unflatten(line[:, :5])] == [1, 2]
    assert layout.levels().tolist() == [0] + [1] * 4 + [2] * 9
    assert (layout.length, layout.ends, layout.grid) == (14, (1, 5, 14), (3, 3))
    assert (layout.span(range(1, 3)), layout.span(range(1))) == (slice(1, 14), slice(0, 1))
    for sizes in ((1,), (1, 0), (1, 2.5)):
        with pytest.raises(SizeError, match="two or more"):
            ScaleLayout(sizes)
