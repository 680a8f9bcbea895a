"""VAR's published files: a transformer, and the tokenizer that lies beside it.

Of FoundationVision/var, Zigeng/VAR_CoDe and nvidia/DirectDiscriminativeOptimization on the Hugging Face Hub, and what
VAR's training writes; all are pickles, which are read without running anything. Safetensors of the same names are
read as well.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmgen.checkpoints.folder import Weightless, fill
from mmgen.checkpoints.stored import Entry
from mmgen.checkpoints.vqgan_keys import from_taming
from mmgen.checkpoints.weights import PICKLES, Weights
from mmgen.errors import MmgenError, WeightsError
from mmgen.layout import ScaleLayout

if TYPE_CHECKING:
    from mmgen.backbones.next_scale import NextScaleTransformer
    from mmgen.pipelines.var import VARPipeline
    from mmgen.tokenizers.multi_scale_vq import MultiScaleVQ

TOKENIZER = "vae_ch160v4096z32"
"""What the tokenizer's file is called, without its ending."""

_HEAD_SIZE = 64
_SCHEDULES = {
    layout.length: layout.sizes
    for layout in map(ScaleLayout, [(1, 2, 3, 4, 5, 6, 8, 10, 13, 16), (1, 2, 3, 4, 6, 9, 13, 18, 24, 32)])
}
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
    vq = _tokenizer(path, tokenizer, transformer.layout.sizes, dtype)
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
    weights = weights.renamed(lambda name: None if name in _DROPPED else name)
    with Weightless():
        model = NextScaleTransformer(**config)
    return fill(model, weights.arranged(arrangement(config)), dtype)


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


def load_tokenizer(
    path: Path, sizes: Sequence[int] = _SCHEDULES[680], dtype: torch.dtype | None = None
) -> MultiScaleVQ:
    """VAR's tokenizer from its file, for any scales.

    Raises:
        WeightsError: the file is damaged or something else.
    """
    from mmgen.tokenizers.multi_scale_vq import MultiScaleVQ

    weights = Weights.open(path)
    config = tokenizer_configuration(weights)
    levels = len(config["multipliers"])
    with Weightless():
        model = MultiScaleVQ(**config, sizes=sizes)
    return fill(model, _apart(weights).renamed(lambda name: _tokenizer_name(name, levels)), dtype)


def tokenizer_configuration(weights: Weights) -> dict[str, Any]:
    """What the shapes say of a tokenizer; the scales are not among it.

    Raises:
        WeightsError: it lacks the tensors that tell.
    """
    try:
        codes, codebook_channels = weights["quantize.embedding.weight"].shape
        channels = weights["encoder.conv_in.weight"].shape[0]
        levels = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("encoder.down."))
        blocks = 1 + max(int(name.split(".")[4]) for name in weights if name.startswith("encoder.down.0.block."))
        outputs = [weights[f"encoder.down.{level}.block.0.conv2.weight"].shape[0] for level in range(levels)]
    except (KeyError, ValueError) as error:
        raise WeightsError(weights.path, f"lacks {error}", "give the tokenizer of VAR") from error
    return {
        "codebook_size": codes,
        "codebook_channels": codebook_channels,
        "channels": channels,
        "multipliers": [output // channels for output in outputs],
        "blocks": blocks,
    }


def _tokenizer_name(name: str, levels: int) -> str | None:
    """Our name of a published tensor, None for what drawing needs not."""
    if name == "quantize.ema_vocab_hit_SV":
        return None
    phi = re.fullmatch(r"quantize\.quant_resi\.qresi_ls\.(\d+\.(?:weight|bias))", name)
    return f"phis.{phi[1]}" if phi else from_taming(name, levels)


@dataclass(frozen=True)
class _Third:
    """A third of a tensor's rows: queries, keys or values."""

    whole: Entry
    index: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.whole.shape[0] // 3, *self.whole.shape[1:]

    @property
    def dtype(self) -> torch.dtype:
        return self.whole.dtype

    def copy_to(self, target: Tensor) -> None:
        whole = torch.empty(self.whole.shape, dtype=self.dtype)
        self.whole.copy_to(whole)
        target.copy_(whole.chunk(3)[self.index])


def _apart(weights: Weights) -> Weights:
    """The same tensors, with queries, keys and values of attention one by one."""
    entries: dict[str, Entry] = {}
    for name, entry in weights.items():
        if ".qkv." not in name:
            entries[name] = entry
            continue
        for index, letter in enumerate("qkv"):
            entries[name.replace(".qkv.", f".{letter}.")] = _Third(entry, index)
    return Weights(weights.path, entries)


def _tokenizer(path: Path, given: Any, sizes: Sequence[int], dtype: torch.dtype | None) -> MultiScaleVQ:
    if given is not None:
        return load_tokenizer(Path(given), sizes, dtype) if isinstance(given, str | Path) else given
    folder = path if path.is_dir() else path.parent
    for ending in (".safetensors", *PICKLES):
        if (folder / f"{TOKENIZER}{ending}").is_file():
            return load_tokenizer(folder / f"{TOKENIZER}{ending}", sizes, dtype)
    raise WeightsError(path, "has no tokenizer beside it", f"give one: tokenizer=.../{TOKENIZER}.pth")
