"""Pictures as PNG files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmgen.media.files import written_whole
from mmgen.media.metadata import KEY, as_text

if TYPE_CHECKING:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo


def write_png(path: Path, image: Image.Image, metadata: Mapping[str, Any] | None) -> None:
    """Writes a picture atomically, with its metadata as PNG text (iTXt, UTF-8) under `KEY`.

    Args:
        path: of the file; its folder exists.
        metadata: JSON values by name, as `describe` makes them; None writes the pixels alone.

    Raises:
        OutputError: the file cannot be written; nothing is left of it, and an older one is untouched.
    """
    with written_whole(path) as file:
        image.save(file, format="PNG", pnginfo=png_text(metadata))


def png_text(metadata: Mapping[str, Any] | None) -> PngInfo:
    """What Pillow writes beside the pixels of a PNG."""
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    if metadata is not None:
        text.add_itxt(KEY, as_text(metadata))
    return text
