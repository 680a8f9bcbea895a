"""The speed-quality plot: what each decoder saves, against what its pictures lose."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmgen.decoding import REFERENCE
from mmgen.errors import OptionError
from mmgen.evaluation.labels import place_labels
from mmgen.evaluation.plot import check, new_figure, save, tidy
from mmgen.evaluation.rows import Row

_COLOURS = {"exact": "#2b6cb0", "bounded": "#c05621", "heuristic": "#97266d"}
_MARKERS = {"exact": "o", "bounded": "D", "heuristic": "X"}
_MEANINGS = {"exact": "exact: the model's own distribution", "bounded": "bounded", "heuristic": "heuristic"}
_BAND = "#a0aec0"
_MEASURES = {"distance_to_autoregression": "distance_error", "adherence": "adherence_error"}
"""What stands upward, and its standard error."""
_LINE = 0.185
"""Height of a line of the key, in inches."""


class Curve(NamedTuple):
    """Rows of one decoder that differ in one number only, by that number; a single row is a curve as well.

    Attributes:
        name: the decoder, and what all rows have in common.
        knob: name of the option they differ in; None of a single row.
        values: of the knob, as many as rows.
        rows: at least one.
    """

    name: str
    knob: str | None
    values: list[float]
    rows: list[Row]


def draw(rows: Sequence[Row], path: str | Path) -> None:
    """Writes a PNG of four panels: evaluations and seconds, against distance to autoregression and adherence.

    Every decoder is a numbered point, and decoders that differ in one number a curve, its points marked
    with that number. Colour and shape say the law; thin bars are a standard error, and the band is
    autoregression itself with two of them. Seconds are at the smallest batch.

    Args:
        rows: what `mmgen.evaluation.bench.run` returned with `quality_pictures`.
        path: file to write, ending in `.png`.

    Raises:
        OptionError: no row has its quality measured, or the path does not end in `.png`.
        OutputError: the file cannot be written.
    """
    check(rows, path)
    smallest = min(row.batch for row in rows)
    rows = [row for row in rows if row.distance_to_autoregression is not None and row.batch == smallest]
    if not rows:
        raise OptionError("rows", [], "rows with a distance to autoregression: measure with quality_pictures")
    curves = find_curves(rows)
    names = _names(curves)
    figure = new_figure(14, max(8.0, 1.8 + _LINE * len(names)))
    panels, key = figure.subfigures(1, 2, width_ratios=(2.6, 1))
    axes = panels.subplots(2, 2, sharex="col", sharey="row")
    _bands(axes, rows)
    for line, measure in zip(axes, _MEASURES, strict=True):
        for panel, cost in zip(line, ("evaluations", "seconds"), strict=True):
            _points(panel, curves, cost, measure)
    _scales(axes, rows, smallest)
    _key(key, names, rows)
    title = f"{rows[0].pipeline}: speed against quality, {rows[0].quality_pictures} pictures of each decoder"
    figure.suptitle(title, fontsize=13, fontweight="bold")
    figure.canvas.draw()  # labels are placed by what is drawn already
    for line, measure in zip(axes, _MEASURES, strict=True):
        for panel, cost in zip(line, ("evaluations", "seconds"), strict=True):
            _labels(panel, curves, cost, measure)
    save(figure, path)


def find_curves(rows: Sequence[Row]) -> list[Curve]:
    """Sorts rows into curves, the longest first where a row could stand on several; in the order of the rows."""
    flat = [_flat(row) for row in rows]
    groups: dict[tuple, list[int]] = defaultdict(list)
    for index, options in enumerate(flat):
        for knob in options:
            if _is_number(options[knob]):
                others = tuple(sorted((name, value) for name, value in options.items() if name != knob))
                groups[rows[index].decoder, knob, others].append(index)
    curves, free = [], set(range(len(rows)))
    for (_, knob, _), members in sorted(groups.items(), key=lambda item: -len(item[1])):
        members = sorted((index for index in members if index in free), key=lambda index: float(flat[index][knob]))
        if len(members) > 1:
            free -= set(members)
            common = {name: value for name, value in flat[members[0]].items() if name != knob}
            values = [float(flat[index][knob]) for index in members]
            curves.append(
                (min(members), Curve(_name(rows[members[0]], common), knob, values, [rows[i] for i in members]))
            )
    curves += [(index, Curve(_name(rows[index], flat[index]), None, [], [rows[index]])) for index in free]
    return [curve for _, curve in sorted(curves, key=lambda item: item[0])]


def _flat(row: Row) -> dict[str, str]:
    """Options as text, those of a part under its own name: `acceptance=grouped/ranks=7` gives two."""
    flat = {}
    for name, value in row.options.items():
        first, *others = str(value).split("/")
        flat[name] = first
        for word in others:
            key, _, inner = word.partition("=")
            flat[f"{name}/{key}"] = inner
    return flat


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _name(row: Row, options: dict[str, str]) -> str:
    return ", ".join((row.decoder, *(f"{name.split('/')[-1]} {value}" for name, value in options.items())))


def _names(curves: Sequence[Curve]) -> list[str]:
    """Lines that say which number is which curve, none longer than the key is wide."""
    lines = []
    for number, curve in enumerate(curves, 1):
        knob = f"; in brackets: {curve.knob.split('/')[-1]}" if curve.knob else ""
        lines += textwrap.wrap(
            curve.name + knob, 46, initial_indent=f"{number:>2}  ", subsequent_indent=" " * 6, break_on_hyphens=False
        )
    return lines


def _points(panel: Any, curves: Sequence[Curve], cost: str, measure: str) -> None:
    for curve in curves:
        across = [getattr(row, cost) for row in curve.rows]
        up = [getattr(row, measure) for row in curve.rows]
        if len(across) > 1:
            panel.plot(across, up, color=_COLOURS[curve.rows[-1].law], linewidth=1.2, alpha=0.5, zorder=2)
        for row, x, y in zip(curve.rows, across, up, strict=True):
            colour, marker = _COLOURS[row.law], _MARKERS[row.law]
            panel.scatter(x, y, s=46, c=colour, marker=marker, zorder=3, linewidths=0.8, edgecolors="white")
            error = getattr(row, _MEASURES[measure])
            panel.errorbar(x, y, yerr=error, ecolor=colour, elinewidth=0.8, alpha=0.45, zorder=1)


def _labels(panel: Any, curves: Sequence[Curve], cost: str, measure: str) -> None:
    points, words = [], []
    for number, curve in enumerate(curves, 1):
        for index, row in enumerate(curve.rows):
            points.append((getattr(row, cost), getattr(row, measure)))
            words.append(f"{number}" if curve.knob is None else f"{number} ({curve.values[index]:g})")
    colours = [_COLOURS[row.law] for curve in curves for row in curve.rows]
    lines = [[(getattr(row, cost), getattr(row, measure)) for row in curve.rows] for curve in curves if curve.knob]
    for row in (row for curve in curves for row in curve.rows):
        x, y, error = getattr(row, cost), getattr(row, measure), getattr(row, _MEASURES[measure])
        lines.append([(x, max(y - error, y / 10)), (x, y + error)])
    place_labels(panel, points, words, colours, lines)


def _bands(axes: Any, rows: Sequence[Row]) -> None:
    """Autoregression's own values, two standard errors to either side."""
    plain = next((row for row in rows if row.decoder == REFERENCE), rows[0])
    for line, measure in zip(axes, _MEASURES, strict=True):
        value, error = getattr(plain, measure) or 0, getattr(plain, _MEASURES[measure]) or 0
        for panel in line:
            low = max(value - 2 * error, 0.25 * value)  # a logarithmic axis has no place for 0
            panel.axhspan(low, value + 2 * error, color=_BAND, alpha=0.3, linewidth=0, zorder=0)


