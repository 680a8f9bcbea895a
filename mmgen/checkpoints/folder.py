"""Models in folders of `config.json` and one safetensors file: read strictly, nothing executed."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
from diffusers import ModelMixin
from safetensors import SafetensorError
from safetensors.torch import load_file

from mmgen.catalog import read_json
from mmgen.errors import WeightsError

Model = TypeVar("Model", bound=ModelMixin)


def load_model(kind: type[Model], folder: Path, dtype: torch.dtype | None = None) -> Model:
    """Builds a model from its folder.

    Args:
        kind: the model's class; its `__init__` takes what `config.json` holds.
        folder: has `config.json` and exactly one `.safetensors` file.
        dtype: type of the weights in memory; None keeps float32.

    Raises:
        WeightsError: a file is missing, damaged, in another format, or does not fit the configuration;
            the message names the file and the first keys or shapes that differ.
    """
    config = read_json(folder / "config.json")
    try:
        model = kind.from_config(config)
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise WeightsError(folder / "config.json", f"does not describe a {kind.__name__} ({error})", _CURE) from error
    path = _weight_file(folder)
    try:
        state = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(path, f"is damaged or not a safetensors file ({error})", _CURE) from error
    expected = model.state_dict()
    _compare(path, {key: tuple(t.shape) for key, t in expected.items()}, {k: tuple(t.shape) for k, t in state.items()})
    model.load_state_dict({key: tensor.to(dtype or torch.float32) for key, tensor in state.items()}, assign=True)
    return model.eval().requires_grad_(False)


_CURE = "fetch the folder again or remake it with `mmgen train`"


def _weight_file(folder: Path) -> Path:
    files = sorted(folder.glob("*.safetensors"))
    if len(files) == 1:
        return files[0]
    if files:
        raise WeightsError(folder, f"holds {len(files)} safetensors files", "leave the one that belongs to the model")
    pickles = [path for suffix in ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl") for path in folder.glob(suffix)]
    if pickles:
        raise WeightsError(
            pickles[0], "is a pickle, which can run code when it is opened", "give safetensors weights instead"
        )
    raise WeightsError(folder, "holds no safetensors file", _CURE)


def _compare(path: Path, expected: dict[str, tuple], found: dict[str, tuple]) -> None:
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or extra:
        parts = [
            f"{len(keys)} {what} keys ({', '.join(keys[:3])})"
            for what, keys in (("missing", missing), ("unexpected", extra))
            if keys
        ]
        raise WeightsError(path, " and ".join(parts), "use the config.json and weights of one model")
    for key, shape in expected.items():
        if found[key] != shape:
            raise WeightsError(
                path,
                f"{key} has shape {list(found[key])}, the configuration needs {list(shape)}",
                "use the config.json and weights of one model",
            )
