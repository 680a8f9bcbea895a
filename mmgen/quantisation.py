"""Weights of linear layers in 8 bits, through torchao (PyTorch's own library for it)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from mmgen.errors import MissingDependencyError, OptionError

WEIGHT_BITS = (8,)
"""What `quantise` can keep a weight in."""


def quantise(model: nn.Module, bits: int = 8) -> None:
    """Keeps the weights of a model's linear layers in 8 bits each, in place; once done, again does nothing.

    Every output channel has one float32 scale, max |w| / 127.5 of its weights, which are rounded to whole steps of
    it: absmax rounding, row by row, as in LLM.int8() (Dettmers et al. 2022). Two deviations from it: activations stay
    as they are, and so no outlying channels are set apart. Every forward turns one layer's weights back, multiplies,
    and scales the result, in the type of its input. Biases, embeddings and norms keep their type.

    A model keeps the result across `to`. It can no longer be trained, nor saved in diffusers' layout.

    Args:
        model: any model; it should be in `eval` mode.
        bits: 8.

    Raises:
        OptionError: other bits.
        MissingDependencyError: torchao is not installed.
    """
    if bits not in WEIGHT_BITS:
        raise OptionError("bits", bits, f"one of {', '.join(map(str, WEIGHT_BITS))}")
    try:
        from torchao.quantization import Int8WeightOnlyConfig, quantize_
    except ImportError as error:
        raise MissingDependencyError(
            "weights in 8 bits need torchao", "install it: pip install 'mmgen[quantisation]'"
        ) from error
    quantize_(model, Int8WeightOnlyConfig(set_inductor_config=False), filter_fn=_is_float_linear)


def _is_float_linear(module: nn.Module, name: str) -> bool:
    return isinstance(module, nn.Linear) and not is_traceable_wrapper_subclass(module.weight)


def is_quantised(model: nn.Module) -> bool:
    """Whether any weight of a model is kept in fewer bits."""
    return any(is_traceable_wrapper_subclass(weight) for weight in model.parameters())


def plain_tensors(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The tensors that hold bytes: a quantised weight `w` gives `w.qdata`, `w.scale` and so on, others themselves.

    A quantised weight is a wrapper: its own `nbytes` is that of the float weight it stands for, and it has no
    bytes to view or hash.
    """
    for name, tensor in tensors.items():
        if is_traceable_wrapper_subclass(tensor):
            parts, _ = tensor.__tensor_flatten__()
            yield from plain_tensors({f"{name}.{part}": getattr(tensor, part) for part in parts})
        else:
            yield name, tensor


def weight_bytes(model: nn.Module) -> int:
    """Bytes of all weights and buffers, scales included; one used twice is counted once."""
    found = dict(model.named_parameters()) | dict(model.named_buffers())
    return sum(tensor.nbytes for _, tensor in plain_tensors(found))
