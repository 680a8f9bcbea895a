"""Text encoders published in transformers' format, read as strictly as everything else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmgen.catalog import read_json
from mmgen.checkpoints.folder import Weightless, described, fill
from mmgen.checkpoints.weights import Weights

if TYPE_CHECKING:
    from transformers import T5EncoderModel

_SHARED, _OWN = "shared.weight", "encoder.embed_tokens.weight"


def load_t5(folder: Path, dtype: torch.dtype | None = None) -> T5EncoderModel:
    """The encoder of a T5; its decoder, where the folder has one, is left out.

    Args:
        folder: has `config.json` and the weights.
        dtype: type of the weights; None makes them float32.

    Raises:
        WeightsError: a file is missing, damaged, or not what it should be.
    """
    with described(folder / "config.json", "a T5", "give a folder of T5, such as flan-t5-xl"):
        return t5(read_json(folder / "config.json"), Weights.open(folder), dtype)


def t5(config: dict[str, Any], weights: Weights, dtype: torch.dtype | None = None) -> T5EncoderModel:
    """The encoder of a T5 from its configuration and weights, which may be part of another model's."""
    from transformers import T5Config, T5EncoderModel

    with Weightless():
        model = T5EncoderModel(T5Config.from_dict(config))
    weights = weights.renamed(_of_encoder)
    if _SHARED in weights:  # one table under two names
        weights = Weights(weights.path, {name: weights[name] for name in weights} | {_OWN: weights[_SHARED]})
    fill(model, weights, dtype)
    model.encoder.embed_tokens.weight = model.shared.weight
    return model


def _of_encoder(name: str) -> str | None:
    return name if name == _SHARED or (name.startswith("encoder.") and name != _OWN) else None
