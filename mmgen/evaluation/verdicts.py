"""Verdicts on what was made, each by its own caption, and how often they are right."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar


class Verdict:
    """What of a caption is shown. A part is None where the caption does not ask for it.

    Attributes:
        asked: names of the attributes that are its parts.
        recognised: names of what was found.
    """

    asked: ClassVar[tuple[str, ...]]
    recognised: tuple[str | None, ...]

    @property
    def parts(self) -> dict[str, bool | None]:
        """Whether each part is right, by name."""
        return {name: getattr(self, name) for name in self.asked}

    @property
    def correct(self) -> bool:
        """Everything the caption asks for is right."""
        return all(right is None or right for right in self.parts.values())


@dataclass
class Share:
    """How many of how many were right."""

    right: int = 0
    of: int = 0

    def add(self, right: bool) -> None:
        """Counts one more."""
        self.right += right
        self.of += 1

    @property
    def share(self) -> float | None:
        """From 0 to 1; None of nothing."""
        return self.right / self.of if self.of else None

    @property
    def error(self) -> float | None:
        """Standard error of the share; None of nothing. One right and one wrong more, or all right would be certain."""
        share = (self.right + 1) / (self.of + 2)
        return (share * (1 - share) / (self.of + 2)) ** 0.5 if self.of else None

    def to_dict(self) -> dict[str, Any]:
        """The counts and the share."""
        return {"right": self.right, "of": self.of, "share": self.share}


@dataclass
class Report(ABC):
    """How well what was made shows what captions ask for. Those of each medium have a share for each measure.

    Attributes:
        correct: items with everything right.
        by_name: by name, how often something was recognised where a caption asked for it.
    """

    correct: Share = field(default_factory=Share)
    by_name: dict[str, Share] = field(default_factory=lambda: defaultdict(Share))

    @abstractmethod
    def add(self, scene: Any, verdict: Any) -> None:
        """Counts one more item."""

    def _count(self, verdict: Verdict, names: Iterable[str], **right: bool | None) -> None:
        """Counts what is right of an item, None where it is not asked for, and which of the names were recognised."""
        for measure, value in {**right, "correct": verdict.correct}.items():
            if value is not None:
                getattr(self, measure).add(value)
        for name in names:
            self.by_name[name].add(name in verdict.recognised)

    def to_dict(self) -> dict[str, Any]:
        """Shares with their counts, ready for JSON; what captions ask for by name."""
        shares = {name: value.to_dict() for name, value in vars(self).items() if isinstance(value, Share)}
        shares["correct"] = shares.pop("correct")  # the last line of a table
        return {**shares, "by_name": {name: share.to_dict() for name, share in sorted(self.by_name.items())}}


AnyReport = TypeVar("AnyReport", bound=Report)


def judged(
    report: AnyReport, judge: Callable[[Any, Any], Verdict], items: Iterable[Any], scenes: Iterable[Any]
) -> AnyReport:
    """A report with the verdicts on some more items, each by its own scene."""
    for item, scene in zip(items, scenes, strict=True):
        report.add(scene, judge(item, scene))
    return report
