"""What became of an item, and how that is said."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from mmgen.batch.manifest import DONE
from mmgen.batch.request import Item
from mmgen.errors import MmgenError


@dataclass(frozen=True)
class Outcome:
    """What became of an item.

    Attributes:
        item: which.
        record: its line of the manifest.
        final: whether trying again would be of no use.
    """

    item: Item
    record: dict[str, Any]
    final: bool = True

    @property
    def done(self) -> bool:
        """Whether it was made."""
        return self.record["status"] == DONE


def record_of(item: Item, status: str, worker: str) -> dict[str, Any]:
    """How a line of the manifest begins."""
    return {
        "item": item.number, "id": item.id, "status": status, "line": item.line, "prompt": str(item.prompt),
        "seed": item.seed, "attempt": item.attempt, "worker": worker, "finished": time.time(),
    }  # fmt: skip


def reason(error: Exception) -> str:
    """What went wrong, on one line."""
    text = str(error) if isinstance(error, MmgenError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())
