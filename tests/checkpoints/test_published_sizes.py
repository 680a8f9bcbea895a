"""Every published size, without its numbers: names and shapes of the files are exactly those of our models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    ChameleonConfig,
    ChameleonForConditionalGeneration,
    Emu3Config,
    Emu3ForConditionalGeneration,
    JanusConfig,
    JanusForConditionalGeneration,
)

from mmgen.backbones.chameleon import ChameleonTransformer
from mmgen.backbones.emu3 import Emu3Transformer
from mmgen.backbones.janus import JanusTransformer
from mmgen.checkpoints import language_configs, language_keys, vqgan_keys
from mmgen.checkpoints.folder import Weightless
from mmgen.tokenizers.emu3_vq import Emu3VQ
from mmgen.tokenizers.vqgan import VQGAN

JANUS = {
    "Janus-Pro-1B": (2048, 5632, 24, 16, 1.485e9),
    "Janus-Pro-7B": (4096, 11008, 30, 32, 6.592e9),
}
CHAMELEON = {
    "Chameleon-7B": ({}, 7.00e9),
    "Lumina-mGPT-34B": (
        {
            "hidden_size": 8192, "intermediate_size": 22016, "num_hidden_layers": 48, "num_attention_heads": 64,
            "num_key_value_heads": 8, "swin_norm": True,
        },
        34.2e9,
    ),
    "Lumina-mGPT-2.0": ({"vocab_size": 171385, "max_position_embeddings": 10240}, 7.88e9),
}  # fmt: skip


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def translated(model: nn.Module, translate: Callable[[str], str | None]) -> dict[str, tuple[int, ...]]:
    names = {name: translate(name) for name in shapes(model)}
    found = {ours: shapes(model)[name] for name, ours in names.items() if ours is not None}
    assert len(found) == sum(ours is not None for ours in names.values())
    return found


def part(prefix: str, translate: Callable[[str], str | None]) -> Callable[[str], str | None]:
    return lambda name: translate(name.removeprefix(prefix)) if name.startswith(prefix) else None


def built(kind: type, **config: Any) -> Any:
    with Weightless():
        return kind(**config)


def parameters(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize("name", JANUS)
def test_janus(name: str) -> None:
    size, hidden, layers, heads, count = JANUS[name]
    text = {
        "model_type": "llama", "vocab_size": 102400, "hidden_size": size, "intermediate_size": hidden,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": heads,
    }  # fmt: skip
    config = JanusConfig(text_config=text, vq_config={"image_token_embed_dim": size, "projection_dim": size})
    with torch.device("meta"):
        theirs = JanusForConditionalGeneration(config)
    ours = built(JanusTransformer, **language_configs.janus(config.to_dict()))
    assert translated(theirs, language_keys.from_janus_transformers) == shapes(ours)
    assert translated(theirs, part("model.vqmodel.", vqgan_keys.from_janus)) == shapes(built(VQGAN))
    assert parameters(ours) == pytest.approx(count, rel=1e-3)


def test_emu3() -> None:
    words = {f"<|visual token {code:06d}|>": 151854 + code for code in range(32768)}
    config = Emu3Config(vocabulary_map=words | {"<|extra_200|>": 151846, "<image>": 151851})
    with torch.device("meta"):
        theirs = Emu3ForConditionalGeneration(config)
    ours = built(Emu3Transformer, **language_configs.emu3(config.to_dict()))
    assert translated(theirs, language_keys.from_emu3) == shapes(ours)
    tokenizer = built(Emu3VQ, vq_config=config.vq_config.to_dict())
    assert shapes(theirs.model.vqmodel) == {
        name.removeprefix("vqvae."): size for name, size in shapes(tokenizer).items()
    }
    assert parameters(ours) == pytest.approx(8.492e9, rel=1e-3)
    assert parameters(tokenizer) == pytest.approx(0.271e9, rel=1e-2)


@pytest.mark.parametrize("name", CHAMELEON)
def test_chameleon(name: str) -> None:
    sizes, count = CHAMELEON[name]
    config = ChameleonConfig(**sizes, vocabulary_map={"<image>": 8711})
    with torch.device("meta"):
        theirs = ChameleonForConditionalGeneration(config)
    make = language_configs.lumina_mgpt_2 if "2.0" in name else language_configs.chameleon
    published = config.to_dict() | {"vocabulary_map": {}}
    ours = built(ChameleonTransformer, **make(published))
    assert translated(theirs, language_keys.from_chameleon) == shapes(ours)
    assert parameters(ours) == pytest.approx(count, rel=5e-3)


def test_chameleons_tokenizer_and_lumina_mgpt_2s() -> None:
    chameleon = {"codebook_size": 8192, "codebook_channels": 256, "attention": False, "normalised": False}
    with torch.device("meta"):
        theirs = ChameleonForConditionalGeneration(ChameleonConfig(vocabulary_map={"<image>": 8711})).model.vqmodel
    ours = shapes(built(VQGAN, **chameleon))
    encoder = translated(theirs, lambda name: vqgan_keys.from_taming(name, 5))
    assert encoder == {name: size for name, size in ours.items() if name in encoder}
    assert {name for name in ours if name not in encoder} == {name for name in ours if name.startswith("decoder.")}
    movq = built(
        VQGAN, codebook_channels=4, latent_channels=4, channels=256, multipliers=(1, 2, 2, 4), normalised=False,
        spatial_norm=True,
    )  # fmt: skip
    assert parameters(movq) == pytest.approx(270e6, rel=0.01)
