"""Files that visitors send, and nothing else of the server's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gradio.utils import get_upload_folder

from mmgen.errors import MmgenError, OutputError

_CURE = "upload it: gradio_client.handle_file does"


def uploaded(file: Any) -> Path:
    """The file that a request names.

    Args:
        file: what Gradio's clients make of a file: an object with a `path`.

    Raises:
        OutputError: it is none that was uploaded.
    """
    path = file.get("path") if isinstance(file, dict) else None
    if not isinstance(path, str):
        raise OutputError("the file", "is none", _CURE)
    found = Path(path).resolve()
    if not found.is_relative_to(Path(get_upload_folder()).resolve()) or not found.is_file():
        raise OutputError(Path(path).name, "was not uploaded", _CURE)
    return found


@contextmanager
def named(path: str | Path) -> Iterator[None]:
    """Puts the name that a visitor knows into errors, in place of a path of the server."""
    try:
        yield
    except MmgenError as error:
        raise MmgenError(str(error).replace(str(path), Path(path).name)) from error
