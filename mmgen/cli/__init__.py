"""The command line. Commands import what they need when they run, so that help is quick."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from mmgen import __version__
from mmgen.cli import batch, convert, demo, environment, generate, listing, show, workbench
from mmgen.cli.report import Interrupted, UsageError, one_line
from mmgen.errors import MmgenError

TRACEBACK = "MMGEN_TRACEBACK"
"""Environment variable: where it is set, errors come with their traceback."""

app = typer.Typer(
    name="mmgen",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Autoregressive image, audio and video generation made fast.",
)
app.command("generate")(generate.generate)
app.command("batch")(batch.batch)
app.command("convert")(convert.convert)
app.command("show")(show.show)
app.command("list")(listing.list_pipelines)
app.command("decoders")(listing.list_decoders)
app.command("demo")(demo.demo)
app.command("doctor")(environment.doctor)
app.command("bench")(workbench.bench)
app.command("evaluate")(workbench.evaluate)
app.command("train")(workbench.train)
app.command("app")(workbench.app)


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    if version:
        typer.echo(f"mmgen {__version__}")
        raise typer.Exit()
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: list[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: the words after `mmgen`; those of the process by default.

    Returns:
        The exit code: 0, 1 for an error, 2 for a command line that cannot be read, 130 after Ctrl-C.
        Errors are one line on standard error; a traceback comes where `MMGEN_TRACEBACK` is set.
    """
    try:
        code = app(arguments, prog_name="mmgen", standalone_mode=False)
        sys.stdout.flush()
    except Exception as error:
        if isinstance(error, BrokenPipeError):
            _forget_standard_output()
            return 1
        if os.environ.get(TRACEBACK):
            raise
        return _complain(error)
    except KeyboardInterrupt:
        code = 130
    except SystemExit as leaving:  # typer and rich leave this way where the reader of a pipe has gone
        return leaving.code if isinstance(leaving.code, int) else 1
    if code == 130:
        print("mmgen: interrupted", file=sys.stderr)
    return code if isinstance(code, int) else 0


def _complain(error: Exception) -> int:
    """Says what is wrong in one line, and gives the exit code."""
    if isinstance(error, Interrupted | typer.Abort):
        print(f"mmgen: {one_line(str(error)) or 'interrupted'}", file=sys.stderr)
        return 130
    if isinstance(error, UsageError):
        words, code = error.format_message(), 2
    elif isinstance(error, MmgenError):
        words, code = str(error), 1
    else:
        words, code = f"{type(error).__name__}: {error} (set {TRACEBACK}=1 to see where)", 1
    print(f"mmgen: error: {one_line(words)}", file=sys.stderr)
    return code


def _forget_standard_output() -> None:
    """Keeps the interpreter from flushing to a pipe nobody reads any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
