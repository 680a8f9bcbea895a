"""The same line of tokens written by us and by transformers in turn, whatever the model."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from mmgen.evaluation.race import Spread, race, ratio


@dataclass(frozen=True)
class Comparison:
    """One line of tokens, written by us and by transformers, again and again in turn.

    Attributes:
        tokens: tokens of the line.
        seconds: ours, for the whole line.
        transformers_seconds: theirs.
        tokens_per_second: ours.
        transformers_tokens_per_second: theirs.
        ratio: their seconds over ours, paired; above 1 ours is faster.
        parameters: numbers of weights, ours and theirs.
        dtype: type of both models' weights.
    """

    tokens: int
    seconds: Spread
    transformers_seconds: Spread
    tokens_per_second: Spread
    transformers_tokens_per_second: Spread
    ratio: Spread
    parameters: tuple[int, int]
    dtype: str

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


@dataclass(frozen=True)
class Contest:
    """One line of tokens, written both ways.

    Attributes:
        ours: draws one picture, or recording, with a temperature and a seed, and returns its tokens.
        theirs: the same with transformers' own generation; of the same weights, the same at temperature 0.
        parameters: numbers of weights, ours and theirs.
        length: tokens of the line.
    """

    ours: Callable[[float, int], Tensor]
    theirs: Callable[[float, int], Tensor]
    parameters: tuple[int, int]
    length: int


def race_of(
    contest: Contest,
    repeats: int,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
    log: Callable[[str], None] | None = None,
) -> Comparison:
    """Lets both sides of a contest take turns, at temperature 1 and every time with another seed.

    Raises:
        OptionError: repeats below 1.
    """
    seeds = {name: itertools.count() for name in ("ours", "theirs")}
    runs = {name: (lambda name=name: getattr(contest, name)(1.0, next(seeds[name]))) for name in seeds}
    seconds = race(runs, repeats, device, log)
    ours, theirs = seconds["ours"], seconds["theirs"]
    return Comparison(
        contest.length,
        Spread.of(ours),
        Spread.of(theirs),
        Spread.of([contest.length / taken for taken in ours]),
        Spread.of([contest.length / taken for taken in theirs]),
        ratio(seconds, "theirs", "ours"),
        contest.parameters,
        str(dtype).removeprefix("torch."),
    )


def parameters(model: Any) -> int:
    """How many numbers a model's weights are."""
    return sum(parameter.numel() for parameter in model.parameters())


def report(result: Comparison, noun: str) -> None:
    """Prints a comparison of what is called `noun`."""
    size = f"{result.parameters[0] / 1e6:.1f} M parameters, {result.dtype}"
    print(f"{torch.get_num_threads()} threads, {result.tokens} tokens, {size}")
    for name, spread in (
        (f"our seconds a {noun}", result.seconds),
        (f"their seconds a {noun}", result.transformers_seconds),
        ("our tokens a second", result.tokens_per_second),
        ("their tokens a second", result.transformers_tokens_per_second),
        ("times as fast", result.ratio),
    ):
        print(f"{name:26} {spread.median:.3f} (quartiles {spread.low:.3f} to {spread.high:.3f})")
