"""What every recipe is: what it remakes, for how long, and how."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import nn

from mmgen import catalog
from mmgen.errors import OptionError
from mmgen.training.loop import Budget


@dataclass(frozen=True, kw_only=True)
class Recipe(ABC):
    """Makes what one shipped folder holds.

    Attributes:
        folder: what it remakes, under the root of what is shipped.
        budget: of the training.
        start_from: name or folder of a pipeline whose weights the training begins with; None begins with random ones.
    """

    folder: str
    budget: Budget
    start_from: str | None = None

    trained: ClassVar[tuple[str, ...]] = ()
    """Components of the pipeline that the recipe trains, where it can begin with another's."""

    @property
    def destination(self) -> Path:
        """The shipped folder."""
        return catalog.root() / self.folder

    def begin(self, *models: nn.Module) -> None:
        """Gives the `trained` components the weights they begin with.

        Raises:
            OptionError: the pipeline to start from has others.
        """
        if self.start_from is None:
            return
        from mmgen.pipelines.loading import load

        pipe = load(self.start_from)
        for name, model in zip(self.trained, models, strict=True):
            try:
                model.load_state_dict(getattr(pipe, name).state_dict())
            except (AttributeError, RuntimeError) as error:
                needed = f"a pipeline whose {name} has the shape of the recipe's"
                raise OptionError("start_from", self.start_from, needed) from error

    @abstractmethod
    def run(self, destination: Path, work: Path, device: str, compile: bool, log: Callable[[str], None]) -> None:
        """Trains and writes `destination`."""
