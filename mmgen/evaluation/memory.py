"""Peak memory: what torch holds at most while something runs."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Result = TypeVar("Result")


def peak_memory(run: Callable[[], Result], device: torch.device | str = "cpu") -> tuple[Result, int]:
    """Runs something and watches the memory of its tensors.

    On a CPU, every tensor that an operation returns is counted as long as it lives; what an operation needs for
    itself is not seen. On a GPU the allocator keeps the number.

    Args:
        run: what to do.
        device: where its tensors are.

    Returns:
        What `run` returned, and the most bytes that were held at once, on top of those held beforehand.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return _on_cuda(run, device)
    with _Watch() as watch:
        result = run()
    return result, watch.most


class _Watch(TorchDispatchMode):
    """Counts the bytes of all storage that is made while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.most = self._held = 0
        self._living: dict[weakref.ref, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {_place(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and _place(leaf) not in given:
                self._count(leaf.untyped_storage())
        self.most = max(self.most, self._held)
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        reference = weakref.ref(storage, self._release)
        if reference not in self._living:
            self._living[reference] = storage.nbytes()
            self._held += storage.nbytes()

    def _release(self, reference: weakref.ref) -> None:
        self._held -= self._living.pop(reference, 0)


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _on_cuda(run: Callable[[], Result], device: torch.device) -> tuple[Result, int]:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    result = run()
    torch.cuda.synchronize(device)
    return result, torch.cuda.max_memory_allocated(device) - before
