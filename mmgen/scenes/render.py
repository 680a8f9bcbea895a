"""Draws scenes: the training pictures, and the references that judge generated ones."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mmgen.errors import MissingDependencyError
from mmgen.scenes.grammar import BACKGROUNDS, POSITIONS, RELATIONS, Scene
from mmgen.scenes.objects import CHARACTERS

AnyScene = TypeVar("AnyScene")

IMAGE_SIZE = 64
UNIT = 4
"""Objects stand on multiples of this many pixels, the stride of the shipped tokenizer."""
OBJECT_PIXELS = {"large": 32, "small": 20}
FONT_PATH = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
SPRITES_PATH = Path(__file__).with_name("sprites.png")
_SPRITE_PIXELS = 64
_SHEET_COLUMNS = 8

_OFFSETS: dict[str, dict[str, tuple[int, ...]]] = {
    "large": {"start": (0, 1), "middle": (3, 4, 5), "end": (7, 8)},
    "small": {"start": (1, 2), "middle": (5, 6), "end": (9, 10)},
}
"""Upper left corners along one axis, in units, from which one is drawn at random."""


def render(scene: Scene, generator: np.random.Generator) -> np.ndarray:
    """Draws a scene; what the caption leaves open (the exact place) is drawn at random.

    Returns:
        uint8 array [64, 64, 3].
    """
    image = np.empty((IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    image[:] = BACKGROUNDS[scene.background]
    for name, size, row, column in place(scene, generator):
        color, alpha = sprite(name, OBJECT_PIXELS[size])
        top, left, side = row * UNIT, column * UNIT, OBJECT_PIXELS[size]
        area = image[top : top + side, left : left + side]
        area[:] = np.round(color * alpha + area * (1 - alpha))
    return image


def place(scene: Scene, generator: np.random.Generator) -> list[tuple[str, str, int, int]]:
    """Chooses where the objects of a scene stand: a list of (name, size, row, column) in units."""

    def pick(size: str, where: str) -> int:
        return int(generator.choice(_OFFSETS[size][where]))

    if scene.kind == "single":
        row, column = divmod(POSITIONS.index(scene.position or "center"), 3)
        axis = ("start", "middle", "end")
        return [(scene.first, scene.size, pick(scene.size, axis[row]), pick(scene.size, axis[column]))]
    if scene.kind == "pair":
        sizes = (scene.size, scene.second_size or "large")
        first_starts = scene.relation in ("left of", "above")
        along = [pick(size, "start" if (i == 0) == first_starts else "end") for i, size in enumerate(sizes)]
        # Two large objects only fit edge to edge.
        if sizes == ("large", "large"):
            along = [0, 8] if first_starts else [8, 0]
        across = [pick(size, "middle") for size in sizes]
        horizontal = scene.relation in RELATIONS[:2]
        cells = [(b, a) if horizontal else (a, b) for a, b in zip(along, across, strict=True)]
        names = (scene.first, str(scene.second))
        return [(name, size, *cell) for name, size, cell in zip(names, sizes, cells, strict=True)]
    if scene.count == 4:
        row, column = (int(generator.integers(1, 4)) for _ in range(2))
        cells = [(row + 6 * i, column + 6 * j) for i in range(2) for j in range(2)]
    else:
        row = pick("small", "middle")
        columns = (2, 9) if scene.count == 2 else (0, 5, 11)
        cells = [(row, column) for column in columns]
    return [(scene.first, "small", *cell) for cell in cells]


def sample_scene(generator: np.random.Generator, objects: Sequence[str]) -> Scene:
    """Draws a random scene: 45% single objects, 45% pairs of different objects, 10% groups.

    Pairs and large objects come more often than people ask for them: they hold more of what there is to learn.
    """

    def choose(options: Sequence) -> str:
        return options[int(generator.integers(len(options)))]

    first, background = choose(objects), choose(tuple(BACKGROUNDS))
    kind = generator.random()
    if kind < 0.45:
        position = "center" if generator.random() < 0.2 else choose(POSITIONS)
        size = "large" if generator.random() < 0.65 else "small"
        return Scene(first, background, 1, size, position)
    if kind < 0.9:
        sizes = ["large" if generator.random() < 0.65 else "small" for _ in range(2)]
        second = choose([name for name in objects if name != first])
        return Scene(first, background, 1, sizes[0], None, choose(RELATIONS), second, sizes[1])
    return Scene(first, background, int(generator.integers(2, 5)), "small", None)


def is_held_out(scene: object) -> bool:
    """Whether a scene belongs to the twentieth of all combinations that training never sees."""
    return hashlib.sha256(repr(scene).encode()).digest()[0] < 13


def draw_scenes(draw: Callable[[], AnyScene], count: int, held_out: bool | None) -> list[AnyScene]:
    """Draws scenes of combinations kept out of training, of the others, or of both where `held_out` is None."""
    scenes: list[AnyScene] = []
    while len(scenes) < count:
        scene = draw()
        if held_out in (None, is_held_out(scene)):
            scenes.append(scene)
    return scenes


@functools.cache
def sprite(name: str, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """One object's picture: colour [pixels, pixels, 3] in 0..255 and opacity [pixels, pixels, 1] in 0..1."""
    index = list(CHARACTERS).index(name)
    row, column = divmod(index, _SHEET_COLUMNS)
    box = (column * _SPRITE_PIXELS, row * _SPRITE_PIXELS, (column + 1) * _SPRITE_PIXELS, (row + 1) * _SPRITE_PIXELS)
    # Premultiplied, or the colour of transparent pixels bleeds into the edges.
    picture = _sheet().crop(box).convert("RGBa").resize((pixels, pixels), Image.Resampling.BOX).convert("RGBA")
    array = np.asarray(picture, np.float32)
    return array[..., :3], array[..., 3:] / 255


@functools.cache
def _sheet() -> Image.Image:
    return Image.open(SPRITES_PATH).convert("RGBA")


def draw_sprites(font_path: Path = FONT_PATH) -> Image.Image:
    """Draws the sprite sheet of all objects from the font; `sprites.png` is this, saved."""
    if not font_path.exists():
        raise MissingDependencyError(
            f"the font {font_path} is not installed", "install Debian's package fonts-noto-color-emoji"
        )
    font = ImageFont.truetype(str(font_path), 109)
    rows = -(-len(CHARACTERS) // _SHEET_COLUMNS)
    sheet = Image.new("RGBA", (_SHEET_COLUMNS * _SPRITE_PIXELS, rows * _SPRITE_PIXELS))
    for index, character in enumerate(CHARACTERS.values()):
        glyph = Image.new("RGBA", (136, 136))
        ImageDraw.Draw(glyph).text((0, 4), character, font=font, embedded_color=True)
        # Objects fill the same square whatever margin their glyph has.
        content = glyph.crop(glyph.getbbox())
        side = max(content.size)
        square = Image.new("RGBA", (side, side))
        square.paste(content, ((side - content.width) // 2, (side - content.height) // 2))
        square = square.convert("RGBa").resize((_SPRITE_PIXELS, _SPRITE_PIXELS), Image.Resampling.LANCZOS)
        row, column = divmod(index, _SHEET_COLUMNS)
        sheet.paste(square.convert("RGBA"), (column * _SPRITE_PIXELS, row * _SPRITE_PIXELS))
    return sheet
