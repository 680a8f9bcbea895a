"""Draws the README's row of pictures: `python assets/samples.py [FILE]`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

import mmgen

PROMPTS = (
    "a red apple to the left of a cat on a blue background",
    "a penguin above a small fish",
    "three stars on a purple background",
    "a rocket in the top right on a black background",
    "a dog to the left of a tree on a green background",
    "a jack-o-lantern on a black background",
    "a small bee in the top left on a yellow background",
    "a balloon to the right of a birthday cake",
    "four strawberries on a gray background",
    "a house below a cloud on a blue background",
)
SEED = 1


def sheet(images: Sequence[Image.Image], scale: int, columns: int = 5, gap: int = 6) -> Image.Image:
    """Pictures of one size in rows."""
    side = images[0].width * scale
    rows = -(-len(images) // columns)
    made = Image.new("RGB", (columns * (side + gap) - gap, rows * (side + gap) - gap), "white")
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        made.paste(image.resize((side, side), Image.Resampling.NEAREST), (column * (side + gap), row * (side + gap)))
    return made


def main(path: Path) -> None:
    sheet(mmgen.load("emoji-64")(PROMPTS, seed=SEED).images, scale=3).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("samples.png"))
