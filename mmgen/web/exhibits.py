"""How results of each medium are shown: pictures, clips as they play, sound with its spectrogram."""

from __future__ import annotations

import base64
import io
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from mmgen import media
from mmgen.cli import files
from mmgen.web.studio import Frame

_KINDS = {"png": "image/png", "mp4": "video/mp4", "webp": "image/webp", "wav": "audio/wav"}
_GAP = 4
"""Pixels between the frames of a clip that lie side by side."""
_SPECTROGRAM = (512, 192)
"""Width and height in pixels."""


@dataclass(frozen=True)
class Exhibit:
    """A result as the page shows it; media are data in addresses.

    Attributes:
        picture: of what there is to see; of a clip that plays, empty.
        size: width and height of the picture.
        overlay: marks on it, as SVG.
        name: of the file; empty before it is finished.
        file: what is saved; likewise.
    """

    picture: str
    size: tuple[int, int]
    overlay: str = ""
    name: str = ""
    file: str = ""

    def html(self, title: str) -> str:
        """The part of a card that shows it.

        Args:
            title: what it is, escaped.
        """
        if self.file.startswith("data:video"):
            return (
                f'<video class="picture" src="{self.file}" width="{self.size[0]}" height="{self.size[1]}" '
                f'aria-label="{title}" autoplay loop muted playsinline controls></video>'
            )
        width, height = self.size
        return (
            f'<button type="button" class="picture" title="Show full size">'
            f'<img src="{self.picture}" alt="{title}" width="{width}" height="{height}" decoding="sync">'
            f"{self.overlay}</button>{self._player(title)}"
        )

    def _player(self, title: str) -> str:
        if not self.file.startswith("data:audio"):
            return ""
        return f'<audio class="player" src="{self.file}" aria-label="{title}" controls></audio>'


def unfinished(frame: Frame) -> list[Exhibit]:
    """What there is to see of results that are being drawn, what came last marked."""
    marks = [None] * len(frame.results) if frame.latest is None else frame.latest
    return [_unfinished(frame, result, mark) for result, mark in zip(frame.results, marks, strict=True)]


def _unfinished(frame: Frame, result: Any, mark: Tensor | None) -> Exhibit:
    picture = still(frame, result)
    return Exhibit(as_png(picture), picture.size, "" if mark is None else _overlay(frame, result, mark))


def of_file(path: Path) -> Exhibit:
    """A file of ours: a picture, a clip that plays, or sound with a player."""
    ending = path.suffix.removeprefix(".")
    file = as_address(path.read_bytes(), ending)
    if ending == "wav":
        picture = spectrogram(*media.read_sound(path))
        return Exhibit(as_png(picture), picture.size, name=path.name, file=file)
    height, width = media.read_metadata(path)["size"][-2:]
    return Exhibit(file, (width, height), name=path.name, file=file)


def still(frame: Frame, result: Any) -> Image.Image:
    """One picture of a result: itself, the frames of a clip side by side, or the spectrogram of sound."""
    if frame.medium == "image":
        return result
    if frame.medium == "video":
        return _sheet(result)
    return spectrogram(result, frame.output.sampling_rate)


def spectrogram(sound: np.ndarray, sampling_rate: int) -> Image.Image:
    """Sound to look at, as wide as a card; silence is dark."""
    if not sound.any():
        return Image.new("RGB", _SPECTROGRAM)
    return media.spectrogram(sound, sampling_rate, height=_SPECTROGRAM[1], width=_SPECTROGRAM[0])


def moving(frame: Frame, clip: Sequence[Image.Image]) -> str:
    """A clip as an address of a moving picture without loss."""
    return _written(frame, clip, "webp")


def sounding(frame: Frame, sound: np.ndarray) -> str:
    """Sound as an address."""
    return _written(frame, sound, "wav")


def _written(frame: Frame, result: Any, ending: str) -> str:
    with tempfile.TemporaryDirectory(prefix="mmgen-") as folder:
        path = Path(folder) / f"result.{ending}"
        files.write(path, result, frame.output, None)
        return as_address(path.read_bytes(), ending)


def as_png(picture: Image.Image) -> str:
    """A picture as an address."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return as_address(buffer.getvalue(), "png")


def as_address(data: bytes, ending: str) -> str:
    """A file as an address that holds all of it."""
    return f"data:{_KINDS[ending]};base64,{base64.b64encode(data).decode()}"


def _sheet(frames: Sequence[Image.Image]) -> Image.Image:
    width, height = frames[0].size
    columns = _columns(len(frames))
    rows = -(-len(frames) // columns)
    sheet = Image.new("RGBA", (columns * (width + _GAP) - _GAP, rows * (height + _GAP) - _GAP))
    for index, frame in enumerate(frames):
        row, column = divmod(index, columns)
        sheet.paste(frame, (column * (width + _GAP), row * (height + _GAP)))
    return sheet


def _columns(count: int) -> int:
    """Of a sheet that is wider than high."""
    return math.ceil(math.sqrt(1.5 * count))


def _overlay(frame: Frame, result: Any, mark: Tensor) -> str:
    """Marks on the codes that came last."""
    if frame.medium == "audio":  # the first codebook says most, and stands at the bottom, as low pitches do
        return _squares(mark.shape[1], mark.shape[0], [(0, 0, mark.flip(0))], 1, 1)
    frames, marks = ([result], mark[None]) if frame.medium == "image" else (result, mark)
    width, height = frames[0].size
    columns = len(frames) if len(frames) == 1 else _columns(len(frames))
    places = [divmod(index, columns) for index in range(len(frames))]
    parts = [(c * (width + _GAP), r * (height + _GAP), own) for (r, c), own in zip(places, marks, strict=True)]
    size = still(frame, result).size
    return _squares(*size, parts, width / mark.shape[-1], height / mark.shape[-2])


def _squares(width: int, height: int, parts: Sequence[tuple[int, int, Tensor]], column: float, row: float) -> str:
    """Rectangles where grids are true; each grid begins at its own place, and its cells have one size."""
    path = "".join(
        f"M{left + x * column:g} {top + y * row:g}h{column:g}v{row:g}h-{column:g}z"
        for left, top, grid in parts
        for y, x in grid.nonzero().tolist()
    )
    return (
        f'<svg class="latest" viewBox="0 0 {width} {height}" preserveAspectRatio="none" aria-hidden="true">'
        f'<path d="{path}"/></svg>'
    )
