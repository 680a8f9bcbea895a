"""Files of pictures and clips, opened for reading by what they begin with, whatever they are called."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmgen.errors import OutputError

if TYPE_CHECKING:
    from PIL import Image

_PICTURES = ("PNG", "JPEG", "GIF", "WEBP", "BMP")
"""What Pillow reads without the help of another program."""

_BEGINNINGS = {"mp4": (4, b"ftyp"), "matroska": (0, b"\x1a\x45\xdf\xa3"), "avi": (8, b"AVI ")}
"""Containers of clips, and the bytes at a place that tell. Others may be lists of addresses to fetch from."""

_CURE = "give a file that plays elsewhere, or one that mmgen wrote"


def opened_picture(path: Path) -> Image.Image:
    """A picture, moving or still, whose pixels are not read yet; a context that closes the file.

    Raises:
        OutputError: there is no such file, or it is none.
    """
    from PIL import Image

    try:
        return Image.open(path, formats=_PICTURES)
    except FileNotFoundError as error:
        raise _absent(path) from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise OutputError(path, "is not a picture or clip that can be read", _CURE) from error


def opened_clip(path: Path) -> Any:
    """A clip as PyAV's container, a context that closes the file; None where the file does not begin as one.

    Raises:
        OutputError: there is no such file, or it breaks off.
    """
    container = _container(path)
    if container is None:
        return None
    import av

    try:
        return av.open(str(path), format=container, metadata_errors="replace")
    except (OSError, ValueError) as error:  # PyAV's errors are among them
        raise OutputError(path, "is a broken clip", _CURE) from error


def _container(path: Path) -> str | None:
    try:
        with open(path, "rb") as file:
            beginning = file.read(16)
    except FileNotFoundError as error:
        raise _absent(path) from error
    except OSError as error:
        raise OutputError(path, "is not a picture or clip that can be read", _CURE) from error
    for name, (place, letters) in _BEGINNINGS.items():
        if beginning[place:].startswith(letters):
            return name
    return None


def _absent(path: Path) -> OutputError:
    return OutputError(path, "there is no such file", "give a picture or clip that mmgen wrote")
