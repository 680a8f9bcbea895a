"""What followed the same tokens earlier in the picture: along the line, and on the grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mmgen.decoding.drafters.drafter import Context, Proposal
from mmgen.decoding.drafters.stepwise import Path, Stepwise
from mmgen.decoding.options import option
from mmgen.layout import RasterLayout

_MIXERS = (
    -7046029254386353131, -4658895280553007687, -7723592293110705685, -2960836687051489901,
    -49064778989728563, -4265267296055464877, -6884282663029611473, -1800455987208640293,
)  # fmt: skip
"""Odd numbers of 64 bits, one for each neighbour: a run of tokens becomes one number, its key."""


class Matches(NamedTuple):
    """What stands before a slot, found earlier in the picture, under each of M alternatives of it.

    Attributes:
        lengths: int64 [B, M, N], how many of the neighbours that must match do so before each committed token; 0
            elsewhere.
        repeated: int64 [B, M, F], the tokens to repeat where nothing matches; the begin token where there is none.
    """

    lengths: Tensor
    repeated: Tensor

    @property
    def longest(self) -> Tensor:
        """Which matches are the longest: bool [B, M, N]."""
        return self.lengths == self.lengths.amax(-1, keepdim=True).clamp(min=1)


@dataclass
class Lookup(Stepwise):
    """Base of the drafters that look for what stands before a slot among what stands before committed tokens."""

    length: int = option(10, "tokens drafted at most", minimum=1, maximum=256)
    longest: int = option(2, "tokens of the longest match", minimum=1, maximum=8)

    def offsets(self, layout: RasterLayout) -> list[int]:
        """How far behind a token those lie that must match, the most important first."""
        return list(range(1, self.longest + 1))

    def fallbacks(self, layout: RasterLayout) -> list[int]:
        """How far behind a token those lie that are repeated where nothing matches: the first that exists."""
        return [1]

    def begin(self, context: Context) -> Tensor | None:
        """Lays out what every committed token follows."""
        line, layout, device = context.line, context.line.session.layout, context.line.committed.device
        offsets, fallbacks = self.offsets(layout), self.fallbacks(layout)
        self._sources = torch.tensor(offsets + fallbacks).to(device, non_blocking=True)
        self._mixers = torch.tensor(_MIXERS[: len(offsets)]).to(device, non_blocking=True)
        places = torch.arange(line.length, device=device)
        before = (places - self._sources[: len(offsets), None]).clamp(min=-1)
        keys = (line.buffer[:, 1 + before] * self._mixers[:, None]).cumsum(1)
        # No run of tokens has the key -1: what is not committed matches nothing.
        self._keys = keys.where((places < line.committed[:, None])[:, None], -1)[:, None]
        # The end of the line so far, in front of every path.
        reach = torch.arange(-max(offsets + fallbacks), 0, device=device)
        self._tail = line.token_at(line.committed[:, None] + reach)[:, None]
        return torch.full_like(line.committed, self.length)

    def matches(self, path: Path) -> Matches:
        """What stands before a slot, found earlier."""
        line = torch.cat((self._tail.expand(-1, path.tokens.shape[1], -1), path.tokens), dim=-1)
        return self.find(line[..., line.shape[-1] - self._sources])

    def find(self, before: Tensor) -> Matches:
        """Matches of tokens int64 [B, M, S], as far behind the slot as offsets and fallbacks say."""
        count = len(self._mixers)
        keys = (before[..., :count] * self._mixers).cumsum(-1)
        # A key matches only where all shorter ones do.
        return Matches((self._keys == keys[..., None]).sum(2), before[..., count:])


@dataclass
class GridLookup(Lookup):
    """Base of those that compare neighbours on the grid: to the left, above, above right, above left.

    A match is the longest beginning of that list. Where nothing matches it is the token above that is repeated, in
    the first row the one to the left.
    """

    longest: int = option(4, "neighbours of the longest match", minimum=1, maximum=4)

    def offsets(self, layout: RasterLayout) -> list[int]:
        return [1, layout.width, layout.width - 1, layout.width + 1][: self.longest]

    def fallbacks(self, layout: RasterLayout) -> list[int]:
        return [layout.width, 1]


@dataclass
class NGram(Lookup):
    """What most often followed the longest earlier match of the last tokens, and what came after it.

    Saxena 2023, prompt lookup decoding: a chain copies on from the match. Deviations: only committed tokens are
    searched; of several continuations the most frequent is copied, at its latest place, rather than the first one
    found; a copy that reaches the end of the line goes on with itself; and where nothing matches the token before is
    repeated. Candidates of a tree are looked up one by one: the more frequent first, then those of shorter matches.
    """

    name = "n-gram"
    paper = "Saxena 2023, prompt lookup decoding; transformers' PromptLookupCandidateGenerator"
    certain = True

    def begin(self, context: Context) -> Tensor | None:
        line = context.line
        self._tokens = line.buffer[:, None, 1 : 1 + line.length]
        # Whole numbers that 53 bits hold, so that sums are the same in every order: a longest match outweighs all
        # shorter ones together, and one match more outweighs all positions together.
        places = torch.arange(line.length, device=line.committed.device, dtype=torch.float64)
        self._weights = (line.length**2 + places) * 2 * line.length
        return super().begin(context)

    def law(self, path: Path) -> Tensor:
        return self._count(self.matches(path), path.context.line.session.vocabulary_size)

    def _count(self, matches: Matches, size: int) -> Tensor:
        """Weights of the tokens at matching positions: float64 [B, M, V]."""
        law = torch.zeros(*matches.lengths.shape[:2], size + 1, device=self._weights.device, dtype=torch.float64)
        weights = torch.where(matches.longest, self._weights, matches.lengths > 0)
        law.scatter_add_(-1, self._tokens.expand_as(weights), weights)
        shares = 0.5 ** torch.arange(1, 1 + matches.repeated.shape[-1], device=law.device, dtype=torch.float64)
        return law.scatter_add_(-1, matches.repeated, shares.expand(matches.repeated.shape))[..., :size]

    def propose(self, context: Context) -> Proposal:
        self.begin(context)
        line, size = context.line, context.line.session.vocabulary_size
        end = (line.committed + context.filled)[:, None]
        matches = self.find(line.token_at(end - self._sources)[:, None])
        likeliest = self._count(matches, size).argmax(-1, keepdim=True)
        places = torch.arange(1, 1 + line.length, device=end.device)
        latest = ((matches.longest & (self._tokens == likeliest)) * places).amax(-1) - 1
        repeated = end - self._sources[len(self._mixers)]
        source = torch.where(latest >= 0, latest, torch.where(repeated >= 0, repeated, end - 1))
        positions, step = line.positions(), end - source
        copied = line.token_at(positions - step * ((positions - end).div(step, rounding_mode="floor") + 1))
        drafted = torch.minimum(context.filled + self.length, context.widths)
        return Proposal(torch.where(copied < size, copied, 0), None, drafted)


@dataclass
class GridNGram(GridLookup, NGram):
    """What most often stood where the neighbours to the left and above were the same, and what came after it.

    The two-dimensional form of prompt lookup, for pictures.
    """

    name = "grid-n-gram"
    paper = "after Saxena 2023, prompt lookup decoding"
