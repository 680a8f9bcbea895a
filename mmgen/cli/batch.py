"""`mmgen batch`: a file of requests to a folder of media, interrupted at will."""

from __future__ import annotations

import json as json_text
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from mmgen import media
from mmgen.cli import loading, standing
from mmgen.cli.generate import split_options
from mmgen.cli.report import Interrupted, UsageError

_SETTINGS = "How requests are drawn that do not say otherwise"
_WORK = "How the work is done: no byte depends on it"


class Engine(StrEnum):
    """Where workers run."""

    local = "local"
    ray = "ray"


def batch(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="Requests: .jsonl, .txt, .csv or .parquet; - is standard input. Or `status`."
        ),
    ],
    job: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="Behind `status`: the folder of a job.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the files and the manifest, made if missing.")
    ] = None,
    pipeline: Annotated[
        str | None, typer.Option(metavar="NAME", help="A shipped pipeline or a local folder; see `mmgen list`.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the requests, say what they will take, and write nothing.")
    ] = False,
    decoder: Annotated[str | None, typer.Option(rich_help_panel=_SETTINGS, help="See `mmgen decoders`.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", rich_help_panel=_SETTINGS, help="Of the decoder; repeatable."),
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", rich_help_panel=_SETTINGS, help="Of the family; repeatable."),
    ] = None,
    guidance: Annotated[float | None, typer.Option(rich_help_panel=_SETTINGS, help="0 to 50; 1 is without.")] = None,
    temperature: Annotated[float | None, typer.Option(rich_help_panel=_SETTINGS, help="0 to 10.")] = None,
    top_k: Annotated[int | None, typer.Option(rich_help_panel=_SETTINGS, help="0 keeps all tokens.")] = None,
    top_p: Annotated[float | None, typer.Option(rich_help_panel=_SETTINGS, help="1 keeps all tokens.")] = None,
    height: Annotated[int | None, typer.Option(rich_help_panel=_SETTINGS, help="Pixels.")] = None,
    width: Annotated[int | None, typer.Option(rich_help_panel=_SETTINGS, help="Pixels.")] = None,
    count: Annotated[int, typer.Option(min=1, rich_help_panel=_SETTINGS, help="Items of each request.")] = 1,
    seed: Annotated[
        int, typer.Option(min=0, rich_help_panel=_SETTINGS, help="Another number gives requests without seeds others.")
    ] = 0,
    dtype: Annotated[loading.Dtype, typer.Option(help="Type of the weights.")] = loading.Dtype.float32,
    weight_bits: Annotated[int | None, typer.Option(help="8 keeps them in 8; needs mmgen\\[quantisation].")] = None,
    cache_bits: Annotated[int | None, typer.Option(help="16 or 8: cached keys and values in so many bits.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; GPUs by default where there are some.")] = None,
    format: Annotated[str | None, typer.Option(help="Of the files; the usual one of the medium by default.")] = None,
    metadata: Annotated[
        bool, typer.Option("--metadata/--no-metadata", help="Write into each file what made it; see `mmgen show`.")
    ] = True,
    engine: Annotated[
        Engine, typer.Option(rich_help_panel=_WORK, help="Processes of this machine, or actors of Ray (mmgen\\[ray]).")
    ] = Engine.local,
    workers: Annotated[
        int | None, typer.Option(min=1, rich_help_panel=_WORK, help="One for each GPU by default, else for each core.")
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, rich_help_panel=_WORK, help="Items a worker draws at once; by memory if absent."),
    ] = None,
    retries: Annotated[int, typer.Option(min=0, rich_help_panel=_WORK, help="More tries of an item that fails.")] = 2,
    max_errors: Annotated[
        int | None, typer.Option(min=0, rich_help_panel=_WORK, help="Stop when more items than this have failed.")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", rich_help_panel=_WORK, help="Try again what an earlier run gave up.")
    ] = False,
    parquet: Annotated[
        bool, typer.Option("--parquet", help="Write the manifest as Parquet, too; needs mmgen\\[parquet].")
    ] = False,
    shards: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Write WebDataset shards of N items, too.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, on a terminal, too.")] = False,
) -> int:
    """Draw a file of requests into a folder. The same command goes on where it was interrupted.

    Example: mmgen batch prompts.jsonl --out out; mmgen batch status out
    """
    if source == "status":
        return standing.status(job, json)
    if job is not None or out is None:
        raise UsageError("write `mmgen batch FILE --out DIR`, or `mmgen batch status DIR`")
    from mmgen.batch.foreman import Rules
    from mmgen.batch.job import Settings

    defaults = {
        "decoder": decoder, "guidance": guidance, "temperature": temperature, "top_k": top_k, "top_p": top_p,
        "height": height, "width": width, "decoder_options": _options(option or []) or None,
        **split_options(condition or [], "condition"),
    }  # fmt: skip
    settings = Settings(
        loading.source(pipeline), str(dtype), device, weight_bits, cache_bits,
        {name: value for name, value in defaults.items() if value is not None} | {"count": count}, seed, format,
        metadata,
    )  # fmt: skip
    rules = Rules(workers, batch_size, retries, max_errors, retry_failed)
    return work(source, settings, out, rules, engine, parquet, shards, dry_run, json)


def work(
    source: str,
    settings: Any,
    out: Path,
    rules: Any,
    engine: Engine,
    parquet: bool,
    shards: int | None,
    dry_run: bool,
    json: bool,
) -> int:
    """Estimates or runs a job.

    Returns:
        The exit code: 0, or 3 where items failed.

    Raises:
        UsageError: there are requests that cannot be drawn, or no file of requests.
        Interrupted: by Ctrl-C; what was written stays.
    """
    from mmgen.batch import manifest, rows, run
    from mmgen.batch.estimate import estimate
    from mmgen.batch.worker import Loader
    from mmgen.errors import OptionError

    if parquet:
        manifest.check_parquet()
    media.check_folder(out)
    try:
        with rows.opened(source) as opened:
            if dry_run:
                recruit = recruiter(Engine.local, settings, Loader(settings))
                standing.show(estimate(opened, settings, out, rules, recruit), json)
                return 0
            recruit = recruiter(engine, settings, Loader(settings))
            summary = run.run(opened, settings, out, rules, _reporter(json), recruit, run.Extras(parquet, shards))
    except (rows.RowsError, OptionError) as error:
        raise UsageError(str(error)) from error
    except KeyboardInterrupt as interruption:
        raise Interrupted(f"interrupted: the same command goes on with {out}") from interruption
    return standing.end(summary, out, json)


def recruiter(engine: Engine, settings: Any, load: Callable[[str], Any]) -> Callable[[], Any]:
    """Makes the crew of an engine, once it is needed."""
    from mmgen.batch.crew import LocalCrew, Recruit

    if engine is Engine.local:
        return lambda: LocalCrew(Recruit(settings, load))
    from mmgen.batch.cluster import RayCrew

    return lambda: RayCrew(Recruit(settings, load))


def _options(words: list[str]) -> dict[str, Any]:
    """Options of a decoder; the decoder says what is none."""
    return {name: _value(word) for name, word in split_options(words, "option").items()}


def _value(word: str) -> Any:
    try:
        return json_text.loads(word)
    except ValueError:
        return word


def _reporter(json: bool) -> Any:
    from mmgen.batch.progress import Bar, Lines

    return Bar() if sys.stderr.isatty() and not json else Lines()
