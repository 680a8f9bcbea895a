"""Published tensors that are changed when they are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from mmgen.checkpoints.stored import Entry
from mmgen.checkpoints.weights import Weights


@dataclass(frozen=True)
class Changed:
    """A tensor made of a published one when it is read.

    Attributes:
        entry: the published one.
        change: what is done to it.
    """

    entry: Entry
    change: Callable[[Tensor], Tensor]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of what is made."""
        return tuple(self.change(torch.empty(self.entry.shape, device="meta")).shape)

    @property
    def dtype(self) -> torch.dtype:
        """The type it is published in."""
        return self.entry.dtype

    def copy_to(self, target: Tensor) -> None:
        """See `Entry`. Takes the memory of the published tensor beside that of the target."""
        published = torch.empty(self.entry.shape, dtype=target.dtype)
        self.entry.copy_to(published)
        target.copy_(self.change(published))


def changed(weights: Weights, change: Callable[[str, Tensor], Tensor]) -> Weights:
    """The same tensors, with a change to some.

    Args:
        weights: the tensors.
        change: what is done to a tensor of a name; those it returns as they are, are read as they were.
    """
    entries = dict(weights)
    for name, entry in weights.items():
        probe = torch.empty(entry.shape, device="meta")
        if change(name, probe) is not probe:
            entries[name] = Changed(entry, partial(change, name))
    return Weights(weights.path, entries)
