"""The initialisations of speculative Jacobi decoding: guesses that need no second model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmgen.decoding.drafters.drafter import Context, Drafter, Proposal
from mmgen.rng import Purpose
from mmgen.sessions.session import Session


@dataclass
class Uniform(Drafter):
    """Tokens drawn uniformly, with the uniform law recorded (as only SJD-PAC, Kang et al. 2026, does)."""

    name = "uniform"
    paper = "Kang et al. 2026, arXiv 2603.18599"

    def propose(self, context: Context) -> Proposal:
        return _uniform(context)


@dataclass
class Random(Drafter):
    """Tokens drawn uniformly, recorded as if certain: the `random` initialisation of SJD (Teng et al. 2024)."""

    name = "random"
    paper = "Teng et al. 2024, arXiv 2410.01699"

    def propose(self, context: Context) -> Proposal:
        return Proposal(_uniform(context).tokens, None)


@dataclass
class HorizontalRepeat(Drafter):
    """The token to the left (Teng et al. 2024, spatial initialisation). Rows start with the end of the row above."""

    name = "horizontal-repeat"
    paper = "Teng et al. 2024, arXiv 2410.01699"

    def propose(self, context: Context) -> Proposal:
        positions = context.line.positions()
        last = context.line.committed + context.filled - 1
        return _copy(context, last[:, None].expand_as(positions))


@dataclass
class VerticalRepeat(Drafter):
    """The token above (Teng et al. 2024, spatial initialisation); in the first row, the one to the left."""

    name = "vertical-repeat"
    paper = "Teng et al. 2024, arXiv 2410.01699"

    def propose(self, context: Context) -> Proposal:
        return _copy(context, _above(context))


@dataclass
class FrameRepeat(Drafter):
    """The token at the same place of the frame before; in the first frame, the one above, as `vertical-repeat`.

    SJD's spatial initialisation (Teng et al. 2024) along the axis of time, where a clip changes least.
    """

    name = "frame-repeat"
    paper = "after Teng et al. 2024, arXiv 2410.01699"

    def propose(self, context: Context) -> Proposal:
        before = _back(context, context.line.session.layout.frame_length)
        return _copy(context, torch.where(before < 0, _above(context), before))


@dataclass
class HorizontalSample(Drafter):
    """Tokens drawn from the model's law of the token to the left (Teng et al. 2024, spatial initialisation)."""

    name = "horizontal-sample"
    paper = "Teng et al. 2024, arXiv 2410.01699"
    looks_back = True

    def propose(self, context: Context) -> Proposal:
        if context.probs is None:
            return _uniform(context)
        last = (context.accepted + context.filled - 1).clamp(0, context.probs.shape[1] - 1)
        law = context.probs[torch.arange(len(last), device=last.device), last]
        return _draw(context, law[:, None].expand(-1, context.line.window, -1))


@dataclass
class VerticalSample(Drafter):
    """Tokens drawn from the model's law of the token above (Teng et al. 2024, spatial initialisation).

    Laws are remembered as they were when last evaluated; where there is none, the draw is uniform.
    """

    name = "vertical-sample"
    paper = "Teng et al. 2024, arXiv 2410.01699"
    looks_back = True

    def open(self, session: Session, window: int) -> None:
        size = session.vocabulary_size
        shape = (session.batch, session.length + window, size)
        self._laws = torch.full(shape, 1 / size, device=session.device)

    def propose(self, context: Context) -> Proposal:
        line = context.line
        size, positions = line.session.vocabulary_size, line.positions()
        if context.probs is not None:
            self._remember(context.probs, context.start, line.committed + context.filled)
        above = (positions - line.session.layout.width).clamp(min=0)
        law = self._laws.gather(1, above[..., None].expand(-1, -1, size))
        evaluated = positions >= line.session.layout.width
        return _draw(context, torch.where(evaluated[..., None], law, 1 / size))

    def select(self, rows: Tensor) -> None:
        self._laws = self._laws[rows]

    def _remember(self, probs: Tensor, start: Tensor, end: Tensor) -> None:
        """Stores the laws [B, L, V] of the positions from `start` [B] up to `end` [B]."""
        positions = start[:, None] + torch.arange(probs.shape[1], device=probs.device)
        index = positions[..., None].expand_as(probs)
        own = (positions < end[:, None])[..., None]
        self._laws.scatter_(1, index, torch.where(own, probs, self._laws.gather(1, index)))


def _uniform(context: Context) -> Proposal:
    """Tokens drawn uniformly, with that law."""
    positions, size = context.line.positions(), context.line.session.vocabulary_size
    law = torch.full((*positions.shape, size), 1 / size, device=positions.device)
    uniform = context.rng.uniform(Purpose.DRAFT, positions, context.draw)
    return Proposal((uniform * size).long().clamp(max=size - 1), law)


def _above(context: Context) -> Tensor:
    """Positions of the tokens above the slots; in the first row, of the last token that is not drafted anew: [B, L]."""
    above = _back(context, context.line.session.layout.width)
    return torch.where(above < 0, (context.line.committed + context.filled)[:, None] - 1, above)


def _back(context: Context, period: int) -> Tensor:
    """Positions a whole number of periods before the slots, the fewest that lead out of the empty ones: [B, L]."""
    positions = context.line.positions()
    first = (context.line.committed + context.filled)[:, None]
    return positions - period * ((positions - first).div(period, rounding_mode="floor") + 1)


def _copy(context: Context, sources: Tensor) -> Proposal:
    """Tokens at the source positions; id 0 where that is the begin token."""
    tokens = context.line.token_at(sources)
    return Proposal(torch.where(tokens == context.line.session.begin_token, 0, tokens), None)


def _draw(context: Context, law: Tensor) -> Proposal:
    return Proposal(context.choose(law, context.line.positions()), law)
