"""What is in a picture: its background, and the shipped objects on it. Knows neither model nor tokenizer.

A picture is explained as a plain background and objects: the reference (any shipped object, either
size, any place) whose picture is nearest to this one, pixel by pixel, is found, its place cleared, and
the next one looked for, until nothing there resembles an object any more.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from mmgen.errors import SizeError
from mmgen.scenes.grammar import BACKGROUNDS, POSITIONS
from mmgen.scenes.objects import CHARACTERS
from mmgen.scenes.render import IMAGE_SIZE, OBJECT_PIXELS, sprite

MOST_OBJECTS = 6
"""The search ends here; captions ask for at most four."""
LEAST_LIKENESS = 0.25
"""How much of a reference's own energy must be explained for it to count as seen; 1 is a perfect copy."""
FARTHEST_BACKGROUND = 40.0
"""Distance in RGB (0 to 255 an axis) up to which a colour is called by its nearest name."""

_ANCHORS = (16, 32, 48)
"""Pixels along an axis where objects "at the start, in the middle, at the end" have their centre."""
_CLEARED_MARGIN = 2
"""Pixels around a found object that belong to it."""
_COARSE = IMAGE_SIZE // 2
_SHORTLIST = 12


class World(NamedTuple):
    """What may be seen.

    Attributes:
        names: objects.
        sizes: their sides in pixels, even numbers, by name of the size.
        paint: makes the picture of an object in so many pixels, as `mmgen.scenes.render.sprite` does.
    """

    names: tuple[str, ...]
    sizes: tuple[tuple[str, int], ...]
    paint: Callable[[str, int], tuple[np.ndarray, np.ndarray]]

    @property
    def references(self) -> list[tuple[str, str, int]]:
        """All objects in all sizes: name, size and side."""
        return [(name, size, side) for size, side in self.sizes for name in self.names]


PICTURES = World(tuple(CHARACTERS), tuple(OBJECT_PIXELS.items()), sprite)
"""The shipped objects in both sizes."""


class Found(NamedTuple):
    """An object seen in a picture.

    Attributes:
        name: the object it is nearest to.
        size: `large` or `small`.
        row: pixel row of its centre.
        column: pixel column of its centre.
        likeness: share of the reference's energy that the picture explains, up to 1.
    """

    name: str
    size: str
    row: float
    column: float
    likeness: float

    @property
    def position(self) -> str:
        """The nearest of the nine places."""
        row, column = (int(np.abs(np.subtract(_ANCHORS, at)).argmin()) for at in (self.row, self.column))
        return POSITIONS[3 * row + column]


@dataclass(frozen=True)
class Seen:
    """What is in a picture.

    Attributes:
        background: a key of `BACKGROUNDS`, or None where most of the border has no named colour.
        objects: in the order they were found, the most conspicuous first.
    """

    background: str | None
    objects: tuple[Found, ...]


def look(image: Image.Image | np.ndarray, world: World = PICTURES) -> Seen:
    """Finds background and objects of a picture, PIL or uint8 [64, 64, 3].

    Raises:
        SizeError: the picture has another size.
    """
    pixels = np.asarray(image.convert("RGB") if isinstance(image, Image.Image) else image, np.float32)
    if pixels.shape != (IMAGE_SIZE, IMAGE_SIZE, 3):
        raise SizeError(f"a picture of shape {list(pixels.shape)}", f"[{IMAGE_SIZE}, {IMAGE_SIZE}, 3]")
    border = np.concatenate((pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]))
    distances = np.linalg.norm(border[:, None] - np.array(list(BACKGROUNDS.values()), np.float32), axis=-1)
    nearest = np.where(distances.min(1) <= FARTHEST_BACKGROUND, distances.argmin(1), len(BACKGROUNDS))
    votes = np.bincount(nearest, minlength=len(BACKGROUNDS) + 1)[: len(BACKGROUNDS)]
    winner = int(votes.argmax())
    colour = list(BACKGROUNDS)[winner]
    # Against the picture's own shade, or a tint would look like a faint object.
    shade = np.median(border[nearest == winner] if votes[winner] else border, axis=0)
    objects = tuple(_find_objects(pixels - shade, colour, world))
    return Seen(colour if votes[winner] > len(border) / 2 else None, objects)


