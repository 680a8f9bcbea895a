"""What the benchmark says of a decoder: a row, and rows as a table."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

BASELINE = "transformers-generate"
_WIDTH = 400
_COLUMNS = ("decoder", "law", "batch", "evaluations")
_SPEED_COLUMNS = ("tokens_per_evaluation", "seconds", "speedup")
_SOUND_COLUMNS = ("frames_per_evaluation", "real_time_factor")
_BATCH_COLUMNS = ("images_per_second", "batch_speedup")
_MEGABYTE = 2**20
_QUALITY_COLUMNS = ("distance_to_autoregression", "distance_chance", "distance_to_held_out_scenes")


@dataclass(frozen=True)
class Row:
    """One decoder at one batch size.

    Attributes:
        pipeline: name of the pipeline.
        decoder: name of the decoder; `transformers-generate` is the baseline, see `mmgen.evaluation.references`.
        law: what the decoder promises about the tokens: `exact`, `bounded` or `heuristic`.
        batch: prompts drawn in one call.
        evaluations: of the model, mean per picture; of `quality_pictures` where there are some.
        draft_evaluations: of a draft model or of the model's first layers, mean per picture, on top of those.
        tokens_per_evaluation: drawn tokens over evaluations.
        evaluation_ratio: evaluations over those of autoregression at the same batch size.
        seconds: wall-clock seconds of a call over its pictures: median.
        seconds_low: the same, lower quartile.
        seconds_high: upper quartile.
        speedup: seconds of autoregression over the decoder's, both of the same prompts in the same
            repeat: median.
        speedup_low: lower quartile.
        speedup_high: upper quartile.
        images_per_second: pictures, or clips, over seconds, of all timed calls together.
        frames_per_second: frames of clips over seconds; None of pictures.
        frames_per_evaluation: of sound, frames over evaluations; a frame has a token of each codebook.
        real_time_factor: of sound, the seconds it lasts over the seconds it takes; above 1 it can be heard meanwhile.
        memory: bytes that torch allocates at most during a call, weights not counted; None where it was not watched.
        batch_speedup: images per second over those of the same decoder at the smallest batch size of the
            run, paired by repeat; None at that size.
        adherence: share of the pictures that show everything their caption asks for; None where the
            pipeline draws another size than the judge knows.
        adherence_error: its standard error.
        same_pictures: whether every picture equals autoregression's, pixel for pixel.
        pictures: different pictures drawn while time was taken.
        options: options of the decoder that were given.
        note: what else one must know to read the row.
        quality_pictures: pictures drawn besides, untimed, for adherence and the distances; None where none
            were: then adherence is of the timed ones, and the distances are None.
        distance_to_autoregression: squared Frechet distance between features of these pictures and of as
            many that autoregression draws of the same captions with other seeds; see
            `mmgen.evaluation.quality.Quality`.
        distance_error: its standard error.
        distance_chance: how often chance alone sets a decoder with autoregression's law as far off.
        distance_to_held_out_scenes: as `distance_to_autoregression`, but to renderings of the captions.
    """

    pipeline: str
    decoder: str
    law: str
    batch: int
    evaluations: float
    draft_evaluations: float
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
    adherence_error: float | None
    same_pictures: bool | None
    pictures: int
    options: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    quality_pictures: int | None = None
    distance_to_autoregression: float | None = None
    distance_error: float | None = None
    distance_chance: float | None = None
    distance_to_held_out_scenes: float | None = None
    memory: int | None = None
    frames_per_second: float | None = None
    frames_per_evaluation: float | None = None
    real_time_factor: float | None = None

    @property
    def label(self) -> str:
        """The decoder with its options, as `--decoders` takes it."""
        options = "+".join(f"{name}={_word(value)}" for name, value in self.options.items())
        return f"{self.decoder}:{options}" if options else self.decoder

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return asdict(self)


def table(rows: Sequence[Row]) -> str:
    """Rows as text, columns named as the fields; spreads are quartiles."""
    if not rows:
        return ""
    grid = Table(box=SIMPLE, pad_edge=False, title=f"{rows[0].pipeline}, median (quartiles)", title_justify="left")
    several = len({row.batch for row in rows}) > 1
    measured = [row for row in rows if row.quality_pictures is not None]
    drafted, moving = any(row.draft_evaluations for row in rows), any(row.frames_per_second for row in rows)
    sounding = any(row.real_time_factor for row in rows)
    judged = not sounding or any(row.adherence is not None for row in rows)
    columns = (
        *_COLUMNS, *(("draft_evaluations",) if drafted else ()), *_SPEED_COLUMNS,
        *(_SOUND_COLUMNS if sounding else ()), *(_BATCH_COLUMNS if several else ()),
        *(("frames_per_second",) if moving else ()), "memory", *(("adherence",) if judged else ()),
        *(_QUALITY_COLUMNS if measured else ()), "same_pictures",
    )  # fmt: skip
    for column in columns:
        grid.add_column(column, justify="left" if column in ("decoder", "law") else "right", no_wrap=True)
    for row in rows:
        grid.add_row(*(_cell(row, column) for column in columns))
    screen = io.StringIO()
    console = Console(file=screen, width=_WIDTH, color_system=None)
    console.print(grid)
    if measured:
        console.print(_explain(measured[0]), highlight=False)
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
    if column == "memory" and row.memory is not None:
        return f"{row.memory / _MEGABYTE:.1f} MiB"
    if column == "adherence":
        return f"{value:.0%}" if row.quality_pictures is None else f"{value:.1%} ±{row.adherence_error:.1%}"
    if column == "distance_to_autoregression":
        return f"{value:.4f} ±{row.distance_error:.4f}"
    if column == "distance_to_held_out_scenes":
        return f"{value:.4f}"
    if column in ("seconds", "speedup"):
        digits = 3 if column == "seconds" else 2
        low, high = getattr(row, f"{column}_low"), getattr(row, f"{column}_high")
        return f"{value:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _explain(row: Row) -> str:
    return (
        f"adherence and distances: {row.quality_pictures} pictures of each decoder, ± standard error;"
        " distance_chance: how often chance alone sets autoregression's own pictures as far apart"
    )


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
