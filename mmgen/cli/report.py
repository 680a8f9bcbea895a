"""What commands print: JSON lines, tables, and one-line messages."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import typer

UsageError: Any = typer.BadParameter.__mro__[1]
"""What typer raises for a command line it cannot read; which package defines it depends on typer's version."""


class Interrupted(Exception):
    """Ctrl-C, with a line that says how far the command had come."""


def one_line(text: str) -> str:
    """Text with every run of white space made one space."""
    return " ".join(text.split())


def print_json(value: Any) -> None:
    """One JSON value on one line, at once."""
    print(json.dumps(value, default=str), flush=True)


def print_wrapped(start: str, words: Iterable[str]) -> None:
    """Words with commas between; on terminals in lines as wide as these, elsewhere in one."""
    line = start + ", ".join(words)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else len(line)
    indent = " " * min(len(start), width // 2)
    print(textwrap.fill(line, width, subsequent_indent=indent, break_on_hyphens=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table; wrapped to the terminal, and as wide as it needs to be elsewhere."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else 1000).print(table, soft_wrap=not sys.stdout.isatty())
