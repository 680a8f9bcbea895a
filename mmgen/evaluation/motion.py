"""Whether clips show what their captions ask for, judged from the pixels alone.

Each frame is looked at on its own, as a picture is; what has the same name in one frame after another is one object.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from mmgen.errors import SizeError
from mmgen.evaluation.recognition import World, look
from mmgen.evaluation.verdicts import Report, Share, Verdict, judged
from mmgen.scenes.motion import MOVING_OBJECTS, SPEEDS, STILL, Motion, MovingScene
from mmgen.scenes.motion_render import MOVING_PIXELS, moving_sprite, sample_moving_scene
from mmgen.scenes.render import draw_scenes

MOVING = World(MOVING_OBJECTS, (("large", MOVING_PIXELS),), moving_sprite)
"""What may be seen in a clip."""
SEEN_SHARE = 0.8
"""Share of the frames in which an object must be seen to be there, and a background to be the clip's."""
STRAY_SHARE = 0.3
"""Share of the frames from which on an object that is not asked for counts as there."""
_STEADY = 3.0
"""Pixels that an object may be off its mean place and still stay there."""
_STEP = 1.25
"""Pixels a frame from which on something moves."""


@dataclass(frozen=True)
class Track:
    """An object in the frames of a clip.

    Attributes:
        name: what it is.
        frames: the frames it is seen in, rising.
        places: rows and columns of its centre in these, in pixels: [frames, 2].
    """

    name: str
    frames: tuple[int, ...]
    places: np.ndarray

    @property
    def axis(self) -> int:
        """0 where it moves up and down more than to the left and right, else 1."""
        return int(np.ptp(self.places, axis=0).argmax())

    @property
    def steps(self) -> np.ndarray:
        """Pixels a frame along its axis, from each frame it is seen in to the next such."""
        return np.diff(self.places[:, self.axis]) / np.diff(self.frames)

    @property
    def jump(self) -> float:
        """The farthest it goes from one frame to the next, in pixels."""
        ways = np.linalg.norm(np.diff(self.places, axis=0), axis=1) / np.diff(self.frames)
        return float(ways.max(initial=0))

    @property
    def motion(self) -> Motion:
        """What it does: the nearest speed; it bounces where it turns round."""
        off = np.abs(self.places - np.median(self.places, axis=0))
        moving = self.steps[np.abs(self.steps) >= _STEP]
        if off.max() <= _STEADY or not len(moving):
            return STILL
        signs = np.sign(moving)
        turns = (signs == -signs[0]).sum() >= 2
        names = (("up", "down"), ("left", "right"))[self.axis]
        speed = min(SPEEDS, key=lambda name: abs(np.log(SPEEDS[name] / np.median(np.abs(moving)))))
        return Motion("bounces" if turns else "moves", names[int(signs[0] > 0)], speed)


@dataclass(frozen=True)
class Shown:
    """What is in a clip.

    Attributes:
        background: the colour behind most of its frames, or None.
        tracks: its objects, by name.
    """

    background: str | None
    tracks: dict[str, Track]


def watch(clip: np.ndarray, world: World = MOVING) -> Shown:
    """Finds the background and the objects of a clip, uint8 [T, 64, 64, 3], and follows them.

    Of several objects of one name in a frame, the one nearest to where it was is followed.

    Raises:
        SizeError: the clip has another shape, or fewer than two frames.
    """
    if clip.ndim != 4 or len(clip) < 2:
        raise SizeError(f"a clip of shape {list(clip.shape)}", "[T, 64, 64, 3] with two frames or more")
    backgrounds: dict[str | None, int] = defaultdict(int)
    found: dict[str, dict[int, tuple[float, float]]] = defaultdict(dict)
    for number, frame in enumerate(clip):
        seen = look(frame, world)
        backgrounds[seen.background] += 1
        for name in dict.fromkeys(thing.name for thing in seen.objects):
            places = [(thing.row, thing.column) for thing in seen.objects if thing.name == name]
            before = next(reversed(found[name].values()), places[0])
            found[name][number] = min(places, key=lambda place: np.hypot(*np.subtract(place, before)))
    tracks = {name: Track(name, tuple(places), np.array(list(places.values()))) for name, places in found.items()}
    background = max(backgrounds, key=lambda name: backgrounds[name])
    most = backgrounds[background] >= SEEN_SHARE * len(clip)
    return Shown(background if most else None, tracks)


