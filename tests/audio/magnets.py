"""Tiny MAGNeTs with random weights, as audiocraft writes them, and what its layers make of them."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import torch
import yaml
from audio.musicgens import tiny_musicgen, write_text_tokenizer
from torch import Tensor
from torch.nn import functional as F

SIZE, HEADS, LAYERS, BOOKS, CODES, TEXT, FRAMES, CONTEXT = 32, 2, 2, 2, 16, 24, 40, 3

CONFIG = {
    "lm_model": "transformer_lm_magnet",
    "transformer_lm": {
        "card": CODES, "dim": SIZE, "num_heads": HEADS, "num_layers": LAYERS, "n_q": BOOKS, "hidden_scale": 2,
        "subcodes_context": CONTEXT, "compression_model_framerate": 100, "norm_first": True,
        "positional_embedding": "sin",
    },
    "dataset": {"segment_duration": FRAMES / 100},
    "conditioners": {"description": {"model": "t5", "t5": {"name": "t5-base"}}},
    "generate": {"lm": {"temp": 3.5, "top_p": 0.8, "max_cfg_coef": 20.0}},
}  # fmt: skip


def official_state(seed: int = 2) -> dict[str, Tensor]:
    """Weights under audiocraft's names."""
    shapes: dict[str, tuple[int, ...]] = {
        "out_norm.weight": (SIZE,), "out_norm.bias": (SIZE,),
        "condition_provider.conditioners.description.output_proj.weight": (SIZE, TEXT),
        "condition_provider.conditioners.description.output_proj.bias": (SIZE,),
    }  # fmt: skip
    for book in range(BOOKS):
        shapes |= {f"emb.{book}.weight": (CODES + 1, SIZE), f"linears.{book}.weight": (CODES, SIZE)}
    for layer in range(LAYERS):
        start = f"transformer.layers.{layer}"
        for attention in ("self_attn", "cross_attention"):
            shapes[f"{start}.{attention}.in_proj_weight"] = (3 * SIZE, SIZE)
            shapes[f"{start}.{attention}.out_proj.weight"] = (SIZE, SIZE)
        shapes |= {f"{start}.linear1.weight": (2 * SIZE, SIZE), f"{start}.linear2.weight": (SIZE, 2 * SIZE)}
        for norm in ("norm1", "norm_cross", "norm2"):
            shapes |= {f"{start}.{norm}.weight": (SIZE,), f"{start}.{norm}.bias": (SIZE,)}
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=generator) * 0.3 + (len(shape) == 1 and name.endswith("weight"))
        for name, shape in shapes.items()
    }


