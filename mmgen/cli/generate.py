"""`mmgen generate`: prompts to pictures or clips in files."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from mmgen import media
from mmgen.cli import files, loading
from mmgen.cli.prompts import Line, check_prompts, read_prompts
from mmgen.cli.report import Interrupted, UsageError, print_json
from mmgen.errors import OptionError

_FILES = ("continue_from", "recording", "interval")
"""Settings that say what is read and encoded beforehand."""


@dataclass(frozen=True)
class Request:
    """One picture or clip to draw."""

    line: int | None
    prompt: str
    seed: int


def generate(
    prompt: Annotated[str | None, typer.Argument(help="What to draw: `mmgen list --words` shows the words.")] = None,
    prompts: Annotated[
        str | None, typer.Option(metavar="FILE", help="Draw every line of a UTF-8 text file; - is standard input.")
    ] = None,
    pipeline: Annotated[
        str | None, typer.Option(metavar="NAME", help="A shipped pipeline or a local folder; see `mmgen list`.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of each prompt's first file, the next ones count up; random if absent.")
    ] = None,
    decoder: Annotated[str | None, typer.Option(help="How tokens are decoded; see `mmgen decoders`.")] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="An option of the decoder; repeatable.")
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="What else a family may be told, such as negative_prompt=...; repeatable."
        ),
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Weight of the prompt, 0 to 50; 1 is without guidance.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="0 to 10; 0 takes the likeliest tokens.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Keep the k likeliest tokens; 0 keeps all.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Keep the likeliest tokens up to this probability.")] = None,
    count: Annotated[int, typer.Option(min=1, max=files.MOST_FILES, help="Files of each prompt.")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Files that are made at the same time.")] = 8,
    height: Annotated[int | None, typer.Option(help="Pixels; the model's own size by default.")] = None,
    width: Annotated[int | None, typer.Option(help="Pixels; likewise.")] = None,
    frames: Annotated[int | None, typer.Option(help="Frames of a clip; the model's own number by default.")] = None,
    continue_from: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="What the result begins with, where a family can go on."),
    ] = None,
    recording: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write part of this sound anew; needs --interval.")
    ] = None,
    interval: Annotated[
        str | None, typer.Option(metavar="START,END", help="Which part: from which second to which, such as 1.5,4.")
    ] = None,
    dtype: Annotated[loading.Dtype, typer.Option(help="Type of the weights.")] = loading.Dtype.float32,
    weight_bits: Annotated[
        int | None, typer.Option(help="8 keeps the weights of linear layers in 8 bits; needs mmgen\\[quantisation].")
    ] = None,
    cache_bits: Annotated[int | None, typer.Option(help="16 or 8: cached keys and values in so many bits.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; a GPU by default where there is one.")] = None,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for the files, made if missing; or one file, such as cat.png.")
    ] = Path("."),
    format: Annotated[
        str | None,
        typer.Option(help="Of the files: png; mp4, gif, webp or png of clips; wav, flac or ogg of sound."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per file.")] = False,
    metadata: Annotated[
        bool, typer.Option("--metadata/--no-metadata", help="Write into each file what made it; see `mmgen show`.")
    ] = True,
) -> None:
    """Draw prompts and write files that say how they were made: PNG, of clips MP4, of sound WAV.

    Example: mmgen generate "a red apple to the left of a cat on a blue background" --seed 7 --out out
    """
    if (prompt is None) == (prompts is None):
        raise UsageError("give either a prompt or --prompts FILE, one of both")
    given, conditions = split_options(option or [], "option"), split_options(condition or [], "condition")
    lines: list[Line] = [(None, prompt)] if prompt is not None else read_prompts(prompts or "")
    media.check_folder(files.split_out(out)[0])
    name = loading.source(pipeline)
    place = loading.choose_device(device)
    pipe = loading.load(name, dtype, place, weight_bits, cache_bits)
    to = files.choose(out, format, pipe.medium)
    told = {"frames": frames, "continue_from": continue_from, "recording": recording, "interval": interval}
    told = {name: value for name, value in told.items() if value is not None}
    check_conditions(conditions, told, pipe)
    settings = {
        "decoder": decoder,
        "decoder_options": parse_options(given, decoder, pipe),
        "guidance": guidance,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "height": height,
        "width": width,
        **told,
        **conditions,
    }
    once = iter([settings])  # what a clip begins with is read and encoded once, not for every prompt
    others = {name: value for name, value in settings.items() if name not in _FILES}
    check_prompts(lines, lambda text: to.check_size(pipe.size(pipe.plan(text, seed=0, **next(once, others)).layout)))
    to.check_count(len(lines) * count)
    requests = plan(lines, secrets.randbelow(2**32) if seed is None else seed, count)
    media.make_folder(to.folder)
    if seed is None:
        print(f"seed {requests[0].seed}, chosen at random", file=sys.stderr)
    made_with = {
        "pipeline": name,
        "dtype": str(dtype),
        "device": place,
        "weight_bits": weight_bits,
        "cache_bits": cache_bits,
        "format": None if to.usual else to.format,
    }
    draw_files(pipe, requests, settings, batch, to, made_with, metadata, json)


def check_conditions(conditions: Mapping[str, Any], told: Mapping[str, Any], pipe: Any) -> None:
    """Refuses conditions that a pipeline does not have, and those that were given by their own flag, too.

    Raises:
        UsageError: a flag says what the pipeline does not take.
        OptionError: a condition is not there, or is given twice.
    """
    for name in told:
        if name not in pipe.condition_defaults:
            raise UsageError(f"--{name.replace('_', '-')}: {files.NOUNS[pipe.medium]} of this pipeline take none")
    for name, value in conditions.items():
        if name not in pipe.condition_defaults:
            needed = ", ".join(pipe.condition_defaults) or "none: the pipeline takes no conditions"
            raise OptionError(name, value, f"one of {needed}")
        if name in told:
            raise OptionError(name, value, f"left out: --{name.replace('_', '-')} says {told[name]!r}")


def draw_files(
    pipe: Any,
    requests: Sequence[Request],
    settings: Mapping[str, Any],
    batch: int,
    to: files.Files,
    made_with: Mapping[str, Any],
    metadata: bool,
    json: bool,
) -> None:
    """Draws pictures or clips in batches, writes each to its file and reports it.

    Args:
        settings: arguments of the pipeline's call beside prompt and seed.
        to: where the files go.
        made_with: pipeline, dtype, device, bits and format, as `mmgen.media.describe` takes them.
        metadata: whether files say what made them.

    Raises:
        Interrupted: by Ctrl-C; every file that was written is whole.
    """
    written = 0
    try:
        for start in range(0, len(requests), batch):
            some = requests[start : start + batch]
            output = pipe([request.prompt for request in some], seed=[request.seed for request in some], **settings)
            results = files.results(output, pipe.medium)
            for request, result, statistics in zip(some, results, output.statistics, strict=True):
                path = to.path(request.prompt, request.seed, request.line)
                if path.exists():
                    print(f"{path}: takes the place of a file that was there", file=sys.stderr)
                files.write(path, result, output, media.describe(statistics, **made_with) if metadata else None)
                written += 1
                report(path, {**statistics, "pipeline": made_with["pipeline"]}, json)
    except KeyboardInterrupt as interruption:
        drawn = f"{written} of {len(requests)} {files.NOUNS[pipe.medium]}"
        raise Interrupted(f"interrupted: {drawn} written to {to.folder}") from interruption


def plan(lines: list[Line], seed: int, count: int) -> list[Request]:
    """One request for each picture or clip, prompts in order.

    Raises:
        OptionError: a seed is out of range.
    """
    from mmgen.pipelines.seeds import choose_seeds

    seeds = choose_seeds(seed, None, len(lines), count)
    repeated = [line for line in lines for _ in range(count)]
    return [Request(line, prompt, seed) for (line, prompt), seed in zip(repeated, seeds, strict=True)]


def split_options(words: list[str], flag: str) -> dict[str, str]:
    """`NAME=VALUE` words of a flag as a mapping."""
    options: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            example = "window=16" if flag == "option" else "padding=left"
            raise UsageError(f"--{flag} {word!r}: write NAME=VALUE, such as --{flag} {example}")
        if name in options:
            raise UsageError(f"--{flag} {name} is given twice")
        options[name] = value
    return options


def parse_options(given: Mapping[str, str], decoder: str | None, pipe: Any) -> dict[str, Any]:
    """Values as the types the decoder declares; what cannot be read stays text, which the decoder refuses by name.

    Raises:
        UnknownNameError: there is no such decoder.
    """
    from mmgen.decoding.options import read_value

    kind = pipe.algorithms.make(decoder) if decoder is not None else pipe.decoder
    types = {option["name"]: option["type"] for option in kind.describe()["options"]}
    return {name: read_value(value, types.get(name, "str")) for name, value in given.items()}


def report(path: Path, statistics: Mapping[str, Any], json: bool) -> None:
    """Says that a file is written."""
    if json:
        print_json({"path": str(path), **statistics})
        return
    print(
        f"{path}  {statistics['decoder']}: {statistics['evaluations']} evaluations,"
        f" {statistics['tokens_per_evaluation']:.2f} tokens each, {statistics['seconds']:.2f} s",
        flush=True,
    )
