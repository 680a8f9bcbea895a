"""Decoders compared on the same prompts and seeds: evaluations, seconds, speed-up and adherence."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from mmgen import catalog
from mmgen.decoding.decoder import Decoder
from mmgen.errors import OptionError
from mmgen.evaluation import adherence
from mmgen.evaluation.baseline import Comparison, Spread, compare
from mmgen.evaluation.entrants import REFERENCE, Entrant, choose_entrants, parse_decoders
from mmgen.scenes.grammar import Scene
from mmgen.scenes.render import IMAGE_SIZE

BASELINE = "transformers-generate"
_MOST_PROMPTS = 4096
_WIDTH = 400


@dataclass(frozen=True)
class Row:
    """One decoder at one batch size.

    Attributes:
        pipeline: name of the pipeline.
        decoder: name of the decoder; `transformers-generate` is the baseline, see `mmgen.evaluation.baseline`.
        law: what the decoder promises about the tokens: `exact`, `bounded` or `heuristic`.
        batch: prompts drawn in one call.
        evaluations: of the model, mean per picture.
        tokens_per_evaluation: drawn tokens over evaluations.
        evaluation_ratio: evaluations over those of autoregression at the same batch size.
        seconds: wall-clock seconds of a call over its pictures: median.
        seconds_low: the same, lower quartile.
        seconds_high: upper quartile.
        speedup: seconds of autoregression over the decoder's, both of the same prompts in the same
            repeat: median.
        speedup_low: lower quartile.
        speedup_high: upper quartile.
        images_per_second: pictures over seconds, of all timed calls together.
        batch_speedup: images per second over those of the same decoder at the smallest batch size of the
            run, paired by repeat; None at that size.
        adherence: share of the pictures that show everything their caption asks for; None where the
            pipeline draws another size than the judge knows.
        same_pictures: whether every picture equals autoregression's, pixel for pixel.
        pictures: different pictures drawn.
        options: options of the decoder that were given.
        note: what else one must know to read the row.
    """

    pipeline: str
    decoder: str
    law: str
    batch: int
    evaluations: float
    tokens_per_evaluation: float
    evaluation_ratio: float
    seconds: float
    seconds_low: float
    seconds_high: float
    speedup: float
    speedup_low: float
    speedup_high: float
    images_per_second: float
    batch_speedup: float | None
    adherence: float | None
    same_pictures: bool | None
    pictures: int
    options: dict[str, Any] = field(default_factory=dict)
    note: str = ""

    @property
    def label(self) -> str:
        """The decoder with its options, as `--decoders` takes it."""
        options = "+".join(f"{name}={str(value).lower()}" for name, value in self.options.items())
        return f"{self.decoder}:{options}" if options else self.decoder

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return asdict(self)


def run(
    pipeline: Any = None,
    decoders: str | Sequence[str | Decoder] | None = None,
    prompts: int = 8,
    repeats: int = 3,
    batches: Sequence[int] = (1,),
    seed: int = 0,
    baseline: bool = True,
    log: Callable[[str], None] | None = None,
) -> list[Row]:
    """Compares decoders on held-out captions, with the pipeline's default sampling.

    Comparisons are paired and interleaved: in every repeat, every decoder in turn draws a chunk of
    prompts before the next chunk comes, and who begins rotates. Each has one untimed call beforehand
    for every batch size.

    Args:
        pipeline: a text-to-image pipeline, its name or folder; the shipped one where nothing is given.
        decoders: names, with options as in `jacobi:window=32+adaptive=true`, or decoder objects; a string
            may name several, with commas between. All decoders, and the pipeline's own, where nothing is
            given. Autoregression is always among them: it is what the others are compared with.
        prompts: captions to draw, at least 1; more where a batch would not be full.
        repeats: how often each is timed, at least 1.
        batches: prompts drawn at once, each at least 1; captions are the same for all.
        seed: chooses the captions; picture i is drawn with seed + i.
        baseline: add a row of transformers' `generate` on a Llama of the same shape.
        log: called with a line whenever something has been measured.

    Returns:
        A row for each batch size and decoder, autoregression first.

    Raises:
        UnknownNameError: there is no such pipeline or decoder.
        OptionError: a number or an option of a decoder is out of range.
    """
    _check(prompts, repeats, batches, seed)
    if decoders is not None:
        parse_decoders(decoders)  # a wrong name is told before anything is loaded
    pipe = open_pipeline(pipeline)
    entrants = choose_entrants(pipe.decoder, decoders)
    sizes = sorted(set(batches))
    scenes = adherence.held_out_scenes(
        max(-(-prompts // size) * size for size in sizes), seed, pipe.text_encoder.grammar.objects
    )
    trials = [_Trial(entrant, size) for size in sizes for entrant in entrants]
    with _without_progress_bar(pipe):
        for trial in trials:
            _draw(pipe, trial, scenes, seed, 0)
        for repeat in range(repeats):
            for size in sizes:
                chunks = range(0, -(-prompts // size) * size, size)
                turn = [trial for trial in trials if trial.batch == size]
                for number, start in enumerate(chunks):
                    shift = (repeat * len(chunks) + number) % len(turn)
                    for trial in turn[shift:] + turn[:shift]:
                        trial.add(repeat, *_draw(pipe, trial, scenes, seed, start))
                if log is not None:
                    log(f"repeat {repeat + 1} of {repeats}, batch {size}: {len(turn)} decoders, {chunks.stop} prompts")
    rows = [_row(pipe, trial, trials, scenes) for trial in trials]
    if baseline:
        rows.append(_baseline_row(pipe, compare(pipe.transformer, max(repeats, 3), log=log)))
    return rows


_COLUMNS = ("decoder", "law", "batch", "evaluations", "tokens_per_evaluation", "seconds", "speedup")
_BATCH_COLUMNS = ("images_per_second", "batch_speedup")


def table(rows: Sequence[Row]) -> str:
    """Rows as text, columns named as the fields; spreads are quartiles."""
    if not rows:
        return ""
    grid = Table(box=SIMPLE, pad_edge=False, title=f"{rows[0].pipeline}, median (quartiles)", title_justify="left")
    several = len({row.batch for row in rows}) > 1
    columns = (*_COLUMNS, *(_BATCH_COLUMNS if several else ()), "adherence", "same_pictures")
    for column in columns:
        grid.add_column(column, justify="left" if column in ("decoder", "law") else "right", no_wrap=True)
    for row in rows:
        grid.add_row(*(_cell(row, column) for column in columns))
    screen = io.StringIO()
    console = Console(file=screen, width=_WIDTH, color_system=None)
    console.print(grid)
    for row in rows:
        if row.note:
            console.print(f"{row.label}: {row.note}", highlight=False)
    return "\n".join(line.rstrip() for line in screen.getvalue().strip().splitlines())


def _cell(row: Row, column: str) -> str:
    value = row.label if column == "decoder" else getattr(row, column)
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if column == "adherence":
        return f"{value:.0%}"
    if column in ("seconds", "speedup"):
        digits = 3 if column == "seconds" else 2
        low, high = getattr(row, f"{column}_low"), getattr(row, f"{column}_high")
        return f"{value:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


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


def _draw(pipe: Any, trial: _Trial, scenes: list[Scene], seed: int, start: int) -> tuple[float, list, list]:
    part = range(start, start + trial.batch)
    captions = [pipe.text_encoder.grammar.describe(scenes[index]) for index in part]
    started = time.perf_counter()
    output = pipe(captions, seed=[seed + index for index in part], decoder=trial.decoder)
    if pipe.device.type == "cuda":
        torch.cuda.synchronize(pipe.device)
    seconds = time.perf_counter() - started
    return seconds, [np.asarray(image) for image in output.images], output.statistics


def _row(pipe: Any, trial: _Trial, trials: list[_Trial], scenes: list[Scene]) -> Row:
    reference = next(t for t in trials if t.batch == trial.batch and t.decoder.name == REFERENCE)
    smallest = next(t for t in trials if t.decoder is trial.decoder)
    evaluations = fmean(statistics.evaluations for statistics in trial.statistics)
    seconds = Spread.of([call / trial.batch for call in trial.calls])
    speedup = Spread.of([a / b for a, b in zip(reference.calls, trial.calls, strict=True)])
    batch_speedup = median(a / b for a, b in zip(smallest.totals, trial.totals, strict=True))
    return Row(
        pipeline=trial.statistics[0].pipeline,
        decoder=trial.decoder.name,
        law=trial.decoder.law,
        batch=trial.batch,
        evaluations=evaluations,
        tokens_per_evaluation=sum(s.tokens for s in trial.statistics) / sum(s.evaluations for s in trial.statistics),
        evaluation_ratio=evaluations / fmean(statistics.evaluations for statistics in reference.statistics),
        seconds=seconds.median,
        seconds_low=seconds.low,
        seconds_high=seconds.high,
        speedup=speedup.median,
        speedup_low=speedup.low,
        speedup_high=speedup.high,
        images_per_second=trial.batch * len(trial.calls) / sum(trial.calls),
        batch_speedup=None if smallest is trial else batch_speedup,
        adherence=_adherence(trial.images, scenes),
        same_pictures=all(np.array_equal(a, b) for a, b in zip(trial.images, reference.images, strict=True)),
        pictures=len(trial.images),
        options=trial.options,
    )


def _adherence(images: list[np.ndarray], scenes: list[Scene]) -> float | None:
    if images[0].shape[0] != IMAGE_SIZE:
        return None
    return adherence.measure(images, scenes[: len(images)]).correct.share


def _baseline_row(pipe: Any, comparison: Comparison) -> Row:
    """The baseline in the terms of a row: a picture is its tokens, and speed-up is over our own, unguided."""
    inverse = Spread(1 / comparison.ratio.high, 1 / comparison.ratio.median, 1 / comparison.ratio.low)
    seconds = comparison.transformers_seconds
    return Row(
        pipeline=str(pipe.config.get("_name_or_path") or type(pipe).__name__),
        decoder=BASELINE,
        law="exact",
        batch=1,
        evaluations=float(comparison.tokens),
        tokens_per_evaluation=1.0,
        evaluation_ratio=1.0,
        seconds=seconds.median,
        seconds_low=seconds.low,
        seconds_high=seconds.high,
        speedup=inverse.median,
        speedup_low=inverse.low,
        speedup_high=inverse.high,
        images_per_second=1 / seconds.median,
        batch_speedup=None,
        adherence=None,
        same_pictures=None,
        pictures=0,
        note=(
            f"a Llama of the same shape, unguided: {comparison.transformers_tokens_per_second.median:.0f} tokens per"
            f" second; our autoregression, unguided too: {comparison.tokens_per_second.median:.0f}, that is"
            f" {comparison.ratio.median:.2f} times ({comparison.ratio.low:.2f}-{comparison.ratio.high:.2f}, paired)"
        ),
    )
