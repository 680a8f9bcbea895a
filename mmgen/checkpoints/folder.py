"""Models in folders of `config.json` and safetensors: read strictly, tensor by tensor, nothing executed."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
from diffusers import ModelMixin
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mmgen.catalog import read_json
from mmgen.checkpoints.weights import Weights, compare_names, weight_file
from mmgen.errors import WeightsError

Model = TypeVar("Model", bound=ModelMixin)
Module = TypeVar("Module", bound=nn.Module)


def load_model(kind: type[Model], folder: Path, dtype: torch.dtype | None = None) -> Model:
    """Builds a model from its folder, taking little more memory than its weights.

    Args:
        kind: the model's class; its `__init__` takes what `config.json` holds.
        folder: has `config.json` and exactly one `.safetensors` file, or shards of one and their index.
        dtype: type of the floating weights in memory; None makes them float32.

    Raises:
        WeightsError: a file is missing, damaged, in another format, or does not fit the configuration;
            the message names the file and the first keys or shapes that differ.
    """
    config = read_json(folder / "config.json")
    try:
        with Weightless():
            model = kind.from_config(config)
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        cure = "fetch the folder again or remake it with `mmgen train`"
        raise WeightsError(folder / "config.json", f"does not describe a {kind.__name__} ({error})", cure) from error
    file = weight_file(folder)
    if ".safetensors" not in file.suffixes:
        cure = "give safetensors weights instead"
        raise WeightsError(file, "is a pickle, which can run code when it is opened", cure)
    return fill(model, Weights.open(file), dtype)


class Weightless(TorchFunctionMode):
    """Inside, `torch.empty` takes no memory, so layers have weights of the right shape and no numbers.

    Unlike under `torch.device("meta")`, tensors that are made with values (`torch.tensor`, `torch.arange`) have
    them: a model may compute its tables when it is built.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        kwargs = kwargs or {}
        if func is torch.empty and kwargs.get("device") is None:
            kwargs = kwargs | {"device": "meta"}
        return func(*args, **kwargs)


def fill(model: Module, weights: Weights, dtype: torch.dtype | None = None) -> Module:
    """Gives a model its weights, one tensor after the other.

    Args:
        model: built inside `Weightless`; weights that it has already are replaced at the end, not overwritten.
        weights: exactly those of the model's state dict.
        dtype: type of the floating weights in memory; None makes them float32. Others keep the published type.

    Returns:
        The model, in evaluation mode, its weights frozen.

    Raises:
        WeightsError: names or shapes differ, or the model holds a tensor without numbers that is none of its weights.
    """
    _compare(weights, model.state_dict())
    state = {name: weights.read(name, dtype or torch.float32) for name in weights}
    model.load_state_dict(state, assign=True)
    _check_filled(model, weights)
    return model.eval().requires_grad_(False)


def _compare(weights: Weights, expected: dict[str, Tensor]) -> None:
    compare_names(weights.path, set(expected), set(weights))
    for name, tensor in expected.items():
        if weights[name].shape != tuple(tensor.shape):
            raise WeightsError(
                weights.path,
                f"{name} has shape {list(weights[name].shape)}, the configuration needs {list(tensor.shape)}",
                "use the config.json and weights of one model",
            )


def _check_filled(model: nn.Module, weights: Weights) -> None:
    """Refuses a model with a tensor that no weight file could fill: it would fail only when it is run."""
    for place, module in model.named_modules():
        for name, value in (vars(module) | module._parameters | module._buffers).items():
            if isinstance(value, Tensor) and value.is_meta:
                cure = "give it values where it is built"
                raise WeightsError(weights.path, f"{'.'.join(filter(None, (place, name)))} is not filled by it", cure)
