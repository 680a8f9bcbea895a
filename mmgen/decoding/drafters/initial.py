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
        positions = context.line.positions()
        width = context.line.session.layout.width
        first = (context.line.committed + context.filled)[:, None]
        rows_up = (positions - first).div(width, rounding_mode="floor") + 1
        above = positions - width * rows_up
        return _copy(context, torch.where(above < 0, first - 1, above))


@dataclass
class HorizontalSample(Drafter):
    """Tokens drawn from the model's law of the token to the left (Teng et al. 2024, spatial initialisation)."""

    name = "horizontal-sample"
    paper = "Teng et al. 2024, arXiv 2410.01699"

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


def _copy(context: Context, sources: Tensor) -> Proposal:
    """Tokens at the source positions; id 0 where that is the begin token."""
    tokens = context.line.token_at(sources)
    return Proposal(torch.where(tokens == context.line.session.begin_token, 0, tokens), None)


def _draw(context: Context, law: Tensor) -> Proposal:
    return Proposal(context.choose(law, context.line.positions()), law)
