"""Decoders compared on the same prompts and seeds: evaluations, seconds, speed-up, and what the results are worth."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean, median
from typing import Any, NamedTuple

import numpy as np
import torch

from mmgen import catalog
from mmgen.decoding.decoder import Decoder
from mmgen.errors import OptionError
from mmgen.evaluation import quality
from mmgen.evaluation.adherence import Share
from mmgen.evaluation.entrants import EVERYTHING, Entrant, choose_entrants, parse_decoders
from mmgen.evaluation.judges import Judge, judge_of
from mmgen.evaluation.memory import peak_memory
from mmgen.evaluation.race import Spread
from mmgen.evaluation.references import reference_rows
from mmgen.evaluation.rows import Row

_MOST_PROMPTS = 4096
_QUALITY_BATCH = 16
"""Least number of pictures drawn at once where no time is taken."""


def run(
    pipeline: Any = None,
    decoders: str | Sequence[str | Decoder] | None = None,
    prompts: int = 8,
    repeats: int = 3,
    batches: Sequence[int] = (1,),
    seed: int = 0,
    baseline: bool = True,
    log: Callable[[str], None] | None = None,
    quality_pictures: int = 0,
    captions: Sequence[str] | None = None,
    size: Mapping[str, Any] | None = None,
) -> list[Row]:
    """Compares decoders on the same prompts, with the pipeline's default sampling.

    Comparisons are paired and interleaved: in every repeat, every decoder in turn draws a chunk of
    prompts before the next chunk comes, and who begins rotates. Each has one untimed call beforehand
    for every batch size.

    Args:
        pipeline: a pipeline of pictures, clips or sound, its name or folder; the shipped one where nothing is given.
        decoders: names, with options as in `jacobi:window=32+adaptive=true`, or decoder objects; a string
            may name several, with commas between. `all` also has every acceptance rule and drafter. All
            decoders, and the pipeline's own, where nothing is given. Autoregression (scale by scale: `scale-wise`
            without options) is always among them: it is what the others are compared with.
        prompts: how many to draw, at least 1; more where a batch would not be full.
        repeats: how often each is timed, at least 1.
        batches: prompts drawn at once, each at least 1; captions are the same for all.
        seed: chooses the captions; picture i is drawn with seed + i.
        baseline: add a row of transformers' `generate`: on a Llama of the same shape, or for MusicGen on the same
            weights.
        log: called with a line whenever something has been measured.
        quality_pictures: pictures to draw besides with each decoder, untimed, for adherence and the distances
            of `mmgen.evaluation.quality.Quality`; 0 for none, a few hundred before differences show.
        size: `height` and `width` in pixels, of pipelines that draw several; `duration` of sound, in seconds.
        captions: the prompts, used in turn, and judged by speed alone; None takes captions of scenes kept out of
            training, which pipelines of scenes alone understand.

    Returns:
        A row for each batch size and decoder, autoregression first.

    Raises:
        UnknownNameError: there is no such pipeline or decoder.
        OptionError: a number or an option of a decoder is out of range, or the pipeline does not draw scenes and
            no captions are given.
    """
    _check(prompts, repeats, batches, seed)
    if quality_pictures:
        quality.check_pictures(quality_pictures)
    if decoders is not None and pipeline is None:
        parse_decoders(decoders)  # a wrong name is told before anything is loaded
    pipe = open_pipeline(pipeline)
    entrants = choose_entrants(pipe.decoder, decoders, pipe.algorithms)
    sizes = sorted(set(batches))
    work = _work(pipe, captions, max(-(-prompts // batch) * batch for batch in sizes), seed, size or {})
    if quality_pictures and (work.judge is None or work.judge.medium != "image"):
        raise OptionError("quality_pictures", quality_pictures, "0: only pictures of scenes can be judged")
    measured = None
    with _without_progress_bar(pipe):
        if decoders == EVERYTHING:
            entrants = [entrant for entrant in entrants if _runs(pipe, entrant, work, seed, log)]
        trials = [_Trial(entrant, size) for size in sizes for entrant in entrants]
        _take_time(pipe, trials, work, prompts, repeats, seed, log)
        if quality_pictures:
            decoders_alone = [entrant.decoder for entrant in entrants]
            together, reference = max(_QUALITY_BATCH, *sizes), pipe.algorithms.REFERENCE
            measured = quality.measure(pipe, decoders_alone, quality_pictures, seed, together, log, reference)
    rows = [_row(trial, trials, work) for trial in trials]
    if measured is not None:
        rows = [_with_quality(row, measured[index % len(entrants)]) for index, row in enumerate(rows)]
    if baseline:
        rows += reference_rows(pipe, work.prompts[0], work.size, repeats, log)
    return rows


class _Sound(NamedTuple):
    """How long a recording is, and how many codebooks it has."""

    seconds: float
    codebooks: int


@dataclasses.dataclass(frozen=True)
class _Work:
    """What is drawn: prompts, the scenes they describe where they do, and who judges those."""

    prompts: list[str]
    size: Mapping[str, Any]
    sound: _Sound | None = None
    scenes: list[Any] | None = None
    judge: Judge | None = None


def _work(pipe: Any, captions: Sequence[str] | None, count: int, seed: int, size: Mapping[str, Any]) -> _Work:
    if captions is not None:
        texts = [caption for _, caption in zip(range(count), itertools.cycle(captions), strict=False)]
        for text in texts:
            pipe.plan(text, seed=0, **size)
        return _Work(texts, size, _sound(pipe, texts[0], size))
    judge = judge_of(pipe)
    scenes = judge.scenes(count, seed)
    texts = judge.captions(scenes)
    return _Work(texts, size, _sound(pipe, texts[0], size), scenes, judge)


def _sound(pipe: Any, text: str, size: Mapping[str, Any]) -> _Sound | None:
    """What a pipeline of sound will write; None of others."""
    if pipe.medium != "audio":
        return None
    drawing = pipe.plan(text, seed=0, **size)
    return _Sound(drawing.conditions["duration"], drawing.layout.codebooks)


def open_pipeline(pipeline: Any) -> Any:
    """A pipeline by name or folder, the shipped one for None; an object is returned as it is."""
    import mmgen

    if pipeline is None or isinstance(pipeline, str):
        return mmgen.load(pipeline or catalog.default_pipeline())
    return pipeline


def _check(prompts: int, repeats: int, batches: Sequence[int], seed: int) -> None:
    numbers = [("prompts", prompts), ("repeats", repeats), *(("batches", size) for size in batches)]
    for name, value in numbers:
        if type(value) is not int or not 1 <= value <= _MOST_PROMPTS:
            raise OptionError(name, value, f"a whole number from 1 to {_MOST_PROMPTS}")
    if not batches:
        raise OptionError("batches", list(batches), "at least one whole number")
    if type(seed) is not int or not 0 <= seed < 2**62:
        raise OptionError("seed", seed, f"a whole number from 0 to {2**62 - 1}")


class _Trial:
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
def _without_progress_bar(pipe: Any) -> Iterator[None]:
    """Bars ask the device for numbers after every evaluation; they stay off while time is taken."""
    before = dict(getattr(pipe, "_progress_bar_config", {}))
    pipe.set_progress_bar_config(**(before | {"disable": True}))
    try:
        yield
    finally:
        pipe.set_progress_bar_config(**before)


def _take_time(
    pipe: Any,
    trials: list[_Trial],
    work: _Work,
    prompts: int,
    repeats: int,
    seed: int,
    log: Callable[[str], None] | None,
) -> None:
    """Draws with all decoders in turn, and takes down what each call took."""
    for trial in trials:
        _, trial.memory = peak_memory(functools.partial(_draw, pipe, trial, work, seed, 0), pipe.device)
    for repeat in range(repeats):
        for size in sorted({trial.batch for trial in trials}):
            chunks = range(0, -(-prompts // size) * size, size)
            turn = [trial for trial in trials if trial.batch == size]
            for number, start in enumerate(chunks):
                shift = (repeat * len(chunks) + number) % len(turn)
                for trial in turn[shift:] + turn[:shift]:
                    trial.add(repeat, *_draw(pipe, trial, work, seed, start))
            if log is not None:
                log(f"repeat {repeat + 1} of {repeats}, batch {size}: {len(turn)} decoders, {chunks.stop} prompts")


def _draw(pipe: Any, trial: _Trial, work: _Work, seed: int, start: int) -> tuple[float, list, list]:
    part = slice(start, start + trial.batch)
    seeds = list(range(seed + part.start, seed + part.stop))
    started = time.perf_counter()
    output = pipe(work.prompts[part], seed=seeds, decoder=trial.decoder, **work.size)
    if pipe.device.type == "cuda":
        torch.cuda.synchronize(pipe.device)
    seconds = time.perf_counter() - started
    items = output[0] if work.judge is None else work.judge.items(output)
    return seconds, [np.asarray(item) for item in items], output.statistics


def _runs(pipe: Any, entrant: Entrant, work: _Work, seed: int, log: Callable[[str], None] | None) -> bool:
    """Whether the pipeline has what a decoder needs, such as a draft model."""
    try:
        _draw(pipe, _Trial(entrant, 1), work, seed, 0)
    except OptionError as error:
        if log is not None:
            log(f"left out: {error}")
        return False
    return True


def _row(trial: _Trial, trials: list[_Trial], work: _Work) -> Row:
    reference = next(t for t in trials if t.batch == trial.batch)  # the first, as `choose_entrants` says
    smallest = next(t for t in trials if t.decoder is trial.decoder)
    evaluations = fmean(statistics.evaluations for statistics in trial.statistics)
    seconds = Spread.of([call / trial.batch for call in trial.calls])
    speedup = Spread.of([a / b for a, b in zip(reference.calls, trial.calls, strict=True)])
    batch_speedup = median(a / b for a, b in zip(smallest.totals, trial.totals, strict=True))
    judged = _adherence(trial.images, work)
    frames = math.prod(trial.statistics[0].size[:-2])
    images_per_second, sound = trial.batch * len(trial.calls) / sum(trial.calls), work.sound
    tokens_per_evaluation = sum(s.tokens for s in trial.statistics) / sum(s.evaluations for s in trial.statistics)
    return Row(
        pipeline=trial.statistics[0].pipeline,
        decoder=trial.decoder.name,
        law=trial.decoder.law,
        batch=trial.batch,
        evaluations=evaluations,
        draft_evaluations=fmean(statistics.draft_evaluations for statistics in trial.statistics),
        tokens_per_evaluation=tokens_per_evaluation,
        evaluation_ratio=evaluations / fmean(statistics.evaluations for statistics in reference.statistics),
        seconds=seconds.median,
        seconds_low=seconds.low,
        seconds_high=seconds.high,
        speedup=speedup.median,
        speedup_low=speedup.low,
        speedup_high=speedup.high,
        images_per_second=images_per_second,
        frames_per_second=images_per_second * frames if frames > 1 else None,
        frames_per_evaluation=None if sound is None else tokens_per_evaluation / sound.codebooks,
        real_time_factor=None if sound is None else images_per_second * sound.seconds,
        memory=trial.memory,
        batch_speedup=None if smallest is trial else batch_speedup,
        adherence=judged.share,
        adherence_error=judged.error,
        same_pictures=all(np.array_equal(a, b) for a, b in zip(trial.images, reference.images, strict=True)),
        pictures=len(trial.images),
        options=trial.options,
    )


def _adherence(items: list[np.ndarray], work: _Work) -> Share:
    if work.judge is None or work.scenes is None or not work.judge.knows(items[0]):
        return Share()
    return work.judge.measure(items, work.scenes[: len(items)]).correct


def _with_quality(row: Row, measured: quality.Quality) -> Row:
    return dataclasses.replace(
        row,
        evaluations=measured.evaluations,
        evaluation_ratio=row.evaluation_ratio * measured.evaluations / row.evaluations,
        tokens_per_evaluation=row.tokens_per_evaluation * row.evaluations / measured.evaluations,
        draft_evaluations=measured.draft_evaluations,
        adherence=measured.adherence.share,
        adherence_error=measured.adherence.error,
        quality_pictures=measured.pictures,
        distance_to_autoregression=measured.distance_to_autoregression,
        distance_error=measured.distance_error,
        distance_chance=measured.distance_chance,
        distance_to_held_out_scenes=measured.distance_to_held_out_scenes,
    )
