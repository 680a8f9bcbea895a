"""Which part of something older was drawn again, as files say it: enough to paint it again, and to draw the same."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from torch import Tensor

from mmgen.errors import OptionError

MOST_CODES = 2**13
"""So many codes that stayed are written down, at most; of larger grids a file says the cells alone."""
_MOST_CELLS = 2**16
_RANGES = re.compile(r"\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?)*")


@dataclass(frozen=True)
class Edited:
    """A part that was drawn again.

    Attributes:
        cells: their numbers on the grid, in raster order; of sound there are none.
        grid: rows and columns of cells.
        known: codes that stayed, in the tokenizer's order, and -1 where one was drawn; empty where they are not told.
        interval: of sound, from which second to which.
    """

    cells: tuple[int, ...] = ()
    grid: tuple[int, int] = (0, 0)
    known: tuple[int, ...] = ()
    interval: tuple[float, float] | None = None


def of_cells(mask: Tensor, known: Tensor) -> dict[str, Any]:
    """What a file says of cells.

    Args:
        mask: which were painted, bool [rows, columns].
        known: codes that stayed, of any shape, and -1 elsewhere.
    """
    said = {"cells": in_ranges(mask.flatten().nonzero().flatten().tolist()), "grid": list(mask.shape)}
    return said | ({"known": known.flatten().tolist()} if known.numel() <= MOST_CODES else {})


def of_interval(seconds: str) -> dict[str, Any]:
    """What a file says of an interval, from which second to which, such as `1.5,4`."""
    return {"interval": [float(second) for second in seconds.split(",")]}


def read(said: Any) -> Edited | None:
    """What a file says; None where it says nothing, or says it as earlier versions did.

    Raises:
        OptionError: it is none of ours, or too large.
    """
    if not said or isinstance(said, str):
        return None
    if not isinstance(said, Mapping):
        raise OptionError("edited", said, "what mmgen writes of an edit")
    if "interval" in said:
        return Edited(interval=_interval(said["interval"]))
    rows, columns = grid = _grid(said.get("grid"))
    return Edited(tuple(from_ranges(said.get("cells"), rows * columns)), grid, _known(said.get("known", [])))


def in_ranges(numbers: Sequence[int]) -> str:
    """Numbers that go up, as text: `3-5,9`."""
    runs = [list(run) for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    ends = [(run[0][1], run[-1][1]) for run in runs]
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in ends)


def from_ranges(text: Any, most: int) -> list[int]:
    """Numbers below `most` that text like `3-5,9` says.

    Raises:
        OptionError: it is no such text.
    """
    if not isinstance(text, str) or len(text) > 12 * _MOST_CELLS or not _RANGES.fullmatch(text):
        raise OptionError("edited", text, "cells such as 3-5,9")
    pairs = [(int(first), int(last or first)) for first, _, last in (part.partition("-") for part in text.split(","))]
    if not all(first <= last < most for first, last in pairs) or sum(b - a + 1 for a, b in pairs) > most:
        raise OptionError("edited", text, f"cells of 0 to {most - 1}, each once")
    return [number for first, last in pairs for number in range(first, last + 1)]


def _grid(given: Any) -> tuple[int, int]:
    sides = given if isinstance(given, list) and len(given) == 2 else [0, 0]
    if not all(type(side) is int and side > 0 for side in sides) or sides[0] * sides[1] > _MOST_CELLS:
        raise OptionError("edited", given, "rows and columns of cells")
    return sides[0], sides[1]


def _known(given: Any) -> tuple[int, ...]:
    fits = isinstance(given, list) and len(given) <= MOST_CODES
    if not fits or not all(type(code) is int and -1 <= code < 2**31 for code in given):
        raise OptionError("edited", "its codes", f"at most {MOST_CODES} codes, -1 where one was drawn")
    return tuple(given)


def _interval(given: Any) -> tuple[float, float]:
    numbers = given if isinstance(given, list) and len(given) == 2 else [1, 0]
    if not all(type(number) in (int, float) for number in numbers) or not 0 <= numbers[0] < numbers[1]:
        raise OptionError("edited", given, "from which second to which")
    return float(numbers[0]), float(numbers[1])
