"""Files that visitors send, and nothing else of the server's."""

from __future__ import annotations

import base64
import binascii
import mimetypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypedDict

from gradio.utils import get_upload_folder

from mmgen.errors import MmgenError, OutputError
from mmgen.media import read_frames
from mmgen.pipelines.recording import recording
from mmgen.web.limits import MAXIMUM_SECONDS

_CURE = "upload it: gradio_client.handle_file does; or give the address of a result"
MEDIA = [".png", ".jpg", ".jpeg", ".webp", ".gif", ".mp4", ".wav", ".flac", ".ogg", ".mp3"]
"""Endings of what pipelines are told to go on from, or to draw parts of again."""
_MOST_PIXELS = 2**25
"""Of a file, all frames together."""
_LARGEST = 2**25
"""Letters of an address that holds a file."""
_SERVED = "/gradio_api/file="
"""What stands before the path of an uploaded file in its address."""


class _Mark(TypedDict):
    _type: Literal["gradio.FileData"]


class Upload(TypedDict):
    """A file as programs send it; by its mark Gradio knows that programs of MCP may send an address in its place."""

    path: str
    meta: _Mark


def uploaded(file: Any, folder: str | Path) -> Path:
    """The file that a request names.

    Args:
        folder: where what an address holds is written; whoever made it deletes it.
        file: what Gradio's clients make of a file: an object with a `path`; or an address: that of an upload or result
            here, or one that holds all of the file.

    Raises:
        OutputError: it is none that was uploaded.
    """
    path = file.get("path") if isinstance(file, dict) else file
    if isinstance(path, str) and path.startswith("data:"):
        return from_address(path, Path(folder))
    if not isinstance(path, str):
        raise OutputError("the file", "is none", _CURE)
    found = Path(path.partition(_SERVED)[2] or path).resolve()
    if not found.is_relative_to(Path(get_upload_folder()).resolve()) or not found.is_file():
        raise OutputError(Path(path).name, "was not uploaded", _CURE)
    return found


def from_address(address: Any, folder: Path) -> Path:
    """Writes what an address holds, such as `data:image/png;base64,...`, into a file of a folder.

    Raises:
        OutputError: it holds nothing.
    """
    head, _, data = address.partition(",") if isinstance(address, str) else ("", "", "")
    ending = mimetypes.guess_extension(head.removeprefix("data:").removesuffix(";base64"))
    try:
        if ending is None or len(data) > _LARGEST:
            raise ValueError
        path = folder / f"result{ending}"
        path.write_bytes(base64.b64decode(data, validate=True))
    except (ValueError, binascii.Error) as error:
        raise OutputError("the result", "cannot be read", "save it, and give the file") from error
    return path


def contents(path: Path, pipe: Any) -> Any:
    """What a file shows or sounds like, for a pipeline. A pipeline that were told a path would write it into results.

    Returns:
        Frames, uint8 [T, H, W, 3]; or samples [channels, samples] at the pipeline's rate.

    Raises:
        OutputError: the file cannot be read.
        MmgenError: it holds nothing for the pipeline.
    """
    if pipe.medium == "audio":
        return recording(path, pipe.sampling_rate, pipe.tokenizer.channels, MAXIMUM_SECONDS)
    return read_frames(path, _MOST_PIXELS)


@contextmanager
def named(path: str | Path) -> Iterator[None]:
    """Puts the name that a visitor knows into errors, in place of a path of the server."""
    try:
        yield
    except MmgenError as error:
        raise MmgenError(str(error).replace(str(path), Path(path).name)) from error
