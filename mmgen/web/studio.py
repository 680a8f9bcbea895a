"""Where the page draws: pipelines loaded once, and drawings as a stream of frames."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

import mmgen
from mmgen import catalog, media
from mmgen.errors import OptionError, UnknownNameError
from mmgen.pipelines.output import Statistics
from mmgen.pipelines.pipeline import pipeline_class

MAXIMUM_COUNT = 8
"""Most pictures of one request: the model is shared by everyone who has the page open."""
FRAME_SECONDS = 0.1
"""Least time between two frames; a browser shows no more, and each costs a decoding of the picture."""


@dataclass(frozen=True)
class Frame:
    """Pictures as far as they are drawn.

    Attributes:
        pictures: one per seed; what is not drawn yet is gray.
        statistics: one per picture, so far.
        length: tokens of a whole picture.
        dtype: type of the weights.
        device: where it is drawn.
        finished: whether this is the last frame.
    """

    pictures: list[Image.Image]
    statistics: list[Statistics]
    length: int
    dtype: str
    device: str
    finished: bool

    @property
    def written(self) -> int:
        """Tokens of the picture that is furthest behind."""
        return min(row.tokens for row in self.statistics)


class Studio:
    """The shipped image pipelines, each loaded when it is first asked for."""

    def __init__(self) -> None:
        self._pipelines: dict[str, Any] = {}
        self._lock = threading.Lock()

    @property
    def names(self) -> list[str]:
        """Names of the shipped image pipelines."""
        return [name for name, entry in catalog.pipelines().items() if entry.medium == "image"]

    @property
    def families(self) -> list[Any]:
        """Packages of the decoders of all these pipelines, each once."""
        return list(dict.fromkeys(self.family(name) for name in self.names))

    def family(self, name: str | None = None) -> Any:
        """The package of the decoders that suit a pipeline, which is not loaded for it; the default one's for None.

        Raises:
            UnknownNameError: as for `pipeline`.
        """
        return pipeline_class(catalog.find(self._known(name))).algorithms

    def _known(self, name: str | None) -> str:
        name = name or catalog.default_pipeline("image")
        if name not in self.names:
            raise UnknownNameError("pipeline", name, self.names)
        return name

    def pipeline(self, name: str | None = None) -> Any:
        """A pipeline by name; the default one where nothing is given.

        Raises:
            UnknownNameError: no image pipeline of that name is shipped. Other folders are not opened: the
                name comes from whoever can reach the page.
        """
        name = self._known(name)
        with self._lock:
            if name not in self._pipelines:
                self._pipelines[name] = mmgen.load(name)
            return self._pipelines[name]

    def draw(
        self, prompt: str, *, pipeline: str | None = None, count: int = 1, seed: int | None = None, **settings: Any
    ) -> Generator[Frame]:
        """Draws pictures, yielding a frame at most every `FRAME_SECONDS`, and the last one finished.

        Args:
            prompt: a caption.
            pipeline: a shipped image pipeline.
            count: pictures, 1 to `MAXIMUM_COUNT`.
            seed: of the first picture, the next ones count up from it; random where nothing is given.
            settings: `decoder`, `decoder_options`, `guidance`, `temperature` of the pipeline's call.

        Raises:
            MmgenError: the pipeline refuses the request.
        """
        if type(count) is not int or not 1 <= count <= MAXIMUM_COUNT:
            raise OptionError("count", count, f"a whole number from 1 to {MAXIMUM_COUNT}")
        pipe = self.pipeline(pipeline)
        # One number for all pictures, so that it alone brings all of them back.
        seed = secrets.randbelow(2**32) if seed is None else seed
        shown = float("-inf")
        with closing(pipe.draw(prompt, num_images_per_prompt=count, seed=seed, **settings)) as drawings:
            for drawing in drawings:
                if time.monotonic() - shown >= FRAME_SECONDS:
                    shown = time.monotonic()
                    yield _frame(pipe, drawing, finished=False)
        yield _frame(pipe, drawing, finished=True)


def save(frame: Frame, folder: str | Path) -> list[Path]:
    """Writes the pictures of a frame as PNG files that say how they were made; returns the files.

    Raises:
        OutputError: a file cannot be written.
    """
    paths = []
    for picture, row in zip(frame.pictures, frame.statistics, strict=True):
        paths.append(Path(folder) / media.file_name(row.prompt, row.seed))
        media.write_png(paths[-1], picture, media.describe(row, row.pipeline, frame.dtype, frame.device))
    return paths


def _frame(pipe: Any, drawing: Any, finished: bool) -> Frame:
    # The numbers first: turning codes into pictures is the page's time, not the drawing's.
    statistics = pipe.statistics(drawing)
    return Frame(
        pictures=pipe.render(drawing),
        statistics=statistics,
        length=pipe.transformer.layout.length,
        dtype=str(pipe.dtype).removeprefix("torch."),
        device=pipe.device.type,
        finished=finished,
    )
