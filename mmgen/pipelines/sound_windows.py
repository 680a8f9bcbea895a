"""Sound longer than a model was trained on, window by window: each begins with the end of the one before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mmgen.codebook_layout import CodebookLayout
from mmgen.decoding.decoder import Generation
from mmgen.pipelines.sound_drawing import SoundDrawing
from mmgen.rng import MAXIMUM_SEED

_GOLDEN = 0x9E3779B97F4A7C15


def windows(frames: int, most: int, stride: int) -> list[range]:
    """The frames of each window: all of `most` frames, each `stride` behind the one before, the last up to the end."""
    starts = range(0, max(frames - most, 0), stride)
    return [*(range(start, start + most) for start in starts), range(len(starts) * stride, frames)]


def windows_around(frames: int, most: int, interval: range) -> list[range]:
    """The same with an interval of fewer than `most` frames in the middle of a window; others lack none of their codes.

    So what fills it in sees both its sides.
    """
    start = min(max((interval.start + interval.stop - most) // 2, 0), frames - most)
    parts = (range(start), range(start, start + most), range(start + most, frames))
    return [part for part in parts if part]


def in_turn(spans: Sequence[range], order: Callable[[int], CodebookLayout]) -> CodebookLayout:
    """The order of the codes of windows that are written one after the other: of each, those not written before it.

    Args:
        spans: the frames of each window.
        order: of so many frames.
    """
    steps: list[tuple[tuple[int, int], ...]] = []
    done = 0
    for window in spans:
        moved = (tuple((window.start + frame, book) for frame, book in step) for step in order(len(window)).steps)
        new = (tuple(code for code in step if code[0] >= done) for step in moved)
        steps += [step for step in new if step]
        done = window.stop
    return CodebookLayout((done, order(1).codebooks), tuple(steps))


def seed_of(seed: int, number: int) -> int:
    """The seed of a recording's windows: its own of the first, and others that no recording beside it has."""
    return seed ^ number * _GOLDEN & MAXIMUM_SEED


def by_window(
    drawing: SoundDrawing,
    spans: Sequence[range],
    order: Callable[[int], CodebookLayout],
    write: Callable[[SoundDrawing], Iterator[Generation]],
    later: Mapping[str, Any],
) -> Iterator[Generation]:
    """Writes windows one after the other, yielding the whole line after every evaluation.

    Args:
        drawing: of whole recordings.
        spans: the frames of each window, in order; all of them together are all frames.
        order: of the codes of so many frames.
        write: writes a window's drawing.
        later: conditions that are others behind the first window.
    """
    whole: Any = drawing.layout
    sound = LongSound.begin(whole, drawing.known)
    for number, window in enumerate(spans):
        own: Any = order(len(window))
        places = sound.places(window, own)
        known = sound.tokens[:, places].to(drawing.known.device)
        seeds = [seed_of(seed, number) for seed in drawing.seeds]
        told = {**drawing.conditions, **(later if number else {})}
        part = replace(drawing, layout=own, known=known, seeds=seeds, conditions=told)
        given = bool((known >= 0).all())
        for generation in [_nothing_to_write(known)] if given else write(part):
            after = sound.extended(places, generation)
            yield after.generation()
        sound = after


def _nothing_to_write(known: Tensor) -> Generation:
    """Lines int64 [B, N] that are given as a whole."""
    nothing = torch.zeros(len(known), dtype=torch.long, device=known.device)
    return Generation(known, nothing + known.shape[1], nothing, nothing)


@dataclass(frozen=True)
class LongSound:
    """The lines of whole recordings, of which windows are written one after the other.

    Attributes:
        line: where on it each code stands, int64 [1, K, T].
        tokens: int64 [B, N], -1 where nothing is known or written.
        final: which of them windows have come to, bool [B, N].
        evaluations: so far, int64 [B].
        draft_evaluations: likewise.
    """

    line: Tensor
    tokens: Tensor
    final: Tensor
    evaluations: Tensor
    draft_evaluations: Tensor

    @classmethod
    def begin(cls, layout: CodebookLayout, known: Tensor) -> LongSound:
        """Recordings of which tokens `known` [B, N] are given, -1 where free."""
        line = layout.unflatten(torch.arange(layout.length)[None])
        nothing = torch.zeros(len(known), dtype=torch.long, device=known.device)
        return cls(line, known, torch.zeros_like(known, dtype=torch.bool), nothing, nothing)

    def places(self, window: range, own: CodebookLayout) -> Tensor:
        """Where a window's own line stands on the whole one: int64 [n]."""
        return own.flatten(self.line[..., window.start : window.stop])[0]

    def extended(self, places: Tensor, part: Generation) -> LongSound:
        """The same with a window as far as that is written."""
        device = part.tokens.device
        tokens, final = self.tokens.to(device, copy=True), self.final.to(device, copy=True)
        done = torch.arange(len(places), device=device) < part.committed[:, None]
        tokens[:, places] = torch.where(done, part.tokens, tokens[:, places])
        final[:, places] |= done
        evaluations = self.evaluations.to(device) + part.evaluations
        return LongSound(
            self.line, tokens, final, evaluations, self.draft_evaluations.to(device) + part.draft_evaluations
        )

    def generation(self) -> Generation:
        """The whole line as far as it is written without a gap."""
        committed = self.final.long().cumprod(1).sum(1)
        return Generation(self.tokens, committed, self.evaluations, self.draft_evaluations)
