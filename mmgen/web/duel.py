"""Two decoders side by side: both draw the same prompt from the same seed, and both have the same time."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mmgen.decoding.decoder import Decoder
from mmgen.web import limits
from mmgen.web.studio import FRAME_SECONDS, Frame, Studio, frame_of


@dataclass(frozen=True)
class Duel:
    """How far both are.

    Attributes:
        frames: of the first and of the second.
        seconds: that each of them has taken for itself.
    """

    frames: tuple[Frame, Frame]
    seconds: tuple[float, float]

    @property
    def finished(self) -> bool:
        """Whether both are at the end."""
        return all(frame.finished for frame in self.frames)

    @property
    def speedup(self) -> float:
        """Seconds of the first over those of the second: above 1 the second is faster."""
        return self.seconds[0] / max(self.seconds[1], 1e-9)

    @property
    def equal(self) -> float:
        """Share of pixels, or of samples, that are equal."""
        first, second = (_numbers(frame) for frame in self.frames)
        same = first == second
        return float((same if self.frames[0].medium == "audio" else same.all(-1)).mean())


class _Side:
    """One of the two, as far as it is drawn; each of its steps is timed by itself."""

    def __init__(self, pipe: Any, drawings: Iterator[Any]) -> None:
        self.pipe, self.drawings = pipe, drawings
        self.drawing: Any = None
        self.seconds = 0.0
        self.finished = False

    def step(self) -> None:
        started = time.perf_counter()
        drawing = next(self.drawings, None)
        if self.pipe.device.type == "cuda":
            torch.cuda.synchronize(self.pipe.device)
        self.seconds += time.perf_counter() - started
        self.finished = drawing is None
        self.drawing = drawing or self.drawing

    def frame(self) -> Frame:
        frame = frame_of(self.pipe, self.drawing, self.finished)
        frame.statistics[0].seconds = self.seconds  # not those in which the other was drawn
        return frame


def draw(
    studio: Studio, prompt: str, decoders: tuple[Decoder, Decoder], pipeline: str | None = None, seed: int = 0,
    **settings: Any,
) -> Generator[Duel]:  # fmt: skip
    """Draws with both decoders in turn: whoever has had less time makes the next evaluation.

    So the counters of both race as they would side by side, and neither is slowed down by the other. One evaluation of
    each comes before, untimed: the first in a process is slow.

    Args:
        prompt: what to draw.
        decoders: of the pipeline's family.
        pipeline: its name.
        seed: of both.
        settings: other arguments of the pipeline's call; None is its own default.

    Raises:
        MmgenError: the pipeline refuses the request.
    """
    limits.check_request(prompt, 1, settings.get("duration"))
    pipe, medium = studio.pipeline(pipeline), studio.model(pipeline).medium
    given: Mapping[str, Any] = {name: value for name, value in settings.items() if value is not None}
    for decoder in decoders:
        with closing(pipe.draw(prompt, seed=seed, decoder=decoder, **given)) as warming:
            next(warming)
    with ExitStack() as stack:
        drawings = [pipe.draw(prompt, seed=seed, decoder=decoder, **given) for decoder in decoders]
        sides = [_Side(pipe, stack.enter_context(closing(one))) for one in drawings]
        for side in sides:
            side.step()
        shown = float("-inf")
        while left := [side for side in sides if not side.finished]:
            min(left, key=lambda side: side.seconds).step()
            if time.monotonic() - shown >= FRAME_SECONDS[medium] or all(side.finished for side in sides):
                shown = time.monotonic()
                yield Duel((sides[0].frame(), sides[1].frame()), (sides[0].seconds, sides[1].seconds))


def _numbers(frame: Frame) -> np.ndarray:
    result = frame.results[0]
    return np.stack([np.asarray(one) for one in result]) if frame.medium == "video" else np.asarray(result)
