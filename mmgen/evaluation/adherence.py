"""Whether pictures show what their captions ask for, judged from the pixels alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from mmgen.evaluation.recognition import Found, look
from mmgen.scenes.grammar import Scene
from mmgen.scenes.objects import CHARACTERS
from mmgen.scenes.render import is_held_out, sample_scene


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


def _relation(first: Found, second: Found) -> str:
    down, right = second.row - first.row, second.column - first.column
    if abs(right) > abs(down):
        return "left of" if right > 0 else "right of"
    return "above" if down > 0 else "below"


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

    @property
    def error(self) -> float | None:
        """Standard error of the share; None of nothing. One right and one wrong more, or all right would be certain."""
        share = (self.right + 1) / (self.of + 2)
        return (share * (1 - share) / (self.of + 2)) ** 0.5 if self.of else None

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
