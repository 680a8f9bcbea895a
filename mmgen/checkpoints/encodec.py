"""EnCodec as audiocraft exports it: a pickle, read without running anything."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmgen.checkpoints import sound_codecs
from mmgen.checkpoints.folder import described, fill
from mmgen.checkpoints.weights import Weights

if TYPE_CHECKING:
    from mmgen.tokenizers.sound_codec import SoundCodec

_NAMES = (
    (r"^(encoder|decoder)\.model\.", r"\1.layers."),
    (r"\.(conv|convtr)\.\1\.", ".conv."),
    (r"^quantizer\.vq\.layers\.(\d+)\._codebook\.", r"quantizer.layers.\1.codebook."),
)
"""audiocraft's names, and transformers'."""


def load_codec(file: Path, config: Mapping[str, Any]) -> SoundCodec:
    """A codec from its file.

    Args:
        file: such as `compression_state_dict.bin`.
        config: audiocraft's configuration of it.

    Raises:
        WeightsError: the file is damaged, or not such a codec.
    """
    with described(file, "an EnCodec"):
        codec, own = sound_codecs.built(configuration(config), Weights.open(file).renamed(_theirs))
    return fill(codec, own, torch.float32)


def configuration(config: Mapping[str, Any]) -> dict[str, Any]:
    """transformers' configuration, from audiocraft's."""
    net, books = config["seanet"], config["rvq"]
    rate, bins = config["sample_rate"], books["bins"]
    bits = math.ceil(math.log2(bins)) * math.ceil(rate / math.prod(net["ratios"])) * books["n_q"]
    return {
        "model_type": "encodec", "target_bandwidths": [bits / 1000], "sampling_rate": rate,
        "audio_channels": config["channels"], "normalize": config["encodec"].get("renormalize", False),
        "hidden_size": net["dimension"], "num_filters": net["n_filters"],
        "num_residual_layers": net["n_residual_layers"], "upsampling_ratios": net["ratios"],
        "norm_type": net["norm"], "kernel_size": net["kernel_size"], "last_kernel_size": net["last_kernel_size"],
        "residual_kernel_size": net["residual_kernel_size"], "dilation_growth_rate": net["dilation_base"],
        "use_causal_conv": config["encodec"]["causal"], "pad_mode": net["pad_mode"], "compress": net["compress"],
        "num_lstm_layers": net["lstm"], "trim_right_ratio": (net.get("decoder") or {}).get("trim_right_ratio", 1.0),
        "codebook_size": bins, "codebook_dim": net["dimension"], "use_conv_shortcut": not net["true_skip"],
    }  # fmt: skip


def _theirs(name: str) -> str:
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    return name
