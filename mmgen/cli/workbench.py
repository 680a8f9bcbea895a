"""`mmgen bench`, `evaluate`, `train` and `app`: measuring, making, and the web page."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mmgen import media
from mmgen.cli import loading
from mmgen.cli.prompts import read_prompts
from mmgen.cli.report import Interrupted, UsageError, print_json, print_table
from mmgen.errors import MissingDependencyError

Pipeline = Annotated[str | None, typer.Option(metavar="NAME", help="A shipped pipeline or a local folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def bench(
    pipeline: Pipeline = None,
    decoders: Annotated[
        str | None, typer.Option(metavar="A,B", help="Such as jacobi:window=32,proactive; all by default.")
    ] = None,
    prompts: Annotated[int, typer.Option(min=1, help="Prompts to draw.")] = 8,
    captions: Annotated[
        str | None, typer.Option(metavar="FILE", help="Take the prompts from a UTF-8 text file; needed without scenes.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Times each is drawn.")] = 3,
    batch: Annotated[str, typer.Option(metavar="N,M", help="Prompts drawn at once; several sizes are compared.")] = "1",
    seed: Annotated[int, typer.Option(help="Chooses the prompts, and seeds the pictures.")] = 0,
    baseline: Annotated[
        bool,
        typer.Option(
            "--baseline/--no-baseline", help="Add transformers' generate, on a Llama of the same shape or on MusicGen."
        ),
    ] = True,
    quality: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Draw N more pictures with each, untimed, and measure their quality."),
    ] = 0,
    height: Annotated[int | None, typer.Option(help="Pixels; the model's own size by default.")] = None,
    width: Annotated[int | None, typer.Option(help="Pixels; likewise.")] = None,
    duration: Annotated[
        float | None, typer.Option(help="Seconds of each recording; the model's own by default.")
    ] = None,
    json: Json = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a PNG plot of speed-ups.")] = None,
    quality_plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a PNG plot of speed against quality; needs --quality.")
    ] = None,
) -> None:
    """Compare decoders on the same prompts and seeds: evaluations, seconds, speed-up, adherence and quality."""
    sizes = _numbers(batch)
    if quality_plot is not None and not quality:
        raise UsageError("--quality-plot needs pictures to measure: add --quality 400")
    _check_plot("--plot", plot)
    _check_plot("--quality-plot", quality_plot)
    texts = None if captions is None else [text for _, text in read_prompts(captions)]
    name = loading.source(pipeline)
    from mmgen.evaluation import bench as benchmark
    from mmgen.evaluation.rows import table

    pipe = loading.load(name, device=loading.choose_device(None))
    given = (("height", height), ("width", width), ("duration", duration))
    size = {name: value for name, value in given if value is not None}
    rows = benchmark.run(pipe, decoders, prompts, repeats, sizes, seed, baseline, _log, quality, texts, size)
    if plot is not None:
        from mmgen.evaluation.plot import draw

        _write_plot(draw, rows, plot)
    if quality_plot is not None:
        from mmgen.evaluation.quality_plot import draw as draw_quality

        _write_plot(draw_quality, rows, quality_plot)
    if json:
        print_json([row.to_dict() for row in rows])
    else:
        print(table(rows))


def evaluate(
    pipeline: Pipeline = None,
    count: Annotated[int, typer.Option(min=1, help="Held-out captions to draw.")] = 400,
    seed: Annotated[int, typer.Option(help="Chooses the captions, and seeds the pictures.")] = 0,
    json: Json = False,
) -> None:
    """Measure how well what a pipeline draws follows captions kept out of its training."""
    from mmgen.evaluation import judges

    name = loading.source(pipeline)
    pipe = loading.load(name, device=loading.choose_device(None))
    report = judges.evaluate(pipe, count, seed, log=_log).to_dict()
    if json:
        print_json({"pipeline": name, "revision": pipe.revision, "count": count, "seed": seed, **report})
        return
    measures = [(measure, value) for measure, value in report.items() if "share" in value]
    print_table(
        ("measure", "right", "of", "share"),
        [(measure.replace("_", " "), part["right"], part["of"], _percent(part["share"])) for measure, part in measures],
    )


def train(
    name: Annotated[str | None, typer.Argument(help="What to make; see --list.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0, help="End the schedule after this time.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps in place of the recipe's.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    compile: Annotated[bool, typer.Option("--compile", help="Compile the training step where the recipe can.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder to write; the shipped one by default.")
    ] = None,
    work: Annotated[Path, typer.Option(metavar="DIR", help="Folder for checkpoints, to resume from.")] = Path("runs"),
    start_from: Annotated[
        str | None, typer.Option(metavar="NAME", help="Begin with the weights of this pipeline, to train it further.")
    ] = None,
    list: Annotated[bool, typer.Option("--list", help="List what can be made, and leave.")] = False,
) -> None:
    """Remake a shipped tokenizer or pipeline from its recipe; continues where an earlier run stopped."""
    if name is None and not list:
        raise UsageError("give the name of a recipe; `mmgen train --list` shows them")
    from mmgen.training import recipes

    if list:
        print("\n".join(recipes.RECIPES))
        return
    assert name is not None
    try:
        folder = recipes.train(
            name, out, work, minutes, steps, loading.choose_device(device), compile, start_from=start_from
        )
    except KeyboardInterrupt as interruption:
        message = f"interrupted: `mmgen train {name}` continues from the last checkpoint in {work / name}"
        raise Interrupted(message) from interruption
    print(f"written to {folder}")


def app(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 7860,
    share: Annotated[bool, typer.Option("--share", help="Make a public link through Gradio's servers.")] = False,
    password: Annotated[str | None, typer.Option(envvar="MMGEN_PASSWORD", help="Ask visitors for it.")] = None,
    root_path: Annotated[
        str | None, typer.Option(metavar="PATH", help="Path under which a reverse proxy serves the page.")
    ] = None,
    mcp: Annotated[bool, typer.Option("--mcp", help="Serve the endpoints as tools, too; needs mmgen\\[mcp].")] = False,
) -> None:
    """Open the web page."""
    import importlib.util

    if importlib.util.find_spec("gradio") is None:
        raise MissingDependencyError("gradio is not installed", "install mmgen[web]: pip install 'mmgen[web]'")
    from mmgen.web.app import launch

    launch(host=host, port=port, share=share, password=password, root_path=root_path, mcp=mcp)


def _numbers(words: str) -> list[int]:
    try:
        numbers = [int(word) for word in words.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise UsageError(f"--batch {words!r}: write whole numbers above 0 such as 1,8")
    return numbers


def _check_plot(flag: str, path: Path | None) -> None:
    if path is not None:
        if path.suffix.lower() != ".png":
            raise UsageError(f"{flag} {str(path)!r}: write a file name that ends in .png")
        media.check_folder(path.parent)


def _write_plot(draw: Callable[[Any, Path], None], rows: Sequence[Any], path: Path) -> None:
    media.make_folder(path.parent)
    draw(rows, path)
    _log(f"plot written to {path}")


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _log(line: str) -> None:
    print(line, file=sys.stderr)
