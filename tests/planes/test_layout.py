"""The layout of planes: which tokens stand together, and how they are folded."""

from __future__ import annotations

import itertools

import pytest
import torch

from mmgen.errors import SizeError
from mmgen.layout import PlaneLayout

GRIDS = [(4, 4), (2, 5), (1, 3), (2, 3, 4), (4,)]


@pytest.mark.parametrize("sizes", GRIDS, ids=str)
def test_planes_are_those_of_equal_distance_in_raster_order(sizes: tuple[int, ...]) -> None:
    layout = PlaneLayout(sizes)
    cells = list(itertools.product(*map(range, sizes)))
    expected = [
        [i for i, cell in enumerate(cells) if sum(cell) == plane] for plane in range(sum(sizes) - len(sizes) + 1)
    ]
    assert layout.count == len(expected) and layout.length == len(cells)
    assert [row[valid].tolist() for row, valid in zip(layout.places, layout.valid, strict=True)] == expected
    assert layout.widths == tuple(map(len, expected)) and layout.ends[-1] == layout.length
    assert [tuple(cell) for cell in layout.coordinates.tolist()] == [cells[i] for plane in expected for i in plane]


@pytest.mark.parametrize("sizes", GRIDS, ids=str)
def test_codes_are_folded_and_unfolded(sizes: tuple[int, ...]) -> None:
    layout = PlaneLayout(sizes)
    codes = torch.arange(2 * layout.length).view(2, 1, *sizes)
    tokens = layout.flatten(codes)
    assert torch.equal(layout.unflatten(tokens), codes)
    folded = layout.fold(tokens, padding=-7)
    assert torch.equal(layout.unfold(folded), tokens)
    assert bool(((folded == -7) == ~layout.valid).all())
    assert torch.equal(layout.known(codes), tokens) and bool((layout.known() == -1).all())


def test_neighbours_are_one_step_back() -> None:
    layout = PlaneLayout((2, 3, 4))
    line = [tuple(cell) for cell in layout.coordinates.tolist()]
    folded = [
        [line[start + slot] for slot in range(width)]
        for start, width in zip((0, *layout.ends), layout.widths, strict=False)
    ]
    for axis in range(3):
        for index, cell in enumerate(line):
            before = tuple(value - (axis == own) for own, value in enumerate(cell))
            assert layout.before[axis, index] == (line.index(before) if before in line else -1)
            plane, slot = sum(cell), folded[sum(cell)].index(cell)
            expected = folded[plane - 1].index(before) if before in line else -1
            assert layout.slots_before[axis, plane, slot] == expected


def test_a_published_clip_has_its_34_planes() -> None:
    layout = PlaneLayout((4, 16, 16))
    assert layout.count == 34 and max(layout.widths) == 60 and layout.length == 1024
    assert [PlaneLayout((side, side)).count for side in (16, 24, 32)] == [31, 47, 63]


def test_the_delay_pattern_is_that_of_codebooks_and_time() -> None:
    layout = PlaneLayout((4, 6))  # codebook k of frame t stands in plane k + t
    assert layout.count == 6 + 4 - 1
    for plane, (row, valid) in enumerate(zip(layout.places, layout.valid, strict=True)):
        assert all(place // 6 + place % 6 == plane for place in row[valid].tolist())


@pytest.mark.parametrize("sizes", [(), (0, 3), (2, 1.5), (-1, 2)])
def test_grids_of_nothing_are_refused(sizes: tuple) -> None:
    with pytest.raises(SizeError, match="positive whole number"):
        PlaneLayout(sizes)
