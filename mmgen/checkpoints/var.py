"""VAR's published transformers, beside each of which its tokenizer lies.

Of FoundationVision/var, Zigeng/VAR_CoDe and nvidia/DirectDiscriminativeOptimization on the Hugging Face Hub, and what
VAR's training writes; all are pickles, which are read without running anything. Safetensors of the same names are
read as well.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmgen.checkpoints.folder import Module, Weightless, fill
from mmgen.checkpoints.var_tokenizer import tokenizer_beside
from mmgen.checkpoints.weights import Weights
from mmgen.errors import MmgenError, WeightsError
from mmgen.layout import ScaleLayout

if TYPE_CHECKING:
    from mmgen.backbones.next_scale import NextScaleTransformer
    from mmgen.pipelines.var import VARPipeline
    from mmgen.tokenizers.multi_scale_vq import MultiScaleVQ

SCALES = ScaleLayout((1, 2, 3, 4, 5, 6, 8, 10, 13, 16))
"""Of pictures of 256 pixels."""

_HEAD_SIZE = 64
_SCHEDULES = {layout.length: layout.sizes for layout in (SCALES, ScaleLayout((1, 2, 3, 4, 6, 9, 13, 18, 24, 32)))}
"""Published scales, of 256 and 512 pixels, by their tokens."""

_DROPPED = ("lvl_1L", "attn_bias_for_masking")
"""Tables that are made anew."""

_TOP = {
    "class_embedding.weight": ["class_emb.weight"],
    "feature_embedding.weight": ["word_embed.weight"],
    "feature_embedding.bias": ["word_embed.bias"],
    "begin": ["pos_start"],
    "positions": ["pos_1LC"],
    "level_embedding.weight": ["lvl_embed.weight"],
    "head_modulation.weight": ["head_nm.ada_lin.1.weight"],
    "head_modulation.bias": ["head_nm.ada_lin.1.bias"],
    "head.weight": ["head.weight"],
    "head.bias": ["head.bias"],
}
_SHARED = {
    "modulation.weight": ["shared_ada_lin.1.weight"],
    "modulation.bias": ["shared_ada_lin.1.bias"],
}
_BLOCK = {
    "qkv.weight": ["attn.mat_qkv.weight"],
    "qkv.bias": ["attn.q_bias", "attn.zero_k_bias", "attn.v_bias"],
    "attention_out.weight": ["attn.proj.weight"],
    "attention_out.bias": ["attn.proj.bias"],
    "up.weight": ["ffn.fc1.weight"],
    "up.bias": ["ffn.fc1.bias"],
    "down.weight": ["ffn.fc2.weight"],
    "down.bias": ["ffn.fc2.bias"],
}
_OWN_MODULATION = {"modulation.weight": ["ada_lin.1.weight"], "modulation.bias": ["ada_lin.1.bias"]}


def recognise(path: Path) -> bool:
    """Whether a file, or the only weights of a folder, are a VAR transformer."""
    try:
        return {"pos_1LC", "lvl_embed.weight", "head_nm.ada_lin.1.weight"} <= set(Weights.open(path))
    except MmgenError:
        return False


def load(
    path: Path,
    dtype: torch.dtype | None = None,
    *,
    tokenizer: Path | str | MultiScaleVQ | None = None,
    draft: Path | str | NextScaleTransformer | None = None,
) -> VARPipeline:
    """Makes a pipeline of a published transformer.

    Args:
        path: the transformer's file. Everything about it is read from its tensors.
        dtype: type of the weights; None makes them float32.
        tokenizer: the tokenizer's file, or the model; None looks for `vae_ch160v4096z32.pth` beside the transformer.
        draft: the file of a smaller transformer of the same scales, or the model. None looks for CoDe's `refiner_8.pth`
            beside its `drafter_8.pth` (likewise 6, 7 and 9). CoDe's pair hands over as it was trained to.

    Raises:
        WeightsError: a file is missing, damaged, or not what it should be.
    """
    from mmgen.decoding import scales
    from mmgen.pipelines.var import VARPipeline

    transformer = load_transformer(path, dtype)
    vq = tokenizer_beside(path, tokenizer, transformer.layout.sizes, dtype)
    handover = re.fullmatch(r"drafter_(\d+)", path.stem)
    if draft is None and handover is not None:
        partner = path.with_name(f"refiner_{handover[1]}{path.suffix}")
        draft = partner if partner.is_file() else None
    small = load_transformer(Path(draft), dtype) if isinstance(draft, str | Path) else draft
    collaborative = handover is not None and small is not None
    options = {"handover": int(handover[1])} if handover is not None and collaborative else {}
    sampling = {"guidance": 5.0, "top_k": 600 if collaborative else 900, "top_p": 0.95}
    return VARPipeline(vq, transformer, scales.make("scale-wise", **options), sampling, draft=small)


def load_transformer(path: Path, dtype: torch.dtype | None = None) -> NextScaleTransformer:
    """A published transformer from its file.

    Raises:
        WeightsError: the file is damaged or something else.
    """
    from mmgen.backbones.next_scale import NextScaleTransformer

    weights = Weights.open(path)
    config = configuration(weights)
    return filled(NextScaleTransformer, config, arrangement(config), weights, dtype)


def filled(
    kind: Callable[..., Module],
    config: Mapping[str, Any],
    arrangement: Mapping[str, Sequence[str]],
    weights: Weights,
    dtype: torch.dtype | None,
) -> Module:
    """A model of published tensors.

    Args:
        kind: its class.
        config: the arguments of that.
        arrangement: of which published tensors each of ours consists.
        weights: the published ones. Tables among them that the model makes anew may be there or not.
        dtype: type of the weights; None makes them float32.

    Raises:
        WeightsError: names or shapes differ.
    """
    needed = weights.renamed(lambda name: None if name in _DROPPED else name)
    with Weightless():
        model = kind(**config)
    return fill(model, needed.arranged(arrangement), dtype)


def configuration(weights: Weights) -> dict[str, Any]:
    """What the tensors say of a transformer.

    Raises:
        WeightsError: it lacks those that tell, or scales that neither it nor its length tells.
    """
    try:
        size, code_channels = weights["word_embed.weight"].shape
        return {
            "vocabulary_size": weights["head.weight"].shape[0],
            "code_channels": code_channels,
            "sizes": _sizes(weights),
            "size": size,
            "layers": 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks.")),
            "heads": _heads(weights, size),
            "hidden_size": weights["blocks.0.ffn.fc1.weight"].shape[0],
            "classes": weights["class_emb.weight"].shape[0] - 1,
            "shared_modulation": "shared_ada_lin.1.weight" in weights,
            "normalised": "blocks.0.attn.scale_mul_1H11" in weights,
        }
    except (KeyError, ValueError) as error:
        raise WeightsError(weights.path, f"lacks {error}", "give a transformer of VAR") from error


def _heads(weights: Weights, size: int) -> int:
    """A head has 64 channels where nothing else is said."""
    name = "blocks.0.attn.scale_mul_1H11"
    return weights[name].shape[1] if name in weights else size // _HEAD_SIZE


def _sizes(weights: Weights) -> tuple[int, ...]:
    """Codes of a side of every scale: counted in the table of levels, or those published with as many tokens."""
    if "lvl_1L" in weights:
        areas = weights.read("lvl_1L").flatten().long().bincount().tolist()
        return tuple(math.isqrt(area) for area in areas)
    length = weights["pos_1LC"].shape[1]
    if length not in _SCHEDULES:
        known = " or ".join(map(str, _SCHEDULES))
        raise WeightsError(weights.path, f"has {length} tokens and no lvl_1L, which counts its scales", f"give {known}")
    return _SCHEDULES[length]


def arrangement(config: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    """Of which published tensors each of ours consists."""
    shared = config["shared_modulation"]
    names: dict[str, Sequence[str]] = {**_TOP, **(_SHARED if shared else {})}
    block = _BLOCK | ({"modulation_offset": ["ada_gss"]} if shared else _OWN_MODULATION)
    if config["normalised"]:
        block = block | {"sharpness": ["attn.scale_mul_1H11"]}
    for layer in range(config["layers"]):
        for ours, theirs in block.items():
            names[f"blocks.{layer}.{ours}"] = [f"blocks.{layer}.{name}" for name in theirs]
    return names
