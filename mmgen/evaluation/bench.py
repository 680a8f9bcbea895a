"""Decoders compared on the same prompts and seeds: evaluations, seconds, speed-up, and what the results are worth."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, median
from typing import Any

import numpy as np

from mmgen import catalog
from mmgen.decoding.decoder import Decoder
from mmgen.errors import OptionError
from mmgen.evaluation import quality
from mmgen.evaluation.entrants import EVERYTHING, choose_entrants, parse_decoders
from mmgen.evaluation.race import Spread
from mmgen.evaluation.references import reference_rows
from mmgen.evaluation.rows import Row
from mmgen.evaluation.trials import Trial, Work, runs, take_time, without_progress_bar, work_of

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
    work = work_of(pipe, captions, max(-(-prompts // batch) * batch for batch in sizes), seed, size or {})
    if quality_pictures and (work.judge is None or work.judge.medium != "image"):
        raise OptionError("quality_pictures", quality_pictures, "0: only pictures of scenes can be judged")
    measured = None
    with without_progress_bar(pipe):
        if decoders == EVERYTHING:
            entrants = [entrant for entrant in entrants if runs(pipe, entrant, work, seed, log)]
        trials = [Trial(entrant, size) for size in sizes for entrant in entrants]
        take_time(pipe, trials, work, prompts, repeats, seed, log)
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


def _row(trial: Trial, trials: list[Trial], work: Work) -> Row:
    reference = next(t for t in trials if t.batch == trial.batch)  # the first, as `choose_entrants` says
    smallest = next(t for t in trials if t.decoder is trial.decoder)
    evaluations = fmean(statistics.evaluations for statistics in trial.statistics)
    seconds = Spread.of([call / trial.batch for call in trial.calls])
    speedup = Spread.of([a / b for a, b in zip(reference.calls, trial.calls, strict=True)])
    batch_speedup = median(a / b for a, b in zip(smallest.totals, trial.totals, strict=True))
    judged = work.judged(trial.images)
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
