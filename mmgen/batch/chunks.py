"""Items in groups that one call draws: those with equal settings, a bounded number of them at a time in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mmgen.batch.request import Item, canonical

_HELD = 4096
"""Items that are kept waiting for others with their settings."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Items that are drawn together.

    Attributes:
        settings: arguments of the pipeline's call beside prompt and seed.
        items: one or more.
    """

    settings: Mapping[str, Any]
    items: list[Item]


class Chunks:
    """Takes items as they come, and gives them out in groups.

    Args:
        items: with the settings of each.
    """

    def __init__(self, items: Iterator[tuple[Mapping[str, Any], Item]]) -> None:
        self._items = items
        self._groups: dict[str, tuple[Mapping[str, Any], deque[Item]]] = {}
        self._held = 0

    def take(self, size: int) -> Chunk | None:
        """Up to `size` items: of the first group that is full, else of the oldest; None where all are given out."""
        key = self._fill(size)
        if key is None:
            return None
        settings, items = self._groups[key]
        chosen = [items.popleft() for _ in range(min(size, len(items)))]
        self._held -= len(chosen)
        if not items:
            del self._groups[key]
        return Chunk(settings, chosen)

    def peek(self) -> Chunk | None:
        """An example of what `take` will give."""
        key = self._fill(1)
        return None if key is None else Chunk(self._groups[key][0], [self._groups[key][1][0]])

    def _fill(self, size: int) -> str | None:
        """Reads on until a group is full, enough is held or nothing is left; the group to give out."""
        while self._held < _HELD:
            found = next(self._items, None)
            if found is None:
                break
            key = canonical(found[0])
            items = self._groups.setdefault(key, (found[0], deque()))[1]
            items.append(found[1])
            self._held += 1
            if len(items) >= size:
                return key
        return next(iter(self._groups), None)
