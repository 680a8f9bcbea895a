"""Whether pictures show what their captions ask for, judged from the pixels alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from mmgen.evaluation.recognition import Found, look
from mmgen.evaluation.verdicts import Report, Share, Verdict, judged
from mmgen.scenes.grammar import Scene
from mmgen.scenes.objects import CHARACTERS
from mmgen.scenes.render import draw_scenes, sample_scene


@dataclass(frozen=True)
class PictureVerdict(Verdict):
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

    asked = ("background", "object", "size", "position", "relation", "count")

    background: bool
    object: bool
    size: bool
    position: bool | None
    relation: bool | None
    count: bool
    recognised: tuple[str, ...]
    recognised_background: str | None


def judge(image: Image.Image | np.ndarray, scene: Scene) -> PictureVerdict:
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
    background = seen.background == scene.background
    return PictureVerdict(background, kind, size, position, relation, count, names, seen.background)


def _relation(first: Found, second: Found) -> str:
    down, right = second.row - first.row, second.column - first.column
    if abs(right) > abs(down):
        return "left of" if right > 0 else "right of"
    return "above" if down > 0 else "below"


@dataclass
class PictureReport(Report):
    """How well pictures show their captions.

    Attributes:
        background: pictures with the right background.
        single_object: single objects recognised as themselves among all shipped ones.
        single_position: single objects at their place.
        pair_objects: pairs of which both objects were recognised.
        pair_relation: pairs of which both objects were recognised and stand as asked.
        group_count: groups with the right number of objects.
    """

    background: Share = field(default_factory=Share)
    single_object: Share = field(default_factory=Share)
    single_position: Share = field(default_factory=Share)
    pair_objects: Share = field(default_factory=Share)
    pair_relation: Share = field(default_factory=Share)
    group_count: Share = field(default_factory=Share)

    def add(self, scene: Scene, verdict: PictureVerdict) -> None:
        self._count(
            verdict,
            [name for name in (scene.first, scene.second) if name is not None],
            background=verdict.background,
            single_object=verdict.object if scene.kind == "single" else None,
            single_position=verdict.position,
            pair_objects=verdict.object if scene.kind == "pair" else None,
            pair_relation=verdict.relation,
            group_count=verdict.count if scene.kind == "group" else None,
        )


def measure(images: Iterable[Image.Image | np.ndarray], scenes: Iterable[Scene]) -> PictureReport:
    """Judges pictures, each by its own scene."""
    return judged(PictureReport(), judge, images, scenes)


def held_out_scenes(count: int, seed: int, objects: Sequence[str] = tuple(CHARACTERS)) -> list[Scene]:
    """Draws scenes whose combination training never sees."""
    generator = np.random.default_rng(seed)
    return draw_scenes(lambda: sample_scene(generator, objects), count, held_out=True)
