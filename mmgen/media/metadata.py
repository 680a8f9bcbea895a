"""What a file says of how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmgen import __version__
from mmgen.errors import OutputError
from mmgen.media.container import opened_clip, opened_picture
from mmgen.media.sound import sound_comment

if TYPE_CHECKING:
    from PIL import Image

KEY = "parameters"
"""Key of the PNG text that holds the metadata, as JSON. In other formats it is the comment."""

EXIF_PART, EXIF_COMMENT, EXIF_CODE = 0x8769, 0x9286, b"ASCII\0\0\0"
"""Where Exif keeps a user's comment, and how it says that the letters of one are ASCII."""

_FROM_STATISTICS = (
    "prompt", "seed", "decoder", "law", "options", "sampling", "conditions", "size", "revision",
    "tokens", "evaluations", "draft_evaluations", "tokens_per_evaluation", "complete",
)  # fmt: skip
_TYPES = {
    "prompt": str,
    "seed": int,
    "pipeline": str,
    "decoder": str,
    "options": dict,
    "sampling": dict,
    "conditions": dict,
    "size": list,
}
_OPTIONAL = ("conditions", "size")
"""What files of earlier versions do not say."""


def describe(
    statistics: Mapping[str, Any],
    pipeline: str,
    dtype: str = "float32",
    device: str = "cpu",
    weight_bits: int | None = None,
    cache_bits: int | None = None,
    format: str | None = None,
) -> dict:
    """What a file says of its picture or clip.

    Seconds are left out, so that the same picture is the same file.

    Args:
        statistics: of the picture or clip, as pipelines return them.
        pipeline: what `mmgen.load` takes: a shipped name or a folder.
        dtype: type of the weights, such as `float32`.
        device: where it was drawn, such as `cpu`.
        weight_bits: bits of a quantised weight; None where none is.
        cache_bits: bits of a quantised key or value; None where none is.
        format: ending of the file, where it is not the first of its medium.
    """
    fields = {key: statistics[key] for key in _FROM_STATISTICS}
    said = {"weight_bits": weight_bits, "cache_bits": cache_bits, "format": format}
    special = {name: value for name, value in said.items() if value is not None}
    return fields | {"pipeline": pipeline, "dtype": dtype, "device": device, **special, "mmgen": __version__}


def as_text(metadata: Mapping[str, Any]) -> str:
    """Metadata as files hold it."""
    return json.dumps(metadata, ensure_ascii=False)


def read_metadata(path: Path) -> dict[str, Any]:
    """What the file of a picture or clip says of it; see `describe`.

    Raises:
        OutputError: there is no such file, it is neither, or it carries no metadata of mmgen.
    """
    try:
        metadata = json.loads(_text(path))
    except ValueError:
        metadata = None
    if not isinstance(metadata, dict) or not all(
        isinstance(metadata.get(key, kind()), kind) and (key in metadata or key in _OPTIONAL)
        for key, kind in _TYPES.items()
    ):
        raise OutputError(path, "carries no metadata of mmgen", "give a file that `mmgen generate` wrote with metadata")
    return metadata


def _text(path: Path) -> str:
    """The text of a file that may be metadata; empty where there is none."""
    comment = sound_comment(path)
    if comment is not None:
        return comment
    clip = opened_clip(path)
    if clip is not None:
        with clip:
            return clip.metadata.get("comment", "")
    with opened_picture(path) as image:
        return _text_of(image)


def _text_of(image: Image.Image) -> str:
    if image.format == "WEBP":
        comment: Any = image.getexif().get_ifd(EXIF_PART).get(EXIF_COMMENT, b"")
        comment = comment.removeprefix(EXIF_CODE) if isinstance(comment, bytes) else ""
    else:
        comment = image.info.get("comment" if image.format == "GIF" else KEY, "")
    return comment.decode(errors="replace") if isinstance(comment, bytes) else str(comment)
