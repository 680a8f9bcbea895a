"""Pictures, clips or recordings that are being drawn."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from mmgen.decoding.decoder import Decoder, Generation
from mmgen.sampling import Sampling


@dataclass
class Drawing:
    """Pictures being drawn: what `RasterPipeline.draw` yields after every evaluation.

    Attributes:
        prompts: one per picture.
        subjects: the prompts as the pipeline reads them.
        layout: the grid of codes.
        known: tokens known beforehand, int64 [B, N] with -1 where free.
        seeds: one per picture.
        decoder: draws them.
        sampling: how tokens are drawn from logits.
        conditions: what else the family was told, by name.
        batch_size: pictures drawn at once, at most.
        together: pictures of the call, where these are a part of them.
        generation: tokens, committed counts and evaluations so far; None before the first.
        started: `time.perf_counter()` at the start.
    """

    prompts: list[str]
    subjects: list[Any]
    layout: Any
    known: Tensor
    seeds: list[int]
    decoder: Decoder
    sampling: Sampling
    conditions: dict[str, Any]
    batch_size: int
    together: int
    generation: Generation | None = None
    started: float = field(default_factory=time.perf_counter)

    @property
    def renews(self) -> bool:
        """Whether waiting pictures begin as soon as others are finished.

        Not where they have different known codes: what one may read at once would depend on those that wait.
        """
        return self.decoder.renews and bool((self.known == self.known[:1]).all())

    def part(self, pictures: Sequence[int]) -> Drawing:
        """Some of the pictures, as far as they are drawn."""
        names = ("prompts", "subjects", "seeds")
        chosen: dict[str, Any] = {name: [getattr(self, name)[index] for index in pictures] for name in names}
        generation = None if self.generation is None else self.generation.part(pictures)
        return replace(self, **chosen, known=self.known[list(pictures)], generation=generation)
