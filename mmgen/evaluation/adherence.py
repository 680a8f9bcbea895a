"""Whether a picture shows what its caption asks for: a judge that knows neither model nor tokenizer.

The judge explains a picture as a plain background and objects: it looks for the reference (any shipped
object, either size, any place) whose picture is nearest to this one, pixel by pixel, clears the place,
and looks again until nothing there resembles an object any more. What it found is then compared with
the caption.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from mmgen.decoding.decoder import Decoder
from mmgen.errors import OptionError, SizeError
from mmgen.scenes.grammar import BACKGROUNDS, POSITIONS, Grammar, Scene
from mmgen.scenes.objects import CHARACTERS
from mmgen.scenes.render import IMAGE_SIZE, OBJECT_PIXELS, is_held_out, sample_scene, sprite

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
_REFERENCES = tuple((name, size) for size in OBJECT_PIXELS for name in CHARACTERS)


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


@dataclass(frozen=True)
class Verdict:
    """What of a caption a picture shows; None where the caption does not ask for it.

    Attributes:
        background: the background has the right colour.
        object: single: the most conspicuous object is the one asked for; pair: both are there;
            group: everything found is of the kind asked for.
        size: the objects asked for are there in the sizes asked for.
        position: a single object stands at its place.
        relation: both objects of a pair are there, and stand as asked.
        count: there are as many objects as asked for, and no more.
        recognised: names of what was found.
        recognised_background: name of the colour behind it.
    """

    background: bool
    object: bool
    size: bool
    position: bool | None
    relation: bool | None
    count: bool
    recognised: tuple[str, ...]
    recognised_background: str | None

    @property
    def correct(self) -> bool:
        """Everything the caption asks for is right."""
        parts = (self.background, self.object, self.size, self.position, self.relation, self.count)
        return all(part is not False for part in parts)


def judge(image: Image.Image | np.ndarray, scene: Scene) -> Verdict:
    """Compares a picture with its caption.

    Args:
        image: PIL picture or uint8 array [64, 64, 3].
        scene: what the caption asks for.

    Raises:
        SizeError: the picture has another size.
    """
    seen = look(image)
    objects = seen.objects
    names = tuple(found.name for found in objects)
    position = relation = None
    if scene.kind == "pair":
        first, second = (next((f for f in objects if f.name == name), None) for name in (scene.first, scene.second))
        kind = first is not None and second is not None
        size = kind and (first.size, second.size) == (scene.size, scene.second_size)  # type: ignore[union-attr]
        relation = first is not None and second is not None and _relation(first, second) == scene.relation
        count = len(objects) == 2
    elif scene.kind == "single":
        kind = bool(objects) and names[0] == scene.first
        size = bool(objects) and objects[0].size == scene.size
        position = bool(objects) and objects[0].position == scene.position
        count = len(objects) == 1
    else:
        kind = bool(objects) and set(names) == {scene.first}
        size = bool(objects) and {found.size for found in objects} == {scene.size}
        count = len(objects) == scene.count
    return Verdict(seen.background == scene.background, kind, size, position, relation, count, names, seen.background)


def look(image: Image.Image | np.ndarray) -> Seen:
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
    if votes[winner]:
        # Against the picture's own shade, or a tint would look like a faint object.
        shade = np.median(border[nearest == winner], axis=0)
    else:
        shade = np.median(border, axis=0)
    objects = tuple(_find_objects(pixels - shade, colour))
    return Seen(colour if votes[winner] > len(border) / 2 else None, objects)


def _relation(first: Found, second: Found) -> str:
    down, right = second.row - first.row, second.column - first.column
    if abs(right) > abs(down):
        return "left of" if right > 0 else "right of"
    return "above" if down > 0 else "below"


def _find_objects(rest: np.ndarray, colour: str) -> Iterator[Found]:
    """Objects in the difference `rest` [64, 64, 3] from the background, most conspicuous first."""
    rest = rest.copy()
    # By Cauchy and Schwarz, less than this resembles no reference enough: saves the last search.
    least_energy = ((1 + LEAST_LIKENESS) / 2) ** 2 * _references(colour).energies.min()
    for _ in range(MOST_OBJECTS):
        if np.square(rest).sum() < least_energy:
            return
        found = _nearest(rest, colour)
        if found.likeness < LEAST_LIKENESS:
            return
        side = OBJECT_PIXELS[found.size]
        top, left = round(found.row - side / 2), round(found.column - side / 2)
        near = _CLEARED_MARGIN
        rest[max(top - near, 0) : top + side + near, max(left - near, 0) : left + side + near] = 0
        yield found


@dataclass
class Share:
    """How many of how many were right."""

    right: int = 0
    of: int = 0

    def add(self, right: bool) -> None:
        """Counts one more."""
        self.right += right
        self.of += 1

    @property
    def share(self) -> float | None:
        """From 0 to 1; None of nothing."""
        return self.right / self.of if self.of else None

    def to_dict(self) -> dict[str, Any]:
        """The counts and the share."""
        return {"right": self.right, "of": self.of, "share": self.share}


@dataclass
class Report:
    """How well pictures show their captions.

    Attributes:
        background: pictures with the right background.
        single_object: single objects recognised as themselves among all shipped ones.
        single_position: single objects at their place.
        pair_objects: pairs of which both objects were recognised.
        pair_relation: pairs of which both objects were recognised and stand as asked.
        group_count: groups with the right number of objects.
        correct: pictures with everything right, sizes included.
        objects: by name, how often an object was recognised where a caption asked for it.
    """

    background: Share = field(default_factory=Share)
    single_object: Share = field(default_factory=Share)
    single_position: Share = field(default_factory=Share)
    pair_objects: Share = field(default_factory=Share)
    pair_relation: Share = field(default_factory=Share)
    group_count: Share = field(default_factory=Share)
    correct: Share = field(default_factory=Share)
    objects: dict[str, Share] = field(default_factory=lambda: defaultdict(Share))

    def add(self, scene: Scene, verdict: Verdict) -> None:
        """Counts one more picture."""
        self.background.add(verdict.background)
        self.correct.add(verdict.correct)
        if scene.kind == "single":
            self.single_object.add(verdict.object)
            self.single_position.add(bool(verdict.position))
        elif scene.kind == "pair":
            self.pair_objects.add(verdict.object)
            self.pair_relation.add(bool(verdict.relation))
        else:
            self.group_count.add(verdict.count)
        self.objects[scene.first].add(scene.first in verdict.recognised)
        if scene.second is not None:
            self.objects[scene.second].add(scene.second in verdict.recognised)

    def to_dict(self) -> dict[str, Any]:
        """Shares with their counts, ready for JSON; objects by name."""
        parts = {name: value.to_dict() for name, value in vars(self).items() if isinstance(value, Share)}
        return parts | {"objects": {name: share.to_dict() for name, share in sorted(self.objects.items())}}


def measure(images: Iterable[Image.Image | np.ndarray], scenes: Iterable[Scene]) -> Report:
    """Judges pictures, each by its own scene."""
    report = Report()
    for image, scene in zip(images, scenes, strict=True):
        report.add(scene, judge(image, scene))
    return report


def held_out_scenes(count: int, seed: int, objects: Sequence[str] = tuple(CHARACTERS)) -> list[Scene]:
    """Draws scenes whose combination training never sees."""
    generator = np.random.default_rng(seed)
    scenes: list[Scene] = []
    while len(scenes) < count:
        scene = sample_scene(generator, objects)
        if is_held_out(scene):
            scenes.append(scene)
    return scenes


def evaluate(
    pipe: Any,
    count: int = 400,
    seed: int = 0,
    batch: int = 16,
    decoder: str | Decoder | None = None,
    log: Callable[[str], None] | None = None,
) -> Report:
    """Draws held-out captions with a pipeline's default settings, and judges the pictures.

    Args:
        pipe: a text-to-image pipeline.
        count: pictures, at least 1.
        seed: chooses the captions; picture i is drawn with seed + i.
        batch: pictures drawn at once, at least 1.
        decoder: the pipeline's own where nothing is given.
        log: called with a line after every batch.

    Raises:
        OptionError: count or batch is below 1.
    """
    for name, value in (("count", count), ("batch", batch)):
        if type(value) is not int or value < 1:
            raise OptionError(name, value, "a whole number, 1 or more")
    grammar: Grammar = pipe.text_encoder.grammar
    scenes = held_out_scenes(count, seed, grammar.objects)
    report = Report()
    for start in range(0, count, batch):
        part = scenes[start : start + batch]
        seeds = list(range(seed + start, seed + start + len(part)))
        images = pipe([grammar.describe(scene) for scene in part], seed=seeds, decoder=decoder).images
        for image, scene in zip(images, part, strict=True):
            report.add(scene, judge(image, scene))
        if log is not None:
            log(f"{report.correct.of} of {count} pictures: {report.correct.right} show all their caption asks for")
    return report


class _References(NamedTuple):
    """All objects on one background, as differences from it.

    Attributes:
        pictures: one [side, side, 3] for each of `_REFERENCES`.
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
def _references(colour: str) -> _References:
    pictures = []
    coarse = np.zeros((len(_REFERENCES), 3, _COARSE, _COARSE), np.float32)
    allowed = np.full((len(_REFERENCES), _COARSE, _COARSE), -np.inf, np.float32)
    for index, (name, size) in enumerate(_REFERENCES):
        side = OBJECT_PIXELS[size]
        paint, opacity = sprite(name, side)
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


def _nearest(rest: np.ndarray, colour: str) -> Found:
    """The reference and place whose picture is nearest to `rest`.

    The squared distance is |rest|^2 - gain with gain = 2 <rest, reference> - |reference|^2: found for all
    references and places at half the resolution by correlation, then exactly for the best few.
    """
    references = _references(colour)
    spectrum = np.fft.rfft2(_halve(rest))
    correlations = np.fft.irfft2((references.spectra * spectrum).sum(1), s=(_COARSE, _COARSE))
    gains = (2 * correlations - references.coarse_energies[:, None, None] + references.allowed).reshape(
        len(_REFERENCES), -1
    )
    padded = np.pad(rest, ((1, 1), (1, 1), (0, 0)))
    best_gain, best = -np.inf, None
    for index in np.argpartition(-gains.max(1), _SHORTLIST)[:_SHORTLIST]:
        name, size = _REFERENCES[index]
        side = OBJECT_PIXELS[size]
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
