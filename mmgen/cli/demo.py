"""`mmgen demo`: three pictures, and what the pipeline's decoder saves over plain autoregression."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mmgen import media
from mmgen.cli import loading
from mmgen.cli.report import Interrupted

PROMPTS = {
    "a red apple to the left of a cat on a blue background": 7,
    "a small rocket in the top right on a purple background": 8,
    "three sunflowers on a green background": 9,
}
"""What is drawn, with the seeds."""


def demo(out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the files.")] = Path("out")) -> None:
    """Draw three prompts and compare the pipeline's own decoder with plain autoregression."""
    media.check_folder(out)
    name = loading.source(None)
    place = loading.choose_device(None)
    pipe = loading.load(name, device=place)
    media.make_folder(out)
    _warm_up(pipe)
    written = 0
    try:
        for prompt, seed in PROMPTS.items():
            path = out / media.file_name(prompt, seed)
            _compare(pipe, prompt, seed, path, {"pipeline": name, "device": place})
            written += 1
    except KeyboardInterrupt as interruption:
        raise Interrupted(f"interrupted: {written} of {len(PROMPTS)} pictures written to {out}") from interruption
    print(f"The pictures are in {out.resolve()}. Next, try:")
    print(f"  mmgen show {out / media.file_name(*next(iter(PROMPTS.items())))}")
    print(f'  mmgen generate "two stars on a black background" --seed 1 --count 4 --out {out}')
    print("  mmgen list --words")


def _compare(pipe: Any, prompt: str, seed: int, path: Path, made_with: dict[str, Any]) -> None:
    own = pipe(prompt, seed=seed)
    media.write_png(path, own.images[0], media.describe(own.statistics[0], **made_with))
    plain = pipe(prompt, seed=seed, decoder="autoregressive")
    fast, slow = own.statistics[0], plain.statistics[0]
    print(f"{prompt!r}, seed {seed}: {path}")
    print(
        f"  {fast.decoder}: {fast.evaluations} evaluations, {fast.tokens_per_evaluation:.2f} tokens per evaluation,"
        f" {fast.seconds:.2f} s"
    )
    print(f"  {slow.decoder}: {slow.evaluations} evaluations, {slow.seconds:.2f} s")
    print(
        f"  {slow.evaluations / fast.evaluations:.1f} times fewer evaluations,"
        f" {slow.seconds / fast.seconds:.1f} times the speed" + _verdict(pipe.decoder, own.images[0], plain.images[0]),
        flush=True,
    )


def _verdict(decoder: Any, own: Any, plain: Any) -> str:
    """Whether the pixels are equal, for decoders that promise it."""
    if not decoder.seeded:
        return ""
    return "; the pixels are equal" if own.tobytes() == plain.tobytes() else "; the pixels DIFFER"


def _warm_up(pipe: Any) -> None:
    """A few evaluations, so that the first picture does not pay for what happens once in a process."""
    steps = pipe.draw(next(iter(PROMPTS)), seed=0)
    for _ in range(3):
        next(steps)
    steps.close()
