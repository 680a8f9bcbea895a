"""The initialisations of speculative Jacobi decoding: guesses that need no second model."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgen.decoding.drafters.drafter import Context, Drafter
from mmgen.rng import Purpose, race


class Uniform(Drafter):
    """Tokens drawn uniformly, with the uniform law recorded (as only SJD-PAC, Kang et al. 2026, does)."""

    def propose(self, context: Context) -> tuple[Tensor, Tensor | None]:
        tokens = _uniform_tokens(context)
        size = context.line.session.vocabulary_size
        return tokens, torch.full((*tokens.shape, size), 1 / size, device=tokens.device)


class Random(Drafter):
    """The same tokens recorded as if certain: the `random` initialisation of SJD (Teng et al. 2024), still exact."""

    def propose(self, context: Context) -> tuple[Tensor, Tensor | None]:
        return _uniform_tokens(context), None


class HorizontalRepeat(Drafter):
    """The token to the left (Teng et al. 2024, spatial initialisation). Rows start with the end of the row above."""

    def propose(self, context: Context) -> tuple[Tensor, Tensor | None]:
        positions = context.line.positions()
        last = context.line.committed + context.filled - 1
        return _copy(context, last[:, None].expand_as(positions))


class VerticalRepeat(Drafter):
    """The token above (Teng et al. 2024, spatial initialisation); in the first row, the one to the left."""

    def propose(self, context: Context) -> tuple[Tensor, Tensor | None]:
        positions = context.line.positions()
        width = context.line.session.layout.width
        first = (context.line.committed + context.filled)[:, None]
        rows_up = (positions - first).div(width, rounding_mode="floor") + 1
        above = positions - width * rows_up
        return _copy(context, torch.where(above < 0, first - 1, above))


class HorizontalSample(Drafter):
    """Tokens drawn from the model's law of the token to the left (Teng et al. 2024, spatial initialisation)."""

    def propose(self, context: Context) -> tuple[Tensor, Tensor | None]:
        if context.probs is None:
            return Uniform().propose(context)
        last = (context.line.committed + context.filled - 1 - context.start).clamp(0, context.probs.shape[1] - 1)
        law = context.probs[torch.arange(len(last), device=last.device), last]
        return _draw(context, law[:, None].expand(-1, context.line.window, -1))


class VerticalSample(Drafter):
    """Tokens drawn from the model's law of the token above (Teng et al. 2024, spatial initialisation).

    Laws are remembered as they were when last evaluated; where there is none, the draw is uniform.
    """

    def __init__(self) -> None:
        self._laws: Tensor | None = None

    def propose(self, context: Context) -> tuple[Tensor, Tensor | None]:
        line = context.line
        size, positions = line.session.vocabulary_size, line.positions()
        if self._laws is None:
            shape = (line.session.batch, line.length + line.window, size)
            self._laws = torch.full(shape, 1 / size, device=positions.device)
        if context.probs is not None:
            self._remember(context.probs, context.start, line.committed + context.filled)
        above = (positions - line.session.layout.width).clamp(min=0)
        law = self._laws.gather(1, above[..., None].expand(-1, -1, size))
        evaluated = positions >= line.session.layout.width
        return _draw(context, torch.where(evaluated[..., None], law, 1 / size))

    def select(self, rows: Tensor) -> None:
        if self._laws is not None:
            self._laws = self._laws[rows]

    def _remember(self, probs: Tensor, start: Tensor, end: Tensor) -> None:
        """Stores the laws [B, L, V] of the positions from `start` [B] up to `end` [B]."""
        assert self._laws is not None
        positions = start[:, None] + torch.arange(probs.shape[1], device=probs.device)
        index = positions[..., None].expand_as(probs)
        own = (positions < end[:, None])[..., None]
        self._laws.scatter_(1, index, torch.where(own, probs, self._laws.gather(1, index)))


INITIALISATIONS: dict[str, type[Drafter]] = {
    "uniform": Uniform,
    "random": Random,
    "horizontal-repeat": HorizontalRepeat,
    "vertical-repeat": VerticalRepeat,
    "horizontal-sample": HorizontalSample,
    "vertical-sample": VerticalSample,
}


def _uniform_tokens(context: Context) -> Tensor:
    positions, size = context.line.positions(), context.line.session.vocabulary_size
    uniform = context.rng.uniform(Purpose.DRAFT, positions, context.draw)
    return (uniform * size).long().clamp(max=size - 1)


def _copy(context: Context, sources: Tensor) -> tuple[Tensor, None]:
    """Tokens at the source positions; id 0 where that is the begin token."""
    tokens = context.line.token_at(sources)
    return torch.where(tokens == context.line.session.begin_token, 0, tokens), None


def _draw(context: Context, law: Tensor) -> tuple[Tensor, Tensor]:
    positions = context.line.positions()
    noise = context.rng.exponential(Purpose.DRAFT, positions, law.shape[-1], context.draw)
    return race(law, noise), law