def _find_objects(rest: np.ndarray, colour: str, world: World) -> Iterator[Found]:
    """Objects in the difference `rest` [64, 64, 3] from the background, most conspicuous first."""
    rest = rest.copy()
    # By Cauchy and Schwarz, less than this resembles no reference enough: saves the last search.
    least_energy = ((1 + LEAST_LIKENESS) / 2) ** 2 * _references(colour, world).energies.min()
    for _ in range(MOST_OBJECTS):
        if np.square(rest).sum() < least_energy:
            return
        found = _nearest(rest, colour, world)
        if found.likeness < LEAST_LIKENESS:
            return
        side = dict(world.sizes)[found.size]
        top, left = round(found.row - side / 2), round(found.column - side / 2)
        near = _CLEARED_MARGIN
        rest[max(top - near, 0) : top + side + near, max(left - near, 0) : left + side + near] = 0
        yield found


class _References(NamedTuple):
    """All objects on one background, as differences from it.

    Attributes:
        pictures: one [side, side, 3] for each reference of the world.
        energies: their sums of squares.
        spectra: complex [references, 3, 32, 17], conjugated spectra at half the resolution.
        coarse_energies: [references], their sums of squares there.
        allowed: 0 at upper left corners where a reference fits, -inf elsewhere: [references, 32, 32].
    """

    pictures: list[np.ndarray]
    energies: np.ndarray
    spectra: np.ndarray
    coarse_energies: np.ndarray
    allowed: np.ndarray


@functools.cache
def _references(colour: str, world: World) -> _References:
    pictures, count = [], len(world.references)
    coarse = np.zeros((count, 3, _COARSE, _COARSE), np.float32)
    allowed = np.full((count, _COARSE, _COARSE), -np.inf, np.float32)
    for index, (name, _, side) in enumerate(world.references):
        paint, opacity = world.paint(name, side)
        picture = opacity * (paint - np.array(BACKGROUNDS[colour], np.float32))
        pictures.append(picture)
        coarse[index, :, : side // 2, : side // 2] = _halve(picture)
        last = (IMAGE_SIZE - side) // 2 + 1
        allowed[index, :last, :last] = 0
    return _References(
        pictures,
        np.array([np.square(picture).sum() for picture in pictures]),
        np.conj(np.fft.rfft2(coarse)).astype(np.complex64),
        np.square(coarse).sum((1, 2, 3)),
        allowed,
    )


def _halve(picture: np.ndarray) -> np.ndarray:
    """Half the resolution, channels first: [3, side / 2, side / 2]."""
    side = picture.shape[0] // 2
    return picture.reshape(side, 2, side, 2, 3).mean((1, 3)).transpose(2, 0, 1)


def _nearest(rest: np.ndarray, colour: str, world: World) -> Found:
    """The reference and place whose picture is nearest to `rest`.

    The squared distance is |rest|^2 - gain with gain = 2 <rest, reference> - |reference|^2: found for all
    references and places at half the resolution by correlation, then exactly for the best few.
    """
    references = _references(colour, world)
    spectrum = np.fft.rfft2(_halve(rest))
    correlations = np.fft.irfft2((references.spectra * spectrum).sum(1), s=(_COARSE, _COARSE))
    gains = (2 * correlations - references.coarse_energies[:, None, None] + references.allowed).reshape(
        len(correlations), -1
    )
    padded = np.pad(rest, ((1, 1), (1, 1), (0, 0)))
    best_gain, best = -np.inf, None
    for index in np.argsort(-gains.max(1))[:_SHORTLIST]:
        name, size, side = world.references[index]
        row, column = (2 * int(at) for at in divmod(int(gains[index].argmax()), _COARSE))
        area = padded[row : row + side + 2, column : column + side + 2]
        windows = np.lib.stride_tricks.sliding_window_view(area, (side, side), axis=(0, 1))
        exact = 2 * np.einsum("rschw,hwc->rs", windows, references.pictures[index]) - references.energies[index]
        if exact.max() > best_gain:
            best_gain = float(exact.max())
            down, right = divmod(int(exact.argmax()), exact.shape[1])
            likeness = best_gain / float(references.energies[index])
            best = Found(name, size, row + down - 1 + side / 2, column + right - 1 + side / 2, likeness)
    assert best is not None
    return best
