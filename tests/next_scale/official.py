"""Files as the authors of VAR write them, with the weights of the goldens, and their noise."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

SIZES_256 = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
SIZES_512 = (1, 2, 3, 4, 6, 9, 13, 18, 24, 32)
SPREADS = {
    "scale_mul_1H11": (math.log(4), 1.5),
    "quantize.embedding.weight": (0.0, 1.0),
    "class_emb": (0.0, 1.0),
    "pos_start": (0.0, 0.5),
    "pos_1LC": (0.0, 0.5),
    "lvl_embed": (0.0, 0.5),
    "ada_gss": (0.0, 0.5),
    "norm": (1.0, 0.2),
}


def weight(key: str, shape: Sequence[int]) -> Tensor:
    """The parameter that the goldens have under a key."""
    width = 1 / math.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.1
    mean, deviation = next((spread for name, spread in SPREADS.items() if name in key), (0.0, width))
    if key.endswith("bias"):
        mean, deviation = 0.0, 0.1
    drawn = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)
    return torch.from_numpy((drawn * deviation + mean).astype(np.float32))


def state_dict(shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Parameters, and the buffers of a transformer's attention."""
    state = {key: weight(key, shape) for key, shape in shapes.items()}
    biases = {key.replace("q_bias", "zero_k_bias"): torch.zeros(s) for key, s in shapes.items() if "q_bias" in key}
    return state | biases


def tables(sizes: Sequence[int]) -> dict[str, Tensor]:
    """The level of each token and the mask of training, which published files hold, too."""
    levels = torch.cat([torch.full((size * size,), level) for level, size in enumerate(sizes)])
    hidden = levels[:, None] < levels
    return {"lvl_1L": levels[None], "attn_bias_for_masking": torch.zeros(hidden.shape).masked_fill(hidden, -torch.inf)}


def transformer_shapes(
    layers: int, size: int, sizes: Sequence[int], shared: bool, codes: int = 4096, channels: int = 32, classes=1000
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a transformer's parameters."""
    length = sum(side * side for side in sizes)
    shapes = {"pos_start": (1, 1, size), "pos_1LC": (1, length, size), "word_embed.weight": (size, channels)}
    shapes |= {"word_embed.bias": (size,), "class_emb.weight": (classes + 1, size)}
    shapes |= {"lvl_embed.weight": (len(sizes), size)}
    modulation = {"weight": (6 * size, size), "bias": (6 * size,)}
    if shared:
        shapes |= {f"shared_ada_lin.1.{name}": shape for name, shape in modulation.items()}
    block = {"attn.scale_mul_1H11": (1, size // 64, 1, 1), "attn.q_bias": (size,), "attn.v_bias": (size,)}
    block |= {"attn.mat_qkv.weight": (3 * size, size), "attn.proj.weight": (size, size), "attn.proj.bias": (size,)}
    block |= {"ffn.fc1.weight": (4 * size, size), "ffn.fc1.bias": (4 * size,)}
    block |= {"ffn.fc2.weight": (size, 4 * size), "ffn.fc2.bias": (size,)}
    if shared:
        block["ada_gss"] = (1, 1, 6, size)
    else:
        block |= {f"ada_lin.1.{name}": shape for name, shape in modulation.items()}
    shapes |= {f"blocks.{layer}.{name}": shape for layer in range(layers) for name, shape in block.items()}
    shapes |= {"head_nm.ada_lin.1.weight": (2 * size, size), "head_nm.ada_lin.1.bias": (2 * size,)}
    return shapes | {"head.weight": (codes, size), "head.bias": (codes,)}


def write(folder: Path, goldens: Path, name: str, part: str, file: str, sizes: Sequence[int]) -> Path:
    """One of the goldens' models in a file."""
    shapes = json.loads((goldens / "var" / f"{name}.keys.json").read_text())[part]
    state = state_dict(shapes)
    extra = {"quantize.ema_vocab_hit_SV": torch.zeros(len(sizes), 8)} if part == "vae" else tables(sizes)
    torch.save(state | extra, folder / file)
    return folder / file


class OfficialNoise:
    """In the place of `Rng`: what the authors' `torch.multinomial` and Gumbel noise draw, one after the other."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def exponential(self, purpose: int, positions: Tensor, size: int, draw: int = 0) -> Tensor:
        drawn = torch.empty(positions.numel(), size).exponential_(generator=self.generator)
        return drawn.view(*positions.shape, size)
