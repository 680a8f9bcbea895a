"""Paired timing: contenders take turns, again and again, and swap who begins."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

import torch

from mmgen.errors import OptionError


@dataclass(frozen=True)
class Spread:
    """Median and quartiles."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """The spread of some values, at least one."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        return cls(*quantiles(values, n=4, method="inclusive"))

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f})"


def race(
    runs: Mapping[str, Callable[[], Any]],
    repeats: int,
    device: torch.device | None = None,
    log: Callable[[str], None] | None = None,
) -> dict[str, list[float]]:
    """Seconds of every contender, after one untimed round.

    Args:
        runs: what each does, by name.
        repeats: timed rounds, at least 1.
        device: where they run, waited for before a clock is read.
        log: called after each round with a line of seconds.

    Raises:
        OptionError: repeats below 1.
    """
    if type(repeats) is not int or repeats < 1:
        raise OptionError("repeats", repeats, "a whole number, 1 or more")
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(-1, repeats):
        for name in sorted(runs, reverse=bool(repeat % 2)):
            taken = _timed(runs[name], device)
            if repeat >= 0:
                seconds[name].append(taken)
        if log is not None and repeat >= 0:
            log(", ".join(f"{name} {taken[-1]:.2f} s" for name, taken in seconds.items()))
    return seconds


def ratio(seconds: Mapping[str, list[float]], of: str, over: str) -> Spread:
    """Seconds of one contender over those of another in the same round; above 1 the second is faster."""
    return Spread.of([a / b for a, b in zip(seconds[of], seconds[over], strict=True)])


def _timed(run: Callable[[], Any], device: torch.device | None) -> float:
    started = time.perf_counter()
    run()
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
