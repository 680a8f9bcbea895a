"""How a job goes on, for people and for programs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import IO, Any

_SECONDS = 5.0
"""Between two lines of JSON."""


class Progress:
    """Counts, and says what is counted.

    Attributes:
        items: of the job.
        done: made, now and before.
        failed: given up, now and before.
        made: made by this run.
    """

    items = done = failed = made = 0

    def begin(self, items: int, done: int, failed: int, workers: int) -> None:
        """Work starts, with so much done before."""
        self.items, self.done, self.failed, self.made = items, done, failed, 0
        self._started = time.perf_counter()
        self.started(workers)

    def record(self, record: Mapping[str, Any]) -> None:
        """An item is done, or given up: its line of the manifest."""
        made = record["status"] == "done"
        self.done, self.made, self.failed = self.done + made, self.made + made, self.failed + (not made)
        self.counted(record)

    @property
    def rate(self) -> float:
        """Items a second of this run."""
        return self.made / max(time.perf_counter() - self._started, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """By the rate so far."""
        return (self.items - self.done - self.failed) / self.rate if self.made else None

    def started(self, workers: int) -> None:
        """Says that work starts."""

    def counted(self, record: Mapping[str, Any]) -> None:
        """Says how far it is."""

    def note(self, text: str) -> None:
        """Something a person may want to know."""

    def end(self) -> None:
        """Work has ended."""


class Lines(Progress):
    """A line of JSON when work starts, every few seconds, for every failure and when it ends.

    Args:
        to: where the lines go; standard output by default.
        seconds: between two.
    """

    def __init__(self, to: IO[str] | None = None, seconds: float = _SECONDS) -> None:
        self._to, self._seconds, self._said = to, seconds, 0.0

    def started(self, workers: int) -> None:
        self._said = time.perf_counter()
        self._say("begin", items=self.items, done=self.done, failed=self.failed, workers=workers)

    def counted(self, record: Mapping[str, Any]) -> None:
        if record["status"] != "done":
            self._say("failed", id=record["id"], line=record["line"], attempt=record["attempt"], error=record["error"])
        if time.perf_counter() - self._said >= self._seconds:
            self._said = time.perf_counter()
            self._say("progress", **self._numbers())

    def note(self, text: str) -> None:
        self._say("note", text=text)

    def end(self) -> None:
        self._say("end", **self._numbers())

    def _numbers(self) -> dict[str, Any]:
        left = self.seconds_left
        numbers = {"items": self.items, "done": self.done, "failed": self.failed, "items_per_second": self.rate}
        return numbers | {"seconds_left": None if left is None else round(left, 1)}

    def _say(self, event: str, **what: Any) -> None:
        print(json.dumps({"event": event, **what}), file=self._to or sys.stdout, flush=True)


class Bar(Progress):
    """A bar on a terminal with rate and remaining time."""

    def started(self, workers: int) -> None:
        from rich import progress
        from rich.console import Console

        columns = (
            progress.BarColumn(), progress.MofNCompleteColumn(), progress.TextColumn("{task.fields[rate]}"),
            progress.TimeRemainingColumn(elapsed_when_finished=True),
        )  # fmt: skip
        self._bar = progress.Progress(*columns, console=Console(stderr=True), speed_estimate_period=120)
        self._task = self._bar.add_task("", total=self.items, completed=self.done + self.failed, rate="")
        self._bar.start()

    def counted(self, record: Mapping[str, Any]) -> None:
        failed = f", {self.failed} failed" if self.failed else ""
        rate = f"{self.rate:.2f} a second{failed}" if self.rate >= 1 else f"{self.rate * 3600:.0f} an hour{failed}"
        self._bar.update(self._task, completed=self.done + self.failed, rate=rate)

    def note(self, text: str) -> None:
        self._bar.console.print(text, highlight=False, markup=False)

    def end(self) -> None:
        self._bar.stop()
