"""What a comparison of decoders times: every decoder in turn draws the same prompts, and what it took is kept."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from mmgen.errors import OptionError
from mmgen.evaluation.entrants import Entrant
from mmgen.evaluation.judges import Judge, judge_of
from mmgen.evaluation.memory import peak_memory
from mmgen.evaluation.verdicts import Share


class Sound(NamedTuple):
    """How long a recording is, and how many codebooks it has."""

    seconds: float
    codebooks: int


@dataclasses.dataclass(frozen=True)
class Work:
    """What is drawn: prompts, the scenes they describe where they do, and who judges those."""

    prompts: list[str]
    size: Mapping[str, Any]
    sound: Sound | None = None
    scenes: list[Any] | None = None
    judge: Judge | None = None

    def judged(self, items: list[np.ndarray]) -> Share:
        """How many of the first items show all their caption asks for; of none where nobody can judge them."""
        if self.judge is None or self.scenes is None or not self.judge.knows(items[0]):
            return Share()
        return self.judge.measure(items, self.scenes[: len(items)]).correct


def work_of(pipe: Any, captions: Sequence[str] | None, count: int, seed: int, size: Mapping[str, Any]) -> Work:
    """What `count` prompts make: the captions used in turn, or those of scenes kept out of training.

    Raises:
        OptionError: there are no captions, and the pipeline does not draw scenes; or it has no such size.
        PromptError: the pipeline does not understand a caption.
    """
    if captions is not None:
        texts = [caption for _, caption in zip(range(count), itertools.cycle(captions), strict=False)]
        for text in texts:
            pipe.plan(text, seed=0, **size)
        return Work(texts, size, _sound(pipe, texts[0], size))
    judge = judge_of(pipe)
    scenes = judge.scenes(count, seed)
    texts = judge.captions(scenes)
    return Work(texts, size, _sound(pipe, texts[0], size), scenes, judge)


def _sound(pipe: Any, text: str, size: Mapping[str, Any]) -> Sound | None:
    """What a pipeline of sound will write; None of others."""
    if pipe.medium != "audio":
        return None
    drawing = pipe.plan(text, seed=0, **size)
    return Sound(drawing.conditions["duration"], drawing.layout.codebooks)


class Trial:
    """What one decoder did at one batch size."""

    def __init__(self, entrant: Entrant, batch: int) -> None:
        self.decoder, self.options = entrant
        self.batch = batch
        self.seconds: list[list[float]] = []
        """For each repeat the seconds of each call."""
        self.images: list[np.ndarray] = []
        self.statistics: list[Any] = []
        self.memory = 0
        """Bytes at most, of the untimed call."""

    def add(self, repeat: int, seconds: float, images: list[np.ndarray], statistics: list[Any]) -> None:
        """Takes in one call; pictures only of the first repeat: they are the same in all."""
        if repeat == len(self.seconds):
            self.seconds.append([])
        self.seconds[repeat].append(seconds)
        if repeat == 0:
            self.images += images
            self.statistics += statistics

    @property
    def calls(self) -> list[float]:
        """Seconds of all calls, in the order they were made."""
        return [seconds for repeat in self.seconds for seconds in repeat]

    @property
    def totals(self) -> list[float]:
        """Seconds per picture of each repeat."""
        return [sum(repeat) / (len(repeat) * self.batch) for repeat in self.seconds]


@contextlib.contextmanager
def without_progress_bar(pipe: Any) -> Iterator[None]:
    """Bars ask the device for numbers after every evaluation; they stay off while time is taken."""
    before = dict(getattr(pipe, "_progress_bar_config", {}))
    pipe.set_progress_bar_config(**(before | {"disable": True}))
    try:
        yield
    finally:
        pipe.set_progress_bar_config(**before)


def take_time(
    pipe: Any,
    trials: list[Trial],
    work: Work,
    prompts: int,
    repeats: int,
    seed: int,
    log: Callable[[str], None] | None,
) -> None:
    """Draws with all decoders in turn, and takes down what each call took."""
    for trial in trials:
        _, trial.memory = peak_memory(functools.partial(draw, pipe, trial, work, seed, 0), pipe.device)
    for repeat in range(repeats):
        for size in sorted({trial.batch for trial in trials}):
            chunks = range(0, -(-prompts // size) * size, size)
            turn = [trial for trial in trials if trial.batch == size]
            for number, start in enumerate(chunks):
                shift = (repeat * len(chunks) + number) % len(turn)
                for trial in turn[shift:] + turn[:shift]:
                    trial.add(repeat, *draw(pipe, trial, work, seed, start))
            if log is not None:
                log(f"repeat {repeat + 1} of {repeats}, batch {size}: {len(turn)} decoders, {chunks.stop} prompts")


def draw(pipe: Any, trial: Trial, work: Work, seed: int, start: int) -> tuple[float, list, list]:
    """One call, of the prompts from `start` on: its seconds, what was drawn, and the statistics."""
    part = slice(start, start + trial.batch)
    seeds = list(range(seed + part.start, seed + part.stop))
    started = time.perf_counter()
    output = pipe(work.prompts[part], seed=seeds, decoder=trial.decoder, **work.size)
    if pipe.device.type == "cuda":
        torch.cuda.synchronize(pipe.device)
    seconds = time.perf_counter() - started
    items = output[0] if work.judge is None else work.judge.items(output)
    return seconds, [np.asarray(item) for item in items], output.statistics


def runs(pipe: Any, entrant: Entrant, work: Work, seed: int, log: Callable[[str], None] | None) -> bool:
    """Whether the pipeline has what a decoder needs, such as a draft model."""
    try:
        draw(pipe, Trial(entrant, 1), work, seed, 0)
    except OptionError as error:
        if log is not None:
            log(f"left out: {error}")
        return False
    return True