@dataclass(frozen=True)
class MotionVerdict(Verdict):
    """What of a caption a clip shows.

    Attributes:
        background: the background has the right colour.
        objects: the objects asked for are there nearly all the time, and nothing else is there for long.
        motion: they all stay, move or bounce as asked.
        direction: those that move go, and those that bounce set out, in the direction asked for.
        speed: the speed is nearest to the one asked for.
        smooth: none of them goes more than twice as far as it should from one frame to the next.
        recognised: names of what was seen for long.
    """

    asked = ("background", "objects", "motion", "direction", "speed", "smooth")

    background: bool
    objects: bool
    motion: bool
    direction: bool
    speed: bool
    smooth: bool
    recognised: tuple[str, ...]


def judge_clip(clip: np.ndarray, scene: MovingScene) -> MotionVerdict:
    """Compares a clip, uint8 [T, 64, 64, 3], with its caption.

    Raises:
        SizeError: the clip has another shape.
    """
    shown = watch(clip)
    shares = {name: len(track.frames) / len(clip) for name, track in shown.tracks.items()}
    there = [name for name in scene.things if shares.get(name, 0) >= SEEN_SHARE]
    stray = [name for name in shares if name not in scene.things and shares[name] >= STRAY_SHARE]
    pairs = [(shown.tracks[name], scene.things[name]) for name in there]
    asked, seen = [motion for _, motion in pairs], [track.motion for track, _ in pairs]
    whole = len(there) == len(scene.things)
    return MotionVerdict(
        background=shown.background == scene.background,
        objects=whole and not stray,
        motion=whole and [motion.verb for motion in seen] == [motion.verb for motion in asked],
        direction=whole and [motion.direction for motion in seen] == [motion.direction for motion in asked],
        speed=whole and [motion.speed for motion in seen] == [motion.speed for motion in asked],
        smooth=whole and all(track.jump <= 2 * _pixels(motion) for track, motion in pairs),
        recognised=(*there, *stray),
    )


def _pixels(motion: Motion) -> float:
    """Pixels a frame; what stays may be seen a pixel off its place, to either side."""
    return SPEEDS[motion.speed] if motion.speed else 1.0


@dataclass
class MotionReport(Report):
    """How well clips show their captions.

    Attributes:
        background, objects, motion, direction, speed, smooth: clips in which that is right.
        single: clips of one object with everything right.
        pair: clips of two objects with everything right.
    """

    background: Share = field(default_factory=Share)
    objects: Share = field(default_factory=Share)
    motion: Share = field(default_factory=Share)
    direction: Share = field(default_factory=Share)
    speed: Share = field(default_factory=Share)
    smooth: Share = field(default_factory=Share)
    single: Share = field(default_factory=Share)
    pair: Share = field(default_factory=Share)

    def add(self, scene: MovingScene, verdict: MotionVerdict) -> None:
        kind = {"single" if scene.second is None else "pair": verdict.correct}
        self._count(verdict, scene.things, **verdict.parts, **kind)


def measure_clips(clips: Iterable[np.ndarray], scenes: Iterable[MovingScene]) -> MotionReport:
    """Judges clips, uint8 [T, 64, 64, 3] each, by their own scenes."""
    return judged(MotionReport(), judge_clip, clips, scenes)


def held_out_moving_scenes(count: int, seed: int, objects: Sequence[str] = MOVING_OBJECTS) -> list[MovingScene]:
    """Draws moving scenes whose combination training never sees."""
    generator = np.random.default_rng(seed)
    return draw_scenes(lambda: sample_moving_scene(generator, objects), count, held_out=True)
