"""One tensor of a weight file: where its numbers lie, and how they come into memory."""

from __future__ import annotations

import functools
import mmap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from mmgen.errors import WeightsError

_STAGE_BYTES = 2 * 2**20
"""What is read at once: all the memory that reading takes beside the tensor itself."""


class Entry(Protocol):
    """A tensor that is known without having been read."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    @property
    def dtype(self) -> torch.dtype:
        """The type it is published in."""

    def copy_to(self, target: Tensor) -> None:
        """Reads it into a tensor of its shape, converting to the type of that."""


@dataclass(frozen=True)
class Stored:
    """A tensor in a file, as a view of the numbers that begin at `offset`.

    It is read with plain reads, never memory-mapped: pages of a mapped file count as memory of the process.

    Attributes:
        path: the file, whose numbers are little-endian.
        offset: bytes before its first element.
        shape: its shape.
        strides: elements from one index to the next along each axis; the same element may be seen twice.
        dtype: type of the numbers in the file.
    """

    path: Path
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype

    def copy_to(self, target: Tensor) -> None:
        """See `Entry`.

        Raises:
            WeightsError: the file is gone, or shorter than when it was opened.
        """
        if not target.numel():
            return
        # Largest stride first: then the parts of the target are filled in the order of the file.
        axes = sorted(range(target.ndim), key=lambda axis: -self.strides[axis])
        strides = [self.strides[axis] for axis in axes]
        size = min(span(self.shape, self.strides), _STAGE_BYTES // self.dtype.itemsize) * self.dtype.itemsize
        # Pages of its own: from the heap, the holes that stages leave between tensors would add up.
        stage = mmap.mmap(-1, size, access=mmap.ACCESS_COPY)
        try:
            with self.path.open("rb", buffering=0) as file:
                self._fill(file, stage, target.permute(axes), strides, self.offset)
        except OSError as error:
            raise WeightsError(self.path, f"cannot be read ({error})", "fetch it again") from error

    def _fill(self, file: FileIO, stage: mmap.mmap, target: Tensor, strides: Sequence[int], offset: int) -> None:
        """Fills the target by parts that fit the stage."""
        size = self.dtype.itemsize
        room, needed = len(stage) // size, span(target.shape, strides)
        if needed <= room:
            self._read(file, memoryview(stage)[: needed * size], offset)
            numbers = torch.frombuffer(stage, dtype=self.dtype, count=needed)
            target.copy_(numbers.as_strided(target.shape, strides))
        elif len(target) == 1:
            self._fill(file, stage, target[0], strides[1:], offset)
        else:
            count = max(1, (room - span(target.shape[1:], strides[1:])) // strides[0] + 1)
            for first in range(0, len(target), count):
                self._fill(file, stage, target[first : first + count], strides, offset + first * strides[0] * size)

    def _read(self, file: FileIO, part: memoryview, offset: int) -> None:
        file.seek(offset)
        while part:
            arrived = file.readinto(part)
            if not arrived:
                raise WeightsError(self.path, "has become shorter while it was read", "fetch it again")
            part = part[arrived:]


def span(shape: Sequence[int], strides: Sequence[int]) -> int:
    """Elements from the first to the last of a view, both counted; 0 where it has none."""
    if 0 in shape:
        return 0
    return 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides, in elements, of a tensor whose last axis is the fastest."""
    strides, count = [], 1
    for size in reversed(shape):
        strides.append(count)
        count *= size
    return tuple(reversed(strides))


@dataclass(frozen=True, eq=False)
class Held:
    """A tensor in memory, from a file that can only be read as a whole."""

    tensor: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return tuple(self.tensor.shape)

    @property
    def dtype(self) -> torch.dtype:
        """Its type."""
        return self.tensor.dtype

    def copy_to(self, target: Tensor) -> None:
        """See `Entry`."""
        target.copy_(self.tensor)


@dataclass(frozen=True)
class Joined:
    """Tensors one after the other along their first axis, with equal sizes along the others."""

    parts: tuple[Entry, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The parts' shape, their first sizes added up."""
        return (sum(part.shape[0] for part in self.parts), *self.parts[0].shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        """The type that holds all parts without loss."""
        return functools.reduce(torch.promote_types, (part.dtype for part in self.parts))

    def copy_to(self, target: Tensor) -> None:
        """See `Entry`. Each part is read into its place, so a joined tensor takes no more memory than another."""
        for part, piece in zip(self.parts, target.split([part.shape[0] for part in self.parts]), strict=True):
            part.copy_to(piece)


def refuse_placeholder(path: Path) -> None:
    """Refuses what often stands where weights should be, saying what it is.

    Raises:
        WeightsError: the file is absent, empty, a pointer of Git LFS, or a web page.
    """
    try:
        with path.open("rb") as file:
            start = file.read(512).lstrip().lower()
    except OSError as error:
        raise WeightsError(path, f"cannot be read ({error})", "give an existing weight file") from error
    if not start:
        raise WeightsError(path, "is empty", "fetch it again")
    if start.startswith(b"version https://git-lfs"):
        raise WeightsError(path, "is a pointer of Git LFS, not the weights", "run `git lfs pull` beside it")
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise WeightsError(path, "is a web page, not weights", "fetch it again; the page may say why that failed")


def listed(names: Iterable[str], most: int = 3) -> str:
    """The first names in order, for a message."""
    ordered = sorted(names)
    return ", ".join(ordered[:most]) + (", ..." if len(ordered) > most else "")
