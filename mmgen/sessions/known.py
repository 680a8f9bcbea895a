"""Tokens of a line that are known beforehand: each has all of the probability of its place."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from mmgen.errors import SizeError


class Line(Protocol):
    """A layout, as far as its line goes."""

    @property
    def length(self) -> int:
        """Tokens N."""

    def known(self) -> Tensor:
        """Those that are certain in any line, int64 [1, N] with -1 where free."""


def known_tokens(given: Tensor | None, layout: Line, batch: int) -> Tensor:
    """Known tokens of a batch of lines, int64 [B, N] with -1 where free.

    Args:
        given: the same; None where those of the layout alone are known.

    Raises:
        SizeError: they have another shape.
    """
    known = layout.known().expand(batch, -1) if given is None else given
    if tuple(known.shape) != (batch, layout.length):
        raise SizeError(f"known tokens of shape {tuple(known.shape)}", f"[{batch}, {layout.length}]")
    return known


def make_certain(probs: Tensor, known: Tensor) -> Tensor:
    """Makes known tokens certain, in place and without waiting for the device.

    Args:
        probs: laws [..., V].
        known: int64 [...], -1 where the law stays as it is.
    """
    held, index = known[..., None] >= 0, known[..., None].clamp(min=0)
    own = probs.gather(-1, index).masked_fill(held, 1)
    return probs.masked_fill_(held, 0).scatter_(-1, index, own)
