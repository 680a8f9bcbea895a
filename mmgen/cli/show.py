"""`mmgen show`: what made a file, and the command that makes it again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmgen import media
from mmgen.cli.report import one_line, print_json


def show(
    file: Annotated[Path, typer.Argument(help="A picture, clip or recording that mmgen wrote.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object: the metadata and the command.")] = False,
) -> None:
    """Print what made a file, and the command that makes it again."""
    metadata = media.read_metadata(file)
    command = media.command(metadata)
    if json:
        print_json({"path": str(file), **metadata, "command": command})
        return
    for name, value in metadata.items():
        words = one_line(value) if isinstance(value, str) else media.json_word(value)
        print(f"{name + ':':23}{words}")
    print(f"\n{command}")
