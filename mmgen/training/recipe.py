"""What every recipe is: what it remakes, for how long, and how."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmgen import catalog
from mmgen.training.loop import Budget


@dataclass(frozen=True, kw_only=True)
class Recipe(ABC):
    """Makes what one shipped folder holds.

    Attributes:
        folder: what it remakes, under the root of what is shipped.
        budget: of the training.
    """

    folder: str
    budget: Budget

    @property
    def destination(self) -> Path:
        """The shipped folder."""
        return catalog.root() / self.folder

    @abstractmethod
    def run(self, destination: Path, work: Path, device: str, compile: bool, log: Callable[[str], None]) -> None:
        """Trains and writes `destination`."""
