"""Labels beside points of a plot, none upon another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

_POINT = 5.0
"""Half the side of a point in a plot, in points of 1/72 inch."""
_REACHES = (9, 16, 24, 34, 46, 60, 76)
"""Distances of a label from its point that are tried, in points of 1/72 inch."""

_SIDES = 8

Box = tuple[float, float, float, float]
"""Left, lower, right and upper edge, in pixels."""


def place_labels(
    axes: Any,
    places: Sequence[tuple[float, float]],
    words: Sequence[str],
    colours: Sequence[str],
    lines: Sequence[Sequence[tuple[float, float]]] = (),
) -> None:
    """Writes a label beside each point, the nearest that touches no point, no line, no label and no edge.

    Labels farther off than the first try are tied to their point by a thin line. Labels of points that lie
    on each other are joined, with commas. Where there is no room at all, the last place that was tried is taken.

    Args:
        axes: of matplotlib, drawn once, so that it knows its scales.
        places: of the points, in data.
        words: a label for each.
        colours: of each.
        lines: corners of each line, in data.
    """
    from matplotlib.text import Text

    renderer = axes.figure.canvas.get_renderer()
    unit = axes.figure.dpi / 72
    spots = [tuple(axes.transData.transform(place)) for place in places]
    taken = [_box(x, y, _POINT * unit, _POINT * unit) for x, y in spots]
    for line in lines:
        taken += [_box(x, y, unit, unit) for x, y in _along(axes.transData.transform(line), 3 * unit)]
    frame = axes.get_window_extent(renderer)
    inside = (frame.x0 + 3 * unit, frame.y0 + 3 * unit, frame.x1, frame.y1)
    for members in _together(spots, 4 * unit):
        first = members[0]
        note = axes.annotate(
            ", ".join(dict.fromkeys(words[member] for member in members)), places[first], xytext=(0, 0),
            textcoords="offset points", ha="center", va="center", fontsize=8, color=colours[first], zorder=4,
            arrowprops={"arrowstyle": "-", "color": colours[first], "linewidth": 0.5, "alpha": 0.6, "shrinkB": 3},
        )  # fmt: skip
        extent = Text.get_window_extent(note, renderer)  # without the line that ties it
        box, near = _find_room(spots[first], extent.width / 2, extent.height / 2, taken, inside, unit)
        middle = (box[0] + box[2]) / 2 - spots[first][0], (box[1] + box[3]) / 2 - spots[first][1]
        note.set_position((middle[0] / unit, middle[1] / unit))
        note.arrow_patch.set_visible(not near)
        taken.append(box)


def _find_room(
    spot: Sequence[float], width: float, height: float, taken: Sequence[Box], inside: Box, unit: float
) -> tuple[Box, bool]:
    """A free box of that half width and height beside a spot, in pixels, and whether it is as near as can be."""
    for attempt, (right, up) in enumerate(_tries(width / unit, height / unit)):
        box, near = _box(spot[0] + right * unit, spot[1] + up * unit, width, height), attempt < _SIDES
        if _within(box, inside) and not any(_touch(box, other) for other in taken):
            break
    return box, near


def _tries(width: float, height: float) -> Iterator[tuple[float, float]]:
    """Where the middle of a label of that half width and height may stand from its point, the nearest first."""
    for reach in _REACHES:
        for side in range(_SIDES):
            angle = math.pi / 4 * (2, 6, 0, 4, 1, 3, 7, 5)[side]  # above and below first
            yield math.cos(angle) * (reach + width - 2), math.sin(angle) * (reach + height - 3)


def _along(corners: Sequence[Sequence[float]], step: float) -> Iterator[tuple[float, float]]:
    """Points on a line, about `step` apart."""
    for (x, y), (next_x, next_y) in pairwise(corners):
        count = max(int(math.hypot(next_x - x, next_y - y) / step), 1)
        for part in range(count + 1):
            yield x + (next_x - x) * part / count, y + (next_y - y) * part / count


def _together(spots: Sequence[tuple[float, ...]], nearer: float) -> list[list[int]]:
    """Points by number, those within reach of a group's first joined."""
    groups: list[list[int]] = []
    for index, (x, y) in enumerate(spots):
        for group in groups:
            if math.hypot(x - spots[group[0]][0], y - spots[group[0]][1]) < nearer:
                group.append(index)
                break
        else:
            groups.append([index])
    return groups


def _box(x: float, y: float, half_width: float, half_height: float) -> Box:
    return x - half_width, y - half_height, x + half_width, y + half_height


def _touch(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _within(one: Box, other: Box) -> bool:
    return one[0] >= other[0] and one[1] >= other[1] and one[2] <= other[2] and one[3] <= other[3]
