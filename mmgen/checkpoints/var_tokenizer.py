"""VAR's published tokenizer, which lies beside its transformers and those made of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmgen.checkpoints.changed import Changed
from mmgen.checkpoints.folder import Weightless, fill
from mmgen.checkpoints.stored import Entry
from mmgen.checkpoints.vqgan_keys import from_taming
from mmgen.checkpoints.weights import Weights, file_beside
from mmgen.errors import WeightsError

if TYPE_CHECKING:
    from mmgen.tokenizers.multi_scale_vq import MultiScaleVQ

TOKENIZER = "vae_ch160v4096z32"
"""What the tokenizer's file is called, without its ending."""


def tokenizer_beside(
    path: Path, given: Path | str | MultiScaleVQ | None, sizes: Sequence[int], dtype: torch.dtype | None
) -> MultiScaleVQ:
    """The tokenizer of a transformer.

    Args:
        path: the transformer's file, or the folder it lies in.
        given: the tokenizer's file, or the model; None looks for `vae_ch160v4096z32` beside the transformer.
        sizes: the transformer's scales.
        dtype: type of the weights; None makes them float32.

    Raises:
        WeightsError: there is none, or the file is damaged or something else.
    """
    if given is not None:
        return load_tokenizer(Path(given), sizes, dtype) if isinstance(given, str | Path) else given
    file = file_beside(path, [TOKENIZER])
    if file is not None:
        return load_tokenizer(file, sizes, dtype)
    raise WeightsError(path, "has no tokenizer beside it", f"give one: tokenizer=.../{TOKENIZER}.pth")


def load_tokenizer(path: Path, sizes: Sequence[int], dtype: torch.dtype | None = None) -> MultiScaleVQ:
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


def _apart(weights: Weights) -> Weights:
    """The same tensors, with queries, keys and values of attention one by one."""
    entries: dict[str, Entry] = {}
    for name, entry in weights.items():
        if ".qkv." not in name:
            entries[name] = entry
            continue
        for index, letter in enumerate("qkv"):
            entries[name.replace(".qkv.", f".{letter}.")] = Changed(entry, partial(_third, index=index))
    return Weights(weights.path, entries)


def _third(tensor: Tensor, index: int) -> Tensor:
    return tensor.chunk(3)[index]