def official_logits(
    state: dict[str, Tensor], codes: Tensor, texts: Tensor, book: int, visible: Tensor | None = None
) -> Tensor:
    """Logits [R, T, V] of a codebook: pre-norm layers, sinusoids [cos | sin].

    Args:
        state: see `official_state`.
        codes: int64 [R, K, T], `CODES` where hidden.
        texts: features [R, P, F]; those of no text are zero behind the projection.
        book: from 0.
        visible: which frames each one sees, bool [T, T]; None as MAGNeT has it: those near by, for later codebooks.
    """
    places = torch.arange(codes.shape[2])
    phase = places[:, None] / 10000 ** (torch.arange(SIZE // 2) / (SIZE // 2 - 1))
    x = torch.cat((phase.cos(), phase.sin()), -1) + sum(state[f"emb.{k}.weight"][codes[:, k]] for k in range(BOOKS))
    if visible is None:
        visible = (places - places[:, None]).abs() <= CONTEXT if book else torch.ones(2 * codes.shape[2:]).bool()
    for layer in range(LAYERS):
        own = {name.split(".", 3)[3]: value for name, value in state.items() if f"layers.{layer}." in name}
        x = x + attended(own, "self_attn", normed := norm(own, "norm1", x), normed, visible)
        x = x + attended(own, "cross_attention", norm(own, "norm_cross", x), texts, None)
        x = x + F.gelu(norm(own, "norm2", x) @ own["linear1.weight"].T) @ own["linear2.weight"].T
    return norm(state, "out_norm", x) @ state[f"linears.{book}.weight"].T


def official_texts(state: dict[str, Tensor], features: Tensor, told: Tensor) -> Tensor:
    """What layers hear of texts: features [R, P, F], projected, and zeros where a bool [R, P] says there is none."""
    name = "condition_provider.conditioners.description.output_proj"
    return (features @ state[f"{name}.weight"].T + state[f"{name}.bias"]) * told[..., None]


def attended(own: dict[str, Tensor], name: str, x: Tensor, read: Tensor, visible: Tensor | None) -> Tensor:
    weights = own[f"{name}.in_proj_weight"].chunk(3)
    query, key, value = (
        (part @ weight.T).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        for part, weight in zip((x, read, read), weights, strict=True)
    )
    mixed = F.scaled_dot_product_attention(query, key, value, visible).transpose(1, 2).flatten(2)
    return mixed @ own[f"{name}.out_proj.weight"].T


def norm(own: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], own[f"{name}.weight"], own[f"{name}.bias"])


def write_magnet(folder: Path, config: dict[str, Any] | None = None, codec: str | None = None) -> None:
    """Writes `state_dict.bin` and `compression_state_dict.bin`, and T5 and EnCodec in transformers' format beside them.

    Args:
        folder: that exists.
        config: audiocraft's configuration, None for `CONFIG`.
        codec: the name that stands for the codec; None writes its weights.
    """
    words = yaml.safe_dump(config or CONFIG)
    torch.save({"best_state": official_state(), "xp.cfg": words, "version": "1.3.0"}, folder / "state_dict.bin")
    theirs = _theirs()
    theirs.audio_encoder.save_pretrained(folder / "encodec")
    held = official_codec(theirs.audio_encoder) if codec is None else {"pretrained": codec}
    torch.save(held | {"exported": True}, folder / "compression_state_dict.bin")
    theirs.text_encoder.save_pretrained(folder / "t5")
    write_text_tokenizer(folder / "t5")


@functools.cache
def _theirs() -> Any:
    """What the codec and the text encoder are of."""
    return tiny_musicgen(text_size=TEXT)


def official_codec(model: Any) -> dict[str, Any]:
    """A codec of transformers' as audiocraft exports it."""
    own = model.config
    transposed = {name for name, module in model.named_modules() if type(module).__name__ == "EncodecConvTranspose1d"}

    def theirs(name: str) -> str:
        place = name.rpartition(".conv.")[0]
        kind = "convtr" if place in transposed else "conv"
        name = name.replace(".parametrizations.weight.original0", ".weight_g")
        name = name.replace(".parametrizations.weight.original1", ".weight_v")
        name = re.sub(r"\.conv\.", f".{kind}.{kind}.", name)
        name = re.sub(r"^(encoder|decoder)\.layers\.", r"\1.model.", name)
        return re.sub(r"^quantizer\.layers\.(\d+)\.codebook\.", r"quantizer.vq.layers.\1._codebook.", name)

    config = {
        "sample_rate": own.sampling_rate, "channels": 1,
        "encodec": {"causal": own.use_causal_conv, "renormalize": False, "sample_rate": "${sample_rate}"},
        "seanet": {
            "dimension": own.hidden_size, "n_filters": own.num_filters, "ratios": list(own.upsampling_ratios),
            "n_residual_layers": own.num_residual_layers, "norm": own.norm_type, "kernel_size": own.kernel_size,
            "last_kernel_size": own.last_kernel_size, "residual_kernel_size": own.residual_kernel_size,
            "dilation_base": own.dilation_growth_rate, "pad_mode": own.pad_mode, "compress": own.compress,
            "lstm": own.num_lstm_layers, "true_skip": not own.use_conv_shortcut,
            "decoder": {"trim_right_ratio": own.trim_right_ratio},
        },
        "rvq": {"bins": own.codebook_size, "n_q": own.num_quantizers},
    }  # fmt: skip
    state = {theirs(name): value for name, value in model.state_dict().items()}
    return {"best_state": state, "xp.cfg": yaml.safe_dump(config)}
