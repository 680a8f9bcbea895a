"""Draws the README's clips: `python assets/clips.py [FILE]`."""

import sys
from pathlib import Path

from samples import sheet

import mmgen
from mmgen import media

PROMPTS = (
    "a red ball bounces from left to right on a blue background",
    "a cat moves up while a star moves down on a green background",
    "a rocket moves up slowly on a black background",
    "a butterfly bounces on a yellow background",
    "a soccer ball bounces quickly while a robot stays",
    "an airplane moves from left to right while a sailboat moves from right to left",
    "a frog bounces slowly on a purple background",
    "an automobile moves to the left on a gray background",
    "a penguin moves down while a fish moves up on a red background",
    "a green ball bounces quickly up and down",
)
SEED = 1


def main(path: Path) -> None:
    output = mmgen.load("moving-64")(PROMPTS, seed=SEED)
    frames = [sheet(together, scale=2) for together in zip(*output.frames, strict=True)]
    media.write_clip(path, frames, output.frames_per_second, metadata=None)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("clips.gif"))
