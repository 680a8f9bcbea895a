"""The benchmark's plot: what each decoder saves, and what its pictures are worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmgen.errors import OptionError, OutputError
from mmgen.evaluation.rows import BASELINE, Row

_EXACT, _OTHER, _BASELINE = "#2b6cb0", "#c05621", "#8a94a3"
_GRID = "#d8dee6"


def draw(rows: Sequence[Row], path: str | Path) -> None:
    """Writes a PNG: speed-up with its quartiles on the left, evaluations against adherence on the right.

    Exact decoders are blue and marked with a dot, others orange with a cross. Numbers join the two
    sides; rows without adherence stand on the left only.

    Args:
        rows: what `mmgen.evaluation.bench.run` returned, at least one.
        path: file to write, ending in `.png`.

    Raises:
        OptionError: there is no row, or the path does not end in `.png`.
        OutputError: the file cannot be written.
    """
    check(rows, path)
    figure = new_figure(12, 2.2 + 0.42 * max(len(rows), 5))
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    _speedups(left, rows)
    _evaluations(right, rows)
    _legend(figure, rows)
    figure.suptitle(f"{rows[0].pipeline}: decoders on the same captions and seeds", fontsize=13, fontweight="bold")
    save(figure, path)


def check(rows: Sequence[Row], path: str | Path) -> None:
    """Refuses what cannot be drawn, before it is.

    Raises:
        OptionError: there is no row, or the path does not end in `.png`.
    """
    if not rows:
        raise OptionError("rows", [], "at least one row to draw")
    if Path(path).suffix.lower() != ".png":
        raise OptionError("plot", str(path), "a file name that ends in .png")


def new_figure(width: float, height: float) -> Any:
    """An empty figure, sizes in inches, that needs no screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Any, path: str | Path) -> None:
    """Writes a figure as PNG.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        figure.savefig(path, format="png")
    except OSError as error:
        raise OutputError(path, f"cannot be written ({error.strerror})", "choose a folder that exists") from error


def _speedups(axes: Any, rows: Sequence[Row]) -> None:
    places = range(len(rows))
    values = [row.speedup for row in rows]
    spread = [[row.speedup - row.speedup_low for row in rows], [row.speedup_high - row.speedup for row in rows]]
    colours = [_colour(row) for row in rows]
    axes.barh(places, values, xerr=spread, color=colours, height=0.62, error_kw={"capsize": 3, "ecolor": "#1a202c"})
    axes.set_yticks(places, [_label(number, row, rows) for number, row in enumerate(rows, 1)], fontsize=9)
    axes.invert_yaxis()
    reach = max(row.speedup_high for row in rows)
    for place, row in zip(places, rows, strict=True):
        axes.text(row.speedup_high + 0.02 * reach, place, f"{row.speedup:.2f}x", va="center", fontsize=9)
    axes.set_xlim(0, 1.15 * reach)
    axes.axvline(1, color="#4a5568", linewidth=1, linestyle="--")
    axes.set_xlabel("speed-up over autoregression: median and quartiles")
    axes.set_title("seconds, on the same captions and seeds", loc="left", fontsize=10)
    tidy(axes, "x")


def _evaluations(axes: Any, rows: Sequence[Row]) -> None:
    axes.set_xlabel("evaluations of the model per picture")
    axes.set_title("pictures that show all their caption asks for", loc="left", fontsize=10)
    axes.set_ylim(-0.04, 1.08)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    numbered = [(number, row) for number, row in enumerate(rows, 1) if row.adherence is not None]
    most = max((row.evaluations for _, row in numbered), default=1)
    axes.set_xlim(0, 1.12 * most)
    for _, row in numbered:
        marker = "o" if row.law == "exact" else "X"
        axes.scatter(row.evaluations, row.adherence, s=70, c=_colour(row), marker=marker, zorder=3, linewidths=0)
    # Points that lie on each other share one line of numbers.
    places: dict[tuple[int, int], list[tuple[int, Row]]] = {}
    for number, row in numbered:
        place = round(30 * row.evaluations / most), round(30 * (row.adherence or 0))
        places.setdefault(place, []).append((number, row))
    for group in places.values():
        _, row = group[0]
        numbers = ", ".join(str(number) for number, _ in group)
        axes.annotate(
            numbers, (row.evaluations, row.adherence), xytext=(0, 8), textcoords="offset points", ha="center",
            fontsize=9, zorder=4,
        )  # fmt: skip
    tidy(axes, "both")


def _legend(figure: Any, rows: Sequence[Row]) -> None:
    from matplotlib.lines import Line2D

    meanings = {_EXACT: "exact: the model's own distribution", _OTHER: "bounded or heuristic", _BASELINE: "baseline"}
    used = {_colour(row) for row in rows}
    handles = [
        Line2D([], [], color=colour, marker="X" if colour == _OTHER else "o", linestyle="", markersize=8, label=meaning)
        for colour, meaning in meanings.items()
        if colour in used
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)


def _label(number: int, row: Row, rows: Sequence[Row]) -> str:
    several = len({other.batch for other in rows}) > 1
    return f"{row.label}, batch {row.batch}  {number}" if several else f"{row.label}  {number}"


def _colour(row: Row) -> str:
    if row.decoder == BASELINE:
        return _BASELINE
    return _EXACT if row.law == "exact" else _OTHER


def tidy(axes: Any, grid: str) -> None:
    """A light grid along "x", "y" or "both", and no frame above or to the right."""
    axes.grid(axis=grid, color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
