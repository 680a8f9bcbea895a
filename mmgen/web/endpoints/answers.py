"""What all endpoints say alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from mmgen.errors import MmgenError
from mmgen.web.studio import Frame, save
from mmgen.web.visits import refusal


def rows(frame: Frame, folder: str) -> list[dict[str, Any]]:
    """What programs are told of a frame."""
    files = save(frame, folder) if frame.finished else [None] * len(frame.statistics)
    return [{**row, "file": as_file(path) if path else None} for row, path in zip(frame.statistics, files, strict=True)]


def as_file(path: Path) -> dict[str, Any]:
    """A file that clients fetch."""
    return gr.FileData(path=str(path)).model_dump()


@contextmanager
def in_words() -> Iterator[None]:
    """Tells programs what mmgen refuses, in its own words."""
    try:
        yield
    except MmgenError as error:
        raise refusal(str(error)) from error
