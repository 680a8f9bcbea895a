"""Weights in 8 bits: close to the originals, smaller, and refused with the cure where the library is absent."""

from __future__ import annotations

import copy
import sys

import pytest
import torch
from torch import Tensor, nn

from mmgen.backbones.raster import RasterTransformer
from mmgen.cache import KVCache
from mmgen.errors import MissingDependencyError, OptionError
from mmgen.quantisation import is_quantised, plain_tensors, quantise, weight_bytes


def new_linear(bias: bool = True) -> nn.Linear:
    """A layer whose output channels differ a hundredfold in size."""
    generator = torch.Generator().manual_seed(0)
    linear = nn.Linear(64, 48, bias)
    with torch.no_grad():
        linear.weight.normal_(generator=generator).mul_(10 ** torch.linspace(-1, 1, 48)[:, None])
    return linear.eval().requires_grad_(False)


def score(backbone: RasterTransformer, dtype: torch.dtype = torch.float32) -> Tensor:
    """Probabilities [2, 12, 11] of two lines."""
    generator = torch.Generator().manual_seed(1)
    condition = torch.randn(2, 2, 32, generator=generator).to(dtype)
    cache = KVCache(2, 2, 20, 2, 16, dtype)
    with torch.no_grad():
        backbone.prefill(condition, cache)
        return backbone(torch.randint(0, 11, (2, 12), generator=generator), cache).float().softmax(-1)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype, rounding", [(torch.float32, 1e-5), (torch.bfloat16, 2**-6)])
def test_a_layer_stays_within_its_bound(bias: bool, dtype: torch.dtype, rounding: float) -> None:
    linear = new_linear(bias).to(dtype)
    small = copy.deepcopy(linear)
    quantise(small)
    x = torch.randn(5, 3, 64, generator=torch.Generator().manual_seed(2)).to(dtype)
    exact, given = linear(x), small(x)
    assert given.shape == exact.shape and given.dtype == dtype
    # Half a step, of which 127.5 make the largest weight of the channel, for every weight.
    largest = linear.weight.float().abs().amax(1)
    sizes = x.float().abs().sum(-1, keepdim=True)
    error = (given.float() - exact.float()).abs()
    assert bool((error <= sizes * largest * (1 / 255 + rounding)).all())
    assert (error.norm() / exact.float().norm()) < 0.01
    assert dtype != torch.float32 or error.max() > 0


def test_a_layer_takes_a_byte_for_each_weight() -> None:
    linear = new_linear()
    assert weight_bytes(linear) == 4 * 64 * 48 + 4 * 48
    quantise(linear)
    # A float32 scale and an 8-bit zero point for each channel, which is 0; the bias stays.
    assert weight_bytes(linear) == 64 * 48 + 48 * (4 + 1) + 4 * 48


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_backbone_draws_nearly_the_same_laws(tiny_backbone: RasterTransformer, dtype: torch.dtype) -> None:
    backbone = copy.deepcopy(tiny_backbone).to(dtype)
    exact = score(backbone, dtype)
    before = weight_bytes(backbone)
    quantise(backbone)
    drift = (score(backbone, dtype) - exact).abs().sum(-1) / 2
    assert 0 < drift.max() < 0.05
    assert weight_bytes(backbone) < before
    assert backbone.dtype == dtype


def test_only_linear_layers_change(tiny_backbone: RasterTransformer) -> None:
    backbone = copy.deepcopy(tiny_backbone)
    assert not is_quantised(backbone)
    quantise(backbone)
    assert is_quantised(backbone)
    for name, module in backbone.named_modules():
        for weight in module.parameters(recurse=False):
            kept = {tensor.dtype for _, tensor in plain_tensors({name: weight})}
            assert (torch.int8 in kept) == isinstance(module, nn.Linear)
    assert torch.equal(backbone.token_embedding.weight, tiny_backbone.token_embedding.weight)


def test_twice_is_once(tiny_backbone: RasterTransformer) -> None:
    backbone = copy.deepcopy(tiny_backbone)
    quantise(backbone)
    once = score(backbone)
    quantise(backbone)
    assert torch.equal(score(backbone), once)


def test_a_quantised_model_moves_to_another_type(tiny_backbone: RasterTransformer) -> None:
    backbone = copy.deepcopy(tiny_backbone)
    quantise(backbone)
    exact = score(backbone)
    drift = (score(backbone.to(torch.bfloat16), torch.bfloat16) - exact).abs().sum(-1) / 2
    assert is_quantised(backbone) and drift.max() < 0.1


def test_the_plain_tensors_hold_every_byte() -> None:
    linear = new_linear()
    assert dict(plain_tensors(linear.state_dict())).keys() == {"weight", "bias"}
    quantise(linear)
    parts = dict(plain_tensors(linear.state_dict()))
    assert parts.keys() == {"weight.qdata", "weight.scale", "weight.zero_point", "bias"}
    rebuilt = parts["weight.qdata"].float() * parts["weight.scale"]
    original = new_linear().weight
    assert bool(((rebuilt - original).abs() <= original.abs().amax(1, keepdim=True) * (1 / 255 + 1e-6)).all())
    for tensor in parts.values():
        assert tensor.view(torch.uint8).numel() == tensor.nbytes and tensor.data_ptr() != 0


def test_a_weight_used_twice_is_counted_once() -> None:
    model = nn.Sequential(new_linear(), new_linear())
    apart = weight_bytes(model)
    model[1].weight = model[0].weight
    assert weight_bytes(model) == apart - 4 * 64 * 48


def test_without_the_library_the_cure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    linear = new_linear()
    with pytest.raises(MissingDependencyError, match=r"torchao; install it: pip install 'mmgen\[quantisation\]'"):
        quantise(linear)
    assert not is_quantised(linear)


def test_other_bits_are_refused() -> None:
    with pytest.raises(OptionError, match="bits=4: needed is one of 8"):
        quantise(new_linear(), bits=4)
