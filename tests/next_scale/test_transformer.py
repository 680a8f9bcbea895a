"""The transformer says what the authors' says: at once, scale by scale, in every published size."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from next_scale.conftest import SIZES, random_transformer
from next_scale.official import SIZES_256, SIZES_512, tables, transformer_shapes
from torch.nn.functional import gelu, layer_norm

from mmgen.backbones.next_scale import NextScaleTransformer
from mmgen.cache import KVCache
from mmgen.checkpoints import var
from mmgen.checkpoints.folder import Weightless
from mmgen.checkpoints.weights import Weights

PUBLISHED = {
    "d16": (16, SIZES_256, False, 310_283_520, 220),
    "d20": (20, SIZES_256, False, 600_917_136, 272),
    "d24": (24, SIZES_256, False, 1_033_399_360, 324),
    "d30": (30, SIZES_256, False, 2_010_020_356, 402),
    "d36": (36, SIZES_512, True, 2_353_893_904, 446),
}
"""Depth, scales, shared modulation, parameters and keys."""


def test_teacher_forced_logits_are_the_authors(shared_pipeline, goldens):
    case = torch.load(goldens / "var" / "var_saln.golden.pt", weights_only=True)
    logits = shared_pipeline.transformer.teacher_forced(case["label"], case["vae"]["tf_in"])
    torch.testing.assert_close(logits, case["tf_logits"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("run", ["greedy_N6", "fid_N8"])
def test_logits_of_several_scales_at_once_are_the_authors(pair_pipeline, goldens, run):
    golden = torch.load(goldens / "var" / "code.golden.pt", weights_only=True)
    case, small = golden["runs"][run], pair_pipeline.draft
    scales = range(case["N"] + 1)
    condition = small.condition(torch.cat((golden["label"], torch.full((2,), 10))))
    cache = small.new_cache(4, small.layout.ends[case["N"]])
    logits = small.logits(small(case["hub"], condition, scales, cache), condition)
    torch.testing.assert_close(logits, case["refiner_prefill_logits"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("shared_modulation", [False, True])
@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("cuts", [(0, 1, 2, 3, 4), (0, 2, 4), (0, 3, 4)])
def test_scale_by_scale_is_all_at_once(tokenizer, shared_modulation, normalised, cuts):
    model = random_transformer(5, shared_modulation=shared_modulation, normalised=normalised)
    line = torch.randint(24, (3, 30), generator=torch.Generator().manual_seed(0))
    inputs, labels = tokenizer.next_inputs(line), torch.tensor([0, 4, 10])
    condition, cache, parts = model.condition(labels), model.new_cache(3, 30), []
    for first, last in pairwise(cuts):
        span = model.layout.span(range(first, last))
        given = inputs[:, max(span.start - 1, 0) : span.stop - 1]
        stream = model(given if span.stop > 1 else None, condition, range(first, last), cache)
        parts.append(model.logits(stream, condition))
    expected = model.teacher_forced(labels, inputs)
    torch.testing.assert_close(torch.cat(parts, dim=1), expected, rtol=0, atol=2e-5)
    assert expected.std() > 0.5


def test_one_block_by_its_definition(tokenizer):
    """Without normalised queries and keys, of which there is no published file: scores are q k / (4 sqrt(D))."""
    model = random_transformer(6, normalised=False, layers=1)
    block, labels = model.blocks[0], torch.tensor([2])
    condition = model.condition(labels)
    gate1, gate2, factor1, factor2, shift1, shift2 = (part[0] for part in condition.blocks[0])
    line = torch.randint(24, (1, 30), generator=torch.Generator().manual_seed(1))
    inputs = tokenizer.next_inputs(line)[:, :4]
    x = model._embed(inputs, condition, slice(0, 5))[0]
    out = model(inputs, condition, range(2))[0]
    query, key, value = block.qkv(layer_norm(x, (32,), eps=1e-6) * factor1 + shift1).view(5, 3, 2, 16).unbind(1)
    scores = torch.einsum("qhd,khd->hqk", query, key) / (4 * 16**0.5)
    scores[:, 0, 1:] = -torch.inf
    mixed = torch.einsum("hqk,khd->qhd", scores.softmax(-1), value).flatten(1)
    x = x + gate1 * block.attention_out(mixed)
    x = x + gate2 * block.down(gelu(block.up(layer_norm(x, (32,), eps=1e-6) * factor2 + shift2), approximate="tanh"))
    torch.testing.assert_close(out, x, rtol=0, atol=1e-5)


def test_queries_are_sharpened_a_hundredfold_at_most(tokenizer):
    inputs = tokenizer.next_inputs(torch.arange(30)[None] % 24)
    drawn = []
    for sharpness in (50.0, 100.0, 1000.0):
        model = random_transformer(7)
        for block in model.blocks:
            block.sharpness.fill_(sharpness).log_()
        drawn.append(model.teacher_forced(torch.tensor([1]), inputs))
    assert not torch.allclose(drawn[0], drawn[1], atol=1e-3)
    torch.testing.assert_close(drawn[1], drawn[2], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_have_our_shapes(name):
    layers, sizes, shared, parameters, keys = PUBLISHED[name]
    size = 64 * layers
    shapes = transformer_shapes(layers, size, sizes, shared)
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == parameters
    shapes |= {key.replace("q_bias", "zero_k_bias"): shape for key, shape in shapes.items() if "q_bias" in key}
    assert len(shapes) + len(tables((1, 2))) == keys
    with Weightless():
        weights = Weights(Path(name), {key: torch.empty(shape) for key, shape in shapes.items()})
        config = var.configuration(weights)
        model = NextScaleTransformer(**config)
    assert (config["layers"], config["heads"], config["sizes"]) == (layers, layers, sizes)
    arranged = weights.arranged(var.arrangement(config))
    assert {key: entry.shape for key, entry in arranged.items()} == {
        key: tuple(tensor.shape) for key, tensor in model.state_dict().items()
    }
    assert sum(p.numel() for p in model.parameters()) == parameters + layers * size  # the keys' bias, which is zero


def test_the_names_are_those_of_the_goldens(goldens):
    lists = {name: json.loads((goldens / "var" / f"{name}.keys.json").read_text()) for name in ("var_saln", "code")}
    for keys, layers, size, sizes, shared, codes in (
        (lists["var_saln"]["var"], 2, 128, (1, 2, 3, 4, 6), True, 64),
        (lists["code"]["draft"], 3, 192, SIZES_256, False, 128),
        (lists["code"]["refine"], 2, 128, SIZES_256, False, 128),
    ):
        shapes = transformer_shapes(layers, size, sizes, shared, codes, 8, 10)
        assert {key: tuple(shape) for key, shape in keys.items()} == shapes


def test_a_block_of_the_cache_keeps_hidden_slots_hidden():
    cache = KVCache(1, 2, 8, 1, 4)
    cache.open_block(0, 5)
    assert cache.mask is None and cache.lengths.tolist() == [5, 5]
    keys, values = torch.randn(2, 2, 5, 1, 4, generator=torch.Generator().manual_seed(0))
    kept_keys, kept_values = cache.write(0, keys, values)
    assert torch.equal(kept_keys[:, 0], keys[:, :, 0]) and torch.equal(kept_values[:, 0], values[:, :, 0])
    cache.hide(torch.tensor([[True, False], [False, False]]))
    cache.open_block(0, 2)
    expected = torch.zeros(2, 1, 2, 2)
    expected[0, 0, 1, 0] = -torch.inf  # but what stands there reads itself
    assert torch.equal(cache.mask, expected)
    cache.open_block(1, 1, torch.tensor([[False, True]]))
    assert torch.equal(cache.mask, torch.tensor([-torch.inf, 0.0]).expand(2, 1, 1, 2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_in_16_bits_so_is_the_cache(tokenizer, dtype):
    line = torch.randint(24, (2, 30), generator=torch.Generator().manual_seed(2))
    inputs, labels = tokenizer.next_inputs(line), torch.tensor([1, 10])
    reference = random_transformer(1).teacher_forced(labels, inputs)
    model = random_transformer(1).to(dtype)
    condition, cache = model.condition(labels), model.new_cache(2, 30)
    logits = model.logits(model(inputs, condition, range(len(SIZES)), cache), condition)
    layers, rows, slots, channels = 2, 2, 30, 32
    assert cache.nbytes == 2 * 2 * layers * rows * slots * channels  # keys and values, two bytes each
    assert logits.dtype == dtype
    assert (logits.float() - reference).abs().mean() < 0.03 * reference.std()


def test_importing_and_building_changes_no_class_of_torch():
    program = (
        "import torch, diffusers\n"
        "from diffusers import ModelMixin, DiffusionPipeline\n"
        "kinds = [kind for kind in vars(torch.nn).values() if isinstance(kind, type)] + [torch.Tensor]\n"
        "before = [dict(vars(kind)) for kind in kinds]\n"
        "import mmgen.pipelines.var, mmgen.checkpoints.var, mmgen.decoding.scales as scales\n"
        "from mmgen.backbones.next_scale import NextScaleTransformer\n"
        "NextScaleTransformer(size=32, layers=1, heads=1, hidden_size=32), scales.make('scale-wise')\n"
        "assert before == [dict(vars(kind)) for kind in kinds]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