def _scales(axes: Any, rows: Sequence[Row], batch: int) -> None:
    axes[0, 0].set_ylabel("distance to autoregression\n(Frechet; 1 = variance of true scenes)")
    axes[1, 0].set_ylabel("pictures that show all\ntheir caption asks for")
    axes[1, 0].yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes[1, 0].set_xlabel("evaluations of the model per picture")
    axes[1, 1].set_xlabel(f"seconds per picture, batch {batch}")
    distances = [row.distance_to_autoregression or 0 for row in rows]
    if min(distances) > 0 and max(distances) > 8 * min(distances):
        axes[0, 0].set_yscale("log")
        _plain_ticks(axes[0, 0].yaxis)
    else:
        axes[0, 0].set_ylim(bottom=0)
    for column in range(2):
        axes[1, column].set_xscale("log")
        _plain_ticks(axes[1, column].xaxis)
    for panel in axes.flat:
        panel.margins(x=0.1, y=0.14)
        tidy(panel, "both")
    low, high = axes[1, 0].get_ylim()
    axes[1, 0].set_ylim(low, min(high, 1.03))


def _plain_ticks(axis: Any) -> None:
    """Ticks at 1, 2 and 5 times powers of ten, written as plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def _key(figure: Any, names: Sequence[str], rows: Sequence[Row]) -> None:
    """What the numbers, colours and the band mean."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Line2D([], [], color=colour, marker=_MARKERS[law], linestyle="", markersize=7, label=_MEANINGS[law])
        for law, colour in _COLOURS.items()
        if law in {row.law for row in rows}
    ]
    handles.append(Patch(color=_BAND, alpha=0.3, label="autoregression ± 2 standard errors"))
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=(0, 0.95), frameon=False, fontsize=9)
    top = 0.95 - _LINE * (len(handles) + 2) / figure.figure.get_figheight()
    figure.text(0.03, top, "\n".join(names), fontsize=9, va="top", family="monospace", linespacing=1.35)
