"""A picture, clip or sound of which parts are to be drawn again: its codes stand where nothing is painted."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d

from mmgen.errors import MmgenError, OptionError
from mmgen.layout import ScaleLayout
from mmgen.pipelines.raster import to_pictures
from mmgen.pipelines.video import fitted, read_clip
from mmgen.web import edits, exhibits, limits, restore
from mmgen.web.edits import Edited
from mmgen.web.models import Model
from mmgen.web.restore import Settings
from mmgen.web.studio import Frame, Studio
from mmgen.web.uploads import contents

_SLOTS = 48
"""Parts of a sound that can be painted."""


@dataclass(frozen=True)
class Sketch:
    """What is to be edited, fitted to a pipeline.

    Attributes:
        pipeline: its name.
        rows: of cells that can be painted.
        columns: likewise.
        picture: what is painted on.
        given: pixels [3, T, H, W] in [0, 1], or samples [channels, samples].
        seconds: of sound.
        settings: what made the file, where that was this pipeline.
    """

    pipeline: str
    rows: int
    columns: int
    picture: Image.Image
    given: Tensor
    seconds: float = 0.0
    settings: Settings | None = None

    @property
    def edited(self) -> Edited | None:
        """The edit that made the file, where it is one of such cells."""
        edited = self.settings.edited if self.settings else None
        fits = edited is not None and (edited.interval is not None if self.seconds else edited.grid == self._grid)
        return edited if fits else None

    @property
    def marked(self) -> list[int]:
        """Cells that were drawn again when the file was made."""
        if self.edited is None:
            return []
        if self.edited.interval is None:
            return list(self.edited.cells)
        first, last = (round(second / self.seconds * self.columns) for second in self.edited.interval)
        return list(range(min(first, self.columns - 1), min(max(last, first + 1), self.columns)))

    @property
    def _grid(self) -> tuple[int, int]:
        return self.rows, self.columns

    def painted(self, cells: Sequence[int]) -> Tensor:
        """Cells by number, in raster order, as bool [rows, columns].

        Raises:
            OptionError: there is no such cell, or none is painted.
        """
        most = self.rows * self.columns
        numbers = isinstance(cells, Sequence) and all(type(cell) is int and 0 <= cell < most for cell in cells)
        if not cells or not numbers:
            raise OptionError("cells", cells, f"some of 0 to {most - 1}: paint what is to be drawn again")
        mask = torch.zeros(most, dtype=torch.bool)
        mask[list(cells)] = True
        return mask.unflatten(0, (self.rows, self.columns))


def begin(studio: Studio, pipeline: str | None, path: Path) -> Sketch:
    """Reads a file for a pipeline.

    Raises:
        OptionError: the pipeline draws whole results only, or the sound is too long.
        OutputError: the file cannot be read.
    """
    model = studio.model(pipeline)
    if not model.editable:
        choices = [name for name, other in studio.models.items() if other.editable]
        raise OptionError("pipeline", model.name, f"one that can draw parts: {', '.join(choices)}")
    pipe = studio.pipeline(model.name)
    begun = _of_sound(model, pipe, path) if model.medium == "audio" else _of_pixels(model, pipe, path)
    return replace(begun, settings=_settings(studio, model, path))


def made_of(studio: Studio, path: Path) -> Settings | None:
    """What made a file; None where that is unknown here."""
    try:
        return restore.of_file(studio, path)
    except MmgenError:
        return None


def _settings(studio: Studio, model: Model, path: Path) -> Settings | None:
    settings = made_of(studio, path)
    return settings if settings is not None and settings.model is model else None


def redrawn(
    studio: Studio, begun: Sketch, prompt: str, cells: Sequence[int] = (), interval: Any = None, **settings: Any
) -> Generator[Frame]:
    """Draws part of a sketch again, frame by frame; the rest stays as it is.

    Args:
        cells: which.
        interval: of sound, from which second to which; None takes it from the cells.

    Raises:
        OptionError: nothing is painted.
        MmgenError: the pipeline refuses the request.
    """
    if studio.model(begun.pipeline).medium == "audio":
        limits.check_number("count", settings.get("count", 1), limits.MAXIMUM_COUNT)
        limits.check_duration(begun.seconds, settings.get("count", 1))
        interval = _interval(begun, begun.painted(cells)) if interval is None else interval
        given: dict[str, Any] = {"recording": begun.given, "interval": interval}
    else:
        mask = begun.painted(cells)
        given = {"known": _known(studio.pipeline(begun.pipeline), begun, mask)}
    for frame in studio.draw(prompt, pipeline=begun.pipeline, **settings, **given):
        heard = frame.statistics[0].conditions.get("interval")
        yield replace(frame, edited=edits.of_interval(heard) if heard else edits.of_cells(mask, given["known"]))


def _interval(begun: Sketch, mask: Tensor) -> tuple[float, float]:
    """From which second to which something is painted: from the first such place to the last."""
    places = mask.any(0).nonzero().flatten().tolist()
    share = begun.seconds / begun.columns
    return places[0] * share, min(begun.seconds, (places[-1] + 1) * share)


def _of_pixels(model: Model, pipe: Any, path: Path) -> Sketch:
    layout = pipe.transformer.layout
    *frames, height, width = pipe.size(layout)
    clip = fitted(read_clip(contents(path, pipe)), height, width)
    count = frames[0] if frames else 1
    clip = torch.cat((clip[:, :count], clip[:, -1:].expand(-1, max(0, count - clip.shape[1]), -1, -1)), dim=1)
    first = np.ascontiguousarray(clip[:, 0].permute(1, 2, 0).numpy())
    rows, columns = layout.grid[-2:]
    return Sketch(model.name, rows, columns, to_pictures(first[None])[0], clip)


def _of_sound(model: Model, pipe: Any, path: Path) -> Sketch:
    sound = contents(path, pipe)
    seconds = sound.shape[1] / pipe.sampling_rate
    limits.check_duration(seconds, 1)
    picture = exhibits.spectrogram(sound.numpy(), pipe.sampling_rate)
    return Sketch(model.name, 1, _SLOTS, picture, sound, seconds)


@torch.no_grad()
def _known(pipe: Any, sketch: Sketch, mask: Tensor) -> Tensor:
    """Codes that stay, and -1 where something is painted."""
    pixels = sketch.given[None].to(pipe.device) * 2 - 1
    codes = _as_told(sketch, pipe.tokenizer.encode(pixels if pipe.medium == "video" else pixels[:, :, 0]).cpu())
    layout = pipe.transformer.layout
    if not isinstance(layout, ScaleLayout):
        return torch.where(mask, -1, codes)
    # A coarse code goes where any part of its square is painted.
    cells = mask.float()[None, None]
    masks = [adaptive_max_pool2d(cells, size)[0] > 0 for size in layout.sizes]
    squares = zip(masks, layout.unflatten(codes), strict=True)
    return layout.flatten([torch.where(own, -1, square) for own, square in squares])


def _as_told(sketch: Sketch, codes: Tensor) -> Tensor:
    """Codes of a picture, those that its file says in their place: a tokenizer may read others in what it drew."""
    told = sketch.edited.known if sketch.edited else ()
    if len(told) != codes.numel():
        return codes
    known = torch.tensor(told).view_as(codes)
    return torch.where(known >= 0, known, codes)
