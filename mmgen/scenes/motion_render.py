"""Draws moving scenes: the training clips, and the references that judge generated ones."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import numpy as np

from mmgen.scenes.grammar import BACKGROUNDS
from mmgen.scenes.motion import BALLS, DIRECTIONS, SPEEDS, STILL, VERBS, Motion, MovingScene, StagedScene
from mmgen.scenes.render import IMAGE_SIZE, sprite

FRAMES = 17
"""Frames of a clip, one and a multiple of four: two seconds and the first frame."""
MOVING_PIXELS = 32
"""Side of an object."""
TRACK = IMAGE_SIZE - MOVING_PIXELS
"""Pixels from one end of a way to the other."""
CELL = 8
"""Objects stand still, and move, on lines that are so many pixels apart: the stride of the shipped tokenizer."""


def render_clip(scene: MovingScene, generator: np.random.Generator, frames: int = FRAMES) -> np.ndarray:
    """Draws a moving scene; what the caption leaves open (where things start) is drawn at random.

    Returns:
        uint8 array [frames, 64, 64, 3].
    """
    return render_staged(stage(scene, generator), frames)


def render_staged(staged: StagedScene, frames: int = FRAMES) -> np.ndarray:
    """The clip of a scene of which nothing is open: uint8 array [frames, 64, 64, 3]."""
    clip = np.empty((frames, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    clip[:] = BACKGROUNDS[staged.scene.background]
    for name, corners in zip(staged.scene.things, paths(staged, frames), strict=True):
        paint, opacity = _painted(name, staged.scene.background)
        for frame, (top, left) in zip(clip, corners, strict=True):
            area = frame[top : top + MOVING_PIXELS, left : left + MOVING_PIXELS]
            np.copyto(area, paint, where=opacity)
    return clip


def stage(scene: MovingScene, generator: np.random.Generator) -> StagedScene:
    """Draws at random where the objects of a scene start: on lines a cell apart, two objects on opposite ones."""
    motions = list(scene.things.values())
    axes = [motion.axis for motion in motions if motion.axis is not None]
    axis = axes[0] if axes else int(generator.integers(2))
    lanes = generator.permutation([0, TRACK]).tolist() if len(motions) == 2 else [_anywhere(generator)]
    starts = []
    for motion, lane in zip(motions, lanes, strict=True):
        along = _anywhere(generator) if motion == STILL else int(way(motion, 1)[0])
        starts.append((lane, along) if axis else (along, lane))
    return StagedScene(scene, tuple(starts))


def stagings(scene: MovingScene) -> list[StagedScene]:
    """All that `stage` may draw, each once."""
    motions = list(scene.things.values())
    axes = {motion.axis for motion in motions if motion.axis is not None} or {0, 1}
    places = range(0, TRACK + 1, CELL)
    starts: dict[tuple, None] = {}
    for axis in axes:
        for lanes in ((0, TRACK), (TRACK, 0)) if len(motions) == 2 else [(lane,) for lane in places]:
            ways = [places if motion == STILL else [int(way(motion, 1)[0])] for motion in motions]
            for along in itertools.product(*ways):
                pairs = zip(lanes, along, strict=True)
                starts[tuple((lane, place) if axis else (place, lane) for lane, place in pairs)] = None
    return [StagedScene(scene, start) for start in starts]


def paths(staged: StagedScene, frames: int = FRAMES) -> np.ndarray:
    """Where the upper left corners of the objects are: pixel rows and columns, int64 [objects, frames, 2]."""
    assert staged.starts is not None
    corners = np.tile(np.array(staged.starts)[:, None], (1, frames, 1))
    for corner, motion in zip(corners, staged.scene.things.values(), strict=True):
        if motion.axis is not None:
            corner[:, motion.axis] = way(motion, frames)
    return corners


def way(motion: Motion, frames: int) -> np.ndarray:
    """How far something that moves is from the top or the left in each frame, in pixels: int64 [frames].

    What bounces slowly starts half way, or it would never be seen to turn.
    """
    start = TRACK // 2 if (motion.verb, motion.speed) == ("bounces", "slowly") else 0
    gone = start + SPEEDS[str(motion.speed)] * np.arange(frames)
    along = TRACK - abs(gone % (2 * TRACK) - TRACK) if motion.verb == "bounces" else np.minimum(gone, TRACK)
    return along if motion.direction in ("right", "down") else TRACK - along


def sample_moving_scene(generator: np.random.Generator, objects: Sequence[str], pairs: float = 0.4) -> MovingScene:
    """Draws a random moving scene; a share of `pairs` has two objects, the others one."""

    def choose(options: Sequence) -> str:
        return options[int(generator.integers(len(options)))]

    def motion(directions: Sequence[str], still: float) -> Motion:
        if generator.random() < still:
            return STILL
        return Motion(choose(VERBS[1:]), choose(directions), choose(tuple(SPEEDS)))

    first, background = choose(objects), choose(tuple(BACKGROUNDS))
    if generator.random() >= pairs:
        return MovingScene(first, motion(DIRECTIONS, 0.08), background=background)
    directions = (DIRECTIONS[:2], DIRECTIONS[2:])[int(generator.integers(2))]
    second = choose([name for name in objects if name != first])
    return MovingScene(first, motion(directions, 0.15), second, motion(directions, 0.15), background)


def moving_sprite(name: str, pixels: int = MOVING_PIXELS) -> tuple[np.ndarray, np.ndarray]:
    """One object's picture: colour [pixels, pixels, 3] in 0..255 and opacity [pixels, pixels, 1] in 0..1."""
    return _ball(BALLS[name], pixels) if name in BALLS else sprite(name, pixels)


@functools.cache
def _painted(name: str, background: str) -> tuple[np.ndarray, np.ndarray]:
    """An object on a background, uint8 [32, 32, 3], and where it is not transparent, bool [32, 32, 1]."""
    colour, opacity = moving_sprite(name)
    mixed = colour * opacity + np.array(BACKGROUNDS[background]) * (1 - opacity)
    return np.round(mixed).astype(np.uint8), opacity > 0


def _ball(colour: tuple[int, int, int], pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """A ball lit from the upper left, with a dark rim that is seen on a background of its own colour."""
    fine = 4 * pixels
    down, right = np.meshgrid(*2 * [(np.arange(fine) + 0.5) * 2 / fine - 1], indexing="ij")
    from_centre, from_light = np.hypot(down, right), np.hypot(down + 0.35, right + 0.35)
    shade = np.where(from_centre > 0.88, 0.35, 1.1 - 0.3 * from_light)[..., None]
    shine = np.clip(1.6 - 6 * from_light, 0, 0.9)[..., None]
    paint = np.clip(np.array(colour) * shade, 0, 255) * (1 - shine) + 255 * shine
    inside = (from_centre <= 0.98).astype(float)[..., None]
    opacity = _shrunk(inside)
    return _shrunk(paint * inside) / np.maximum(opacity, 1e-6), opacity


def _shrunk(picture: np.ndarray) -> np.ndarray:
    """A quarter of the resolution: means of squares of 4x4 pixels."""
    rows, columns, channels = picture.shape
    return picture.reshape(rows // 4, 4, columns // 4, 4, channels).mean((1, 3))


def _anywhere(generator: np.random.Generator) -> int:
    return CELL * int(generator.integers(TRACK // CELL + 1))
