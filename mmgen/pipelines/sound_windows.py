"""Sound longer than a model was trained on, window by window: each begins with the end of the one before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mmgen.codebook_layout import CodebookLayout
from mmgen.decoding.decoder import Generation
from mmgen.rng import MAXIMUM_SEED

_GOLDEN = 0x9E3779B97F4A7C15


def windows(frames: int, most: int, stride: int) -> Iterator[range]:
    """The frames of each window: all of `most` frames, each `stride` behind the one before, the last up to the end."""
    start = 0
    while start + most < frames:
        yield range(start, start + most)
        start += stride
    yield range(start, frames)


def seed_of(seed: int, number: int) -> int:
    """The seed of a recording's windows: its own of the first, and others that no recording beside it has."""
    return seed ^ number * _GOLDEN & MAXIMUM_SEED


def nothing_to_write(known: Tensor) -> Generation:
    """Lines int64 [B, N] that are given as a whole."""
    nothing = torch.zeros(len(known), dtype=torch.long, device=known.device)
    return Generation(known, nothing + known.shape[1], nothing, nothing)


@dataclass
class LongSound:
    """Codes of a whole recording, of which windows are written one after the other.

    The order of codes must be the same in a window as in the whole, `start` steps later, as it is with delays.

    Attributes:
        layout: of the whole.
        codes: int64 [B, K, T], -1 where nothing is known or written.
        evaluations: of the windows before, int64 [B].
        committed: tokens that are final, int64 [B].
    """

    layout: CodebookLayout
    codes: Tensor
    evaluations: Tensor
    committed: Tensor

    @classmethod
    def begin(cls, layout: CodebookLayout, known: Tensor) -> LongSound:
        """A recording of which tokens `known` [B, N] are given, -1 where free."""
        nothing = torch.zeros(len(known), dtype=torch.long, device=known.device)
        return cls(layout, layout.unflatten(known).clone(), nothing, nothing)

    def generation(self, window: range, own: CodebookLayout, part: Generation) -> Generation:
        """The whole line as far as it is written, with a window as far as that is."""
        codes = self.codes.to(part.tokens.device)
        begun = part.committed > 0  # with a batch size, others wait
        codes[begun, ..., window.start : window.stop] = own.unflatten(part.tokens[begun])
        ends = torch.tensor((0, *self.layout.ends), device=part.committed.device)
        steps = torch.searchsorted(torch.tensor(own.ends, device=part.committed.device), part.committed, right=True)
        # The last steps of a window lack what the next one writes in them.
        final = window.stop if window.stop < self.layout.frames else self.layout.count
        committed = ends[(window.start + steps).clamp(max=final)]
        return Generation(
            self.layout.flatten(codes.clamp(min=0)),
            torch.maximum(committed, self.committed.to(committed.device)),
            self.evaluations.to(part.evaluations.device) + part.evaluations,
            part.draft_evaluations,
        )

    def finish(self, window: range, own: CodebookLayout, part: Generation) -> None:
        """Goes on behind a window that is written."""
        whole = self.generation(window, own, part)
        self.codes[..., window.start : window.stop] = own.unflatten(part.tokens).to(self.codes.device)
        self.evaluations, self.committed = whole.evaluations, whole.committed
