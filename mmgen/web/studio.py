"""Where the page draws: pipelines loaded once, when they are first asked for, and drawings as a stream of frames."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmgen import catalog, media
from mmgen.cli import files, loading
from mmgen.errors import UnknownNameError
from mmgen.pipelines.output import Statistics
from mmgen.web import limits, models
from mmgen.web.models import Model
from mmgen.web.uploads import contents, named

FRAME_SECONDS = {"image": 0.1, "video": 0.25, "audio": 0.5}
"""Least time between two frames of a medium; a browser shows no more, and each costs a decoding."""


@dataclass(frozen=True)
class Frame:
    """Results as far as they are drawn.

    Attributes:
        medium: `image`, `video` or `audio`.
        output: what a call of the pipeline would return; what is not drawn yet is gray or silent.
        length: tokens to be drawn of each.
        dtype: type of the weights.
        device: where it is drawn.
        finished: whether this is the last frame.
        latest: what the last evaluation committed: bool on the codes of pictures [B, h, w], of the frames of clips
            [B, T, h, w], or of sound [B, K, T]; None where codes have no places.
        edited: which part of something older was drawn again, as files say it; empty where all was drawn.
    """

    medium: str
    output: Any
    length: int
    dtype: str
    device: str
    finished: bool
    latest: Tensor | None = None
    edited: Mapping[str, Any] = field(default_factory=dict)

    @property
    def statistics(self) -> list[Statistics]:
        """How each was made, so far."""
        return self.output.statistics

    @property
    def results(self) -> Sequence[Any]:
        """Pictures, lists of pictures, or samples [channels, samples]."""
        return files.results(self.output, self.medium)

    @property
    def written(self) -> int:
        """Tokens of the result that is furthest behind."""
        return min(row.tokens for row in self.statistics)


class Studio:
    """Pipelines, each loaded when something is drawn with it for the first time.

    Args:
        entries: which; the shipped ones where nothing is given.

    Raises:
        UnknownNameError: there are none.
        WeightsError: a folder is damaged.
    """

    def __init__(self, entries: Iterable[catalog.Entry] | None = None) -> None:
        self.models: dict[str, Model] = models.read(catalog.pipelines().values() if entries is None else entries)
        if not self.models:
            raise UnknownNameError("pipeline", "of any kind", [])
        self._pipelines: dict[str, Any] = {}
        self._lock = threading.Lock()

    @property
    def families(self) -> list[Any]:
        """Packages of the decoders of all these pipelines, each once."""
        return list(dict.fromkeys(model.algorithms for model in self.models.values()))

    @property
    def default(self) -> Model:
        """The first."""
        return next(iter(self.models.values()))

    def model(self, name: str | None = None) -> Model:
        """What is known of a pipeline without loading it; of the first where nothing is given.

        Raises:
            UnknownNameError: no pipeline of that name is shipped. Other folders are not opened: the name comes from
                whoever can reach the page.
        """
        if name is None:
            return self.default
        if not isinstance(name, str) or name not in self.models:
            raise UnknownNameError("pipeline", name, self.models)
        return self.models[name]

    def is_loaded(self, name: str | None = None) -> bool:
        """Whether a pipeline can draw at once."""
        return self.model(name).name in self._pipelines

    def pipeline(self, name: str | None = None) -> Any:
        """A pipeline by name, loaded if it is not yet.

        Raises:
            UnknownNameError: as for `model`.
        """
        name = self.model(name).name
        with self._lock:
            if name not in self._pipelines:
                self._pipelines[name] = self.load(self.models[name])
            return self._pipelines[name]

    def load(self, model: Model) -> Any:
        """Loads a pipeline."""
        pipe = loading.load(model.path, device=loading.choose_device(None))
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def draw(
        self, prompt: str, *, pipeline: str | None = None, count: int = 1, seed: int | None = None, **settings: Any
    ) -> Generator[Frame]:
        """Draws, yielding a frame at most every `FRAME_SECONDS`, and the last one finished.

        Args:
            prompt: what to draw.
            pipeline: a shipped one.
            count: results, 1 to `limits.MAXIMUM_COUNT`.
            seed: of the first result, the next ones count up from it; random where nothing is given.
            settings: other arguments of the pipeline's call; None is its own default. `continue_from` is a file that a
                visitor sent.

        Raises:
            MmgenError: the pipeline refuses the request.
        """
        limits.check_request(prompt, count, settings.get("duration"))
        model, pipe = self.model(pipeline), self.pipeline(pipeline)
        # One number for all results, so that it alone brings all of them back.
        seed = secrets.randbelow(2**32) if seed is None else seed
        given = {name: value for name, value in settings.items() if value is not None}
        if "continue_from" in given:
            with named(given["continue_from"]):
                given["continue_from"] = contents(given["continue_from"], pipe)
        shown = float("-inf")
        with closing(pipe.draw(prompt, num_images_per_prompt=count, seed=seed, **given)) as drawings:
            for drawing, latest in _with_latest(pipe, drawings):
                if time.monotonic() - shown >= FRAME_SECONDS[model.medium]:
                    shown = time.monotonic()
                    yield frame_of(pipe, drawing, False, latest)
        yield frame_of(pipe, drawing, finished=True)


def frame_of(pipe: Any, drawing: Any, finished: bool, latest: Tensor | None = None) -> Frame:
    """What there is to see of a drawing."""
    # The numbers first: turning codes into media is the page's time, not the drawing's.
    statistics = pipe.statistics(drawing)
    return Frame(
        medium=pipe.medium,
        output=pipe.output(pipe.render(drawing), statistics),
        length=int((drawing.known[0] < 0).sum()),
        dtype=str(pipe.dtype).removeprefix("torch."),
        device=pipe.device.type,
        finished=finished,
        latest=latest,
    )


def save(frame: Frame, folder: str | Path) -> list[Path]:
    """Writes the results of a frame as files that say how they were made; returns the files.

    Raises:
        OutputError: a file cannot be written.
    """
    paths = []
    ending = ending_of(frame)
    for result, row in zip(frame.results, frame.statistics, strict=True):
        paths.append(Path(folder) / media.file_name(row.prompt, row.seed, ending=ending))
        files.write(paths[-1], result, frame.output, metadata(frame, row, ending))
    return paths


def metadata(frame: Frame, row: Statistics, ending: str) -> Mapping[str, Any]:
    """What the file of a result says of it."""
    unusual = None if ending == media.FORMATS[frame.medium][0] else ending
    made = media.describe(row, row.pipeline, frame.dtype, frame.device, format=unusual)
    return made | ({"edited": dict(frame.edited)} if frame.edited else {})


def ending_of(frame: Frame) -> str:
    """Of the files of a frame: the medium's usual one; WebP of clips whose sides MP4 does not take."""
    if frame.medium == "video" and any(side % 2 for side in frame.statistics[0].size[-2:]):
        return "webp"
    return media.FORMATS[frame.medium][0]


def _with_latest(pipe: Any, drawings: Iterator[Any]) -> Iterator[tuple[Any, Tensor | None]]:
    """Drawings, each with what its last evaluation committed."""
    before = torch.zeros(1, dtype=torch.long)
    for drawing in drawings:
        committed = drawing.generation.committed.cpu()
        places = torch.arange(drawing.known.shape[1])
        new = (before[:, None] <= places) & (places < committed[:, None]) & (drawing.known.cpu() < 0)
        before = committed.clone()
        yield drawing, _on_grid(pipe, drawing.layout, new)


def _on_grid(pipe: Any, layout: Any, tokens: Tensor) -> Tensor | None:
    """Which tokens [B, N] of a line are meant, as `Frame.latest` has it."""
    grid = layout.unflatten(tokens)
    if not isinstance(grid, Tensor) or not getattr(pipe, "codes_have_places", True):
        return None
    if pipe.medium == "video":
        steps = [pipe.tokenizer.grid(frame + 1, 1, 1)[0] - 1 for frame in range(pipe.clip_size(layout)[0])]
        return grid[:, 0, steps]
    return grid[:, 0] if pipe.medium == "image" else grid
