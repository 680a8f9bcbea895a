"""Codecs of sound as published in transformers' format: EnCodec, DAC and Mimi.

facebook/encodec_24khz and encodec_32khz, descript/dac_16khz, dac_24khz and dac_44khz, and kyutai/mimi on the Hugging
Face Hub.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmgen.catalog import read_json
from mmgen.checkpoints.folder import build, described, fill, model_type
from mmgen.checkpoints.weights import Weights

if TYPE_CHECKING:
    from mmgen.tokenizers.sound_codec import SoundCodec

_KINDS = {"encodec": "EnCodec", "dac": "DAC", "mimi": "Mimi"}
"""Our class of each `model_type`."""

_OLDER = (
    (r"\.weight_g$", ".parametrizations.weight.original0"),
    (r"\.weight_v$", ".parametrizations.weight.original1"),
)
"""What weight normalisation was called before PyTorch 2.0, in files of that time."""

_OLDER_MIMI = (
    (r"^(encoder|decoder)\.(layers\.)", r"\1.\1_seanet.\2"),
    (r"^(encoder|decoder)(_transformer\.)", r"\1.\1\2"),
    (r"^downsample\.", "encoder.downsample."),
    (r"^upsample\.", "decoder.upsample."),
)
"""Where parts of Mimi stood before transformers 5.23."""


def recognise(path: Path) -> bool:
    """Whether a folder holds one of the codecs."""
    return model_type(path) in _KINDS


def load(path: Path, dtype: torch.dtype | None = None) -> SoundCodec:
    """Makes a codec of a published folder.

    Args:
        path: has `config.json` and the weights.
        dtype: type of the weights; None makes them float32.

    Raises:
        WeightsError: a file is missing, damaged, or not what it should be.
    """
    config, weights = read_json(path / "config.json"), Weights.open(path)
    with described(path / "config.json", f"a codec of sound ({', '.join(_KINDS)})"):
        codec, own = built(config, weights)
    return fill(codec, own, dtype)


def built(codec: Mapping[str, Any], weights: Weights, **options: Any) -> tuple[SoundCodec, Weights]:
    """A codec without numbers, and its weights, for `fill`.

    Args:
        codec: transformers' configuration.
        weights: published under transformers' names, of today or of older files.
        options: `channels` and `codebooks` of our class.
    """
    from mmgen.tokenizers import sound_codecs

    kind = getattr(sound_codecs, _KINDS[codec["model_type"]])
    table = _OLDER + (_OLDER_MIMI if kind is sound_codecs.Mimi else ())
    own = weights.renamed(lambda name: f"model.{_renamed(name, table)}")
    return build(kind, {"codec": dict(codec), **options}, own), own


def _renamed(name: str, table: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in table:
        name = re.sub(pattern, replacement, name)
    return name
