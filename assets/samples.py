"""Draws the README's row of pictures: `python assets/samples.py [FILE]`."""

import sys
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
SEED, SCALE, GAP, COLUMNS = 1, 3, 6, 5


def main(path: Path) -> None:
    images = mmgen.load("emoji-64")(PROMPTS, seed=SEED).images
    side = images[0].width * SCALE
    rows = -(-len(images) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (side + GAP) - GAP, rows * (side + GAP) - GAP), "white")
    for index, image in enumerate(images):
        row, column = divmod(index, COLUMNS)
        sheet.paste(image.resize((side, side), Image.Resampling.NEAREST), (column * (side + GAP), row * (side + GAP)))
    sheet.save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("samples.png"))
