"""Chameleon writes the codes that transformers hides, and its descendants' files are understood."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from backbones.language_models import CODES, WORDS, filled, pair
from safetensors.torch import load_file
from torch import Tensor

from mmgen import decoding
from mmgen.backbones.backbone import Prompt
from mmgen.backbones.chameleon import ChameleonTransformer
from mmgen.checkpoints import language_configs, language_keys
from mmgen.layout import RasterLayout
from mmgen.rng import Rng
from mmgen.sampling import Sampling
from mmgen.sessions.raster import RasterSession

FIRST, GOLDEN_CODES, BEGIN, IMAGE = 4, 64, 0, 69


@pytest.fixture(scope="module")
def golden(goldens: Path) -> tuple[Any, dict[str, Tensor]]:
    folder = goldens / "chameleon"
    config = language_configs.chameleon(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    with torch.device("meta"):
        ours = ChameleonTransformer(**config)
    weights = load_file(folder / "model.safetensors").items()
    state = {name: weight for key, weight in weights if (name := language_keys.from_chameleon(key)) is not None}
    ours.load_state_dict(state, assign=True)
    return ours.eval().requires_grad_(False), load_file(folder / "io.safetensors")


@torch.no_grad()
def test_logits_are_the_golden_ones(golden: tuple[Any, dict[str, Tensor]]) -> None:
    """Teacher-forced, with guidance. Its unconditional rows are equal, so that one stands for both."""
    ours, wanted = golden
    assert torch.equal(wanted["raw_cfg3"][:, 1], wanted["raw_cfg3"][:, 2])
    tokens = wanted["image_tokens_cfg3"] - FIRST
    prompt = Prompt.ragged([ours.embed_text(wanted["prompt"][0]), ours.embed_text(torch.tensor([BEGIN, IMAGE]))])
    cache = ours.new_cache(2, 80)
    ours.prefill(prompt.embeddings, cache)
    cache.rewind(prompt.prefix)
    line = torch.cat((torch.tensor([[ours.begin_token]]), tokens[:, :-1]), dim=1).expand(2, -1)
    logits = ours.head(ours.norm(ours.streams(line, cache, begin=prompt.begin)[-1]))
    raw = wanted["raw_cfg3"][:, :2, FIRST : FIRST + GOLDEN_CODES].transpose(0, 1)
    torch.testing.assert_close(logits, raw, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("guidance", "name"), [(1.0, "image_tokens_greedy"), (3.0, "image_tokens_cfg3")])
def test_greedy_pictures_are_the_golden_ones(golden: tuple[Any, dict[str, Tensor]], guidance: float, name: str) -> None:
    ours, wanted = golden
    prompt = Prompt.ragged(list(ours.embed_text(wanted["prompt"])))
    null = Prompt.ragged([ours.embed_text(torch.tensor([BEGIN, IMAGE]))])
    for decoder in ("autoregressive", "jacobi"):
        sampling = Sampling(guidance=guidance, temperature=0.0)
        session = RasterSession(ours, RasterLayout(8, 8), prompt, null, sampling)
        assert torch.equal(decoding.make(decoder).generate(session, Rng([0])).tokens + FIRST, wanted[name])


def test_lumina_is_a_chameleon_with_row_ends() -> None:
    theirs = pair("swin").theirs
    published = theirs.config.to_dict()
    published["vocabulary_map"]["<reserved08799>"] = WORDS - 1
    config = language_configs.lumina_mgpt(published)
    ours = filled(ChameleonTransformer, config, theirs, language_keys.from_chameleon)
    assert ours.vocabulary_size == CODES + 1
    assert torch.equal(ours.embed(torch.tensor([CODES])), ours.embed_text(torch.tensor([WORDS - 1])))
    assert language_configs.lumina_mgpt({"vocab_size": 65536})["row_end"] == 8803


def test_the_second_lumina_has_a_vocabulary_of_its_own() -> None:
    published = {"model_type": "chameleon", "vocab_size": 171385, "hidden_size": 64, "num_hidden_layers": 1}
    with torch.device("meta"):
        ours = ChameleonTransformer(**language_configs.lumina_mgpt_2(published))
    assert ours._words[[0, 16383, 16384]].tolist() == [155000, 171383, 151670]


def test_norms_of_parts_are_spread_over_their_heads() -> None:
    """Lumina-mGPT keeps one norm for each part it was trained in: with two parts of two heads, each counts twice."""
    parts = torch.arange(6.0).view(2, 3)
    spread = language_keys.norms_per_head("model.layers.0.self_attn.q_norm.weight", parts, 4, 2)
    assert torch.equal(spread, parts[[0, 0, 1, 1]])
    assert torch.equal(language_keys.norms_per_head("model.layers.0.self_attn.k_norm.bias", parts, 4, 2), parts)
    assert language_keys.norms_per_head("model.norm.weight", parts, 4, 2) is parts


def test_metas_files_are_the_same_model() -> None:
    """As transformers' conversion reads them: channels of a head that turn together lie side by side."""
    ours = pair("chameleon").ours.state_dict()
    heads, size = 4, 8
    names = {
        "layers.1.attention.wq.weight": "model.layers.1.self_attn.q_proj.weight",
        "layers.1.attention.wv.weight": "model.layers.1.self_attn.v_proj.weight",
        "layers.2.attention.k_normalization.bias": "model.layers.2.self_attn.k_norm.bias",
        "layers.0.feed_forward.w1.weight": "model.layers.0.mlp.gate_proj.weight",
        "layers.0.feed_forward.w2.weight": "model.layers.0.mlp.down_proj.weight",
        "layers.0.feed_forward.w3.weight": "model.layers.0.mlp.up_proj.weight",
        "layers.0.attention_norm.weight": "model.layers.0.input_layernorm.weight",
        "layers.0.ffn_norm.weight": "model.layers.0.post_attention_layernorm.weight",
        "tok_embeddings.weight": "model.embed_tokens.weight",
        "norm.weight": "model.norm.weight",
        "output.weight": "lm_head.weight",
    }
    for official, name in names.items():
        assert language_keys.from_chameleon_official(official) == name and name in ours
    assert language_keys.from_chameleon_official("rope.freqs") is None
    weight = torch.randn(heads * size, 32, generator=torch.Generator().manual_seed(0))
    wanted = weight.view(heads, size // 2, 2, 32).transpose(1, 2).reshape(heads * size, 32)
    assert torch.equal(language_keys.from_interleaved("model.layers.1.self_attn.q_proj.weight", weight, size), wanted)
    norm = torch.arange(float(size))
    key = "model.layers.1.self_attn.q_norm.weight"
    found = language_keys.norms_per_head(key, language_keys.from_interleaved(key, norm, size), heads, heads)
    assert torch.equal(found, norm.view(size // 2, 2).t().reshape(1, -1).repeat_interleave(heads, 0))
    value = "model.layers.1.self_attn.v_proj.weight"
    assert language_keys.from_interleaved(value, weight, size) is weight
