"""`mmgen convert`: published checkpoints to folders of ours."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from mmgen import media
from mmgen.cli import loading
from mmgen.cli.report import print_json
from mmgen.errors import OutputError


def convert(
    source: Annotated[str, typer.Argument(help="A file or folder as published, or owner/name[:file] of the Hub.")],
    destination: Annotated[Path, typer.Argument(metavar="DESTINATION", help="Folder to write; it must be new.")],
    tokenizer: Annotated[
        str | None, typer.Option(metavar="FILE", help="The image tokenizer, where it is published apart.")
    ] = None,
    text_encoder: Annotated[
        str | None, typer.Option(metavar="DIR", help="The text encoder, where it is published apart.")
    ] = None,
    draft: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A smaller model of the same codes, where the family takes one."),
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(metavar="FILE", help="The model that a student was distilled from.")
    ] = None,
    companion: Annotated[
        str | None, typer.Option(metavar="DIR", help="An autoregressive model of the same codes, likewise.")
    ] = None,
    image_size: Annotated[int | None, typer.Option(help="Pixels of a side, where the files do not say.")] = None,
    heads: Annotated[int | None, typer.Option(help="Attention heads, where the files do not say.")] = None,
    dtype: Annotated[
        loading.Dtype, typer.Option(help="Type of the weights in the new folder.")
    ] = loading.Dtype.float32,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Turn a published checkpoint into a folder that every command takes, with safetensors and no code.

    Example: mmgen convert c2i_B_256.pt llamagen-b-256
    """
    destination = Path(os.path.abspath(destination))
    if os.path.lexists(destination) and (not destination.is_dir() or any(destination.iterdir())):
        raise OutputError(destination, "exists and is not an empty folder", "give a new name")
    media.check_folder(destination.parent)
    import torch
    from diffusers.utils import logging

    import mmgen

    logging.set_verbosity_error()
    models = {"tokenizer": tokenizer, "text_encoder": text_encoder}
    models |= {"draft": draft, "teacher": teacher, "companion": companion}
    given = {**models, "image_size": image_size, "heads": heads}
    options = {name: value for name, value in given.items() if value is not None}
    pipe = mmgen.load(loading.source(source), getattr(torch, dtype), **options)
    save_whole(pipe, destination)
    about = {"path": str(destination), "pipeline": type(pipe).__name__, "revision": pipe.revision}
    if json:
        print_json(about)
    else:
        print(f"{about['pipeline']} {about['revision']} written to {destination}")


def save_whole(pipe: object, destination: Path) -> None:
    """Writes a pipeline's folder, which appears under its name once it is complete.

    Raises:
        OutputError: it cannot be written.
    """
    from safetensors import SafetensorError

    media.make_folder(destination.parent)
    temporary = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent))
    try:
        temporary.chmod(0o755)
        pipe.save_pretrained(temporary)  # type: ignore[attr-defined]
        os.replace(temporary, destination)
    except (OSError, SafetensorError) as error:
        raise OutputError(destination, f"cannot be written ({error})", "free space or choose another place") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
