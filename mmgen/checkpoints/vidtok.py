"""VidTok's discrete tokenizers as published: microsoft/VidTok on the Hugging Face Hub.

They are pickles, which are read without running anything. The names of the weights are those of diffusers, and their
shapes say all there is to know but one thing: the causal tokenizers of version 1.0 have the names and shapes of those
of version 1.1, and compute something else, which diffusers does not. So files of causal ones must keep their names.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmgen.checkpoints.folder import build, described, fill
from mmgen.checkpoints.weights import Weights
from mmgen.errors import WeightsError

if TYPE_CHECKING:
    from mmgen.tokenizers.vidtok import VidTok

_CURE = "give a discrete one: vidtok_fsq_causal_488_32768_v1_1.ckpt, its like of version 1.1, or a noncausal one"


def load_tokenizer(path: Path, dtype: torch.dtype | None = None) -> VidTok:
    """A discrete tokenizer from its file.

    Args:
        path: such as `vidtok_fsq_causal_488_32768_v1_1.ckpt`.
        dtype: type of the weights; None makes them float32.

    Raises:
        WeightsError: the file is damaged, something else, or a causal tokenizer not said to be of version 1.1.
    """
    from mmgen.tokenizers.vidtok import VidTok

    weights = Weights.open(path).renamed(
        lambda name: f"autoencoder.{name}" if name.startswith(("encoder.", "decoder.")) else None
    )
    with described(path, "a tokenizer of VidTok", _CURE):
        config = configuration(weights)
        if config["is_causal"] and "v1_1" not in path.name:
            raise WeightsError(path, "is causal, and its name does not say that it is of version 1.1", _CURE)
        model = build(VidTok, {"vidtok_config": config}, weights)
    return fill(model, weights, dtype)


def configuration(weights: Weights) -> dict[str, Any]:
    """What `diffusers.AutoencoderVidTok` takes, as the shapes say.

    Raises:
        KeyError: a tensor that tells is missing.
        WeightsError: its codes are not discrete.
    """
    causal = "autoencoder.encoder.conv_in.conv.weight" in weights
    ending = ".conv.weight" if causal else ".weight"
    channels = weights[f"autoencoder.encoder.conv_in{ending}"].shape[0]
    said, read = (weights[f"autoencoder.{name}{ending}"] for name in ("encoder.conv_out", "decoder.conv_in"))
    if said.shape[0] != read.shape[1]:
        raise WeightsError(weights.path, "has codes that are not discrete", _CURE)
    levels = range(len(_levels(weights, r"encoder\.down\.(\d+)\.block\.0\.conv1\.weight")))
    blocks = _levels(weights, r"encoder\.down\.0\.block\.(\d+)\.conv1\.weight")
    outputs = [weights[f"autoencoder.encoder.down.{level}.block.0.conv1.weight"].shape[0] for level in levels]
    resampled = {
        "spatial_ds": r"encoder\.down\.(\d+)\.downsample\.conv\.weight",
        "tempo_ds": r"encoder\.down_temporal\.(\d+)\.downsample\.mix_factor",
        "spatial_us": r"decoder\.up\.(\d+)\.upsample\.conv\.weight",
        "tempo_us": r"decoder\.up_temporal\.(\d+)\.upsample\.mix_factor",
    }
    return {
        "ch": channels,
        "ch_mult": [output // channels for output in outputs],
        "z_channels": said.shape[0],
        "double_z": False,
        "num_res_blocks": len(blocks),
        "regularizer": "fsq",
        "codebook_size": 8 ** said.shape[0],
        "is_causal": causal,
    } | {name: _levels(weights, pattern) for name, pattern in resampled.items()}


def _levels(weights: Weights, pattern: str) -> list[int]:
    """The numbers in the names of a pattern, ascending."""
    found = (re.fullmatch(r"autoencoder\." + pattern, name) for name in weights)
    return sorted(int(match.group(1)) for match in found if match)
