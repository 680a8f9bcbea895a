"""Models in folders of `config.json` and safetensors: read strictly, tensor by tensor, nothing executed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import ModelMixin
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mmgen.catalog import read_json
from mmgen.checkpoints.weights import Weights, compare_names, weight_file
from mmgen.errors import OptionError, WeightsError

Model = TypeVar("Model", bound=ModelMixin)
Module = TypeVar("Module", bound=nn.Module)

_PARTS = ("layers", "blocks", "depths", "aligner_layers", "num_hidden_layers", "num_res_blocks")
"""What configurations call the numbers of parts that are built one by one, each with tensors of its own."""

_LISTED = ("multipliers", "channel_multiplier")
"""What they call lists with a number for each such part."""

_SIDES = ("vocab_size", "hidden_size", "head_dim", "base_channels", *_LISTED)
"""What they call numbers of which lists are made, or tensors with values."""

_FEW, _LONGEST, _LARGEST = 64, 2**20, 2**31
"""Parts that take no time to build, and what is above all sides and above all numbers of all models."""


def model_type(folder: Path) -> str | None:
    """What the `config.json` of transformers' format says a folder holds; None where there is no such file."""
    try:
        return read_json(folder / "config.json").get("model_type")
    except WeightsError:
        return None


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
    config, file = read_json(folder / "config.json"), weight_file(folder)
    if ".safetensors" not in file.suffixes:
        cure = "give safetensors weights instead"
        raise WeightsError(file, "is a pickle, which can run code when it is opened", cure)
    weights = Weights.open(file)
    cure = "fetch the folder again or remake it with `mmgen train`"
    with described(folder / "config.json", f"a {kind.__name__}", cure):
        model = build(lambda **config: kind.from_config(config), config, weights)
    return fill(model, weights, dtype)


@contextmanager
def described(file: Path, what: str, cure: str = "fetch it again") -> Iterator[None]:
    """Inside, a model is made of what a file says; whatever Python says of a bad file becomes a line with a cure.

    Args:
        file: the configuration, or the weights whose names and shapes tell.
        what: it describes, with its article.
        cure: what to do.

    Raises:
        WeightsError: the file does not describe such a model.
    """
    try:
        yield
    except WeightsError:
        raise
    except Exception as error:  # there is no telling what a number out of place leads to
        reason = f"{error} is missing or unknown" if type(error) is KeyError else str(error) or type(error).__name__
        short = " ".join(reason.split())[:300]
        raise WeightsError(file, f"does not describe {what} ({short})", cure) from error


def build(kind: Callable[..., Module], config: Mapping[str, Any], weights: Weights) -> Module:
    """A model without numbers, for `fill`.

    Args:
        kind: the model's class.
        config: its arguments.
        weights: those it is for, under its names.

    Raises:
        OptionError: a number is too large for these weights; nothing is built then.
    """
    _check_numbers(config, weights)
    with Weightless():
        return kind(**config)


def _check_numbers(config: Mapping[str, Any], weights: Weights) -> None:
    """Refuses what would take hours and all memory to build, and could never be compared with the weights."""
    parts = max(len(weights), _FEW)
    bounds = dict.fromkeys(_SIDES, _LONGEST) | dict.fromkeys(_PARTS, parts)
    for name, value in config.items():
        if isinstance(value, Mapping):
            _check_numbers(value, weights)
            continue
        numbers = value if isinstance(value, list | tuple) else [value]
        if name in _LISTED and len(numbers) > parts:
            raise OptionError(name, f"{len(numbers)} numbers", f"at most {parts}, for {len(weights)} tensors")
        for number in numbers:
            if isinstance(number, int) and number > bounds.get(name, _LARGEST):
                needed = f"at most {bounds.get(name, _LARGEST)}, for {len(weights)} tensors"
                raise OptionError(name, number, needed)


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
