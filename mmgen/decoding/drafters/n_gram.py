"""What followed the same tokens earlier in the picture: along the line, and on the grid."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmgen.decoding.drafters.drafter import Context
from mmgen.decoding.drafters.stepwise import Path, Stepwise
from mmgen.decoding.options import option
from mmgen.layout import RasterLayout

_MIXERS = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93,
           0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53, 0xA0761D6478BD642F, 0xE7037ED1A0B428DB)  # fmt: skip
"""Odd numbers of 64 bits, one for each neighbour: a run of tokens becomes one number, its key."""


@dataclass
class NGram(Stepwise):
    """The token that most often followed the longest earlier match of the last tokens; the latest of equals.

    Saxena 2023, prompt lookup decoding. Deviations: only committed tokens are searched; every draft looks for its own
    match rather than copying on from the first one's; the most frequent continuation is taken rather than the first
    one found, which pictures with a background need; and where nothing matches the token before is repeated. Further
    candidates of a slot are those of lower count, then those of shorter matches.
    """

    name = "n-gram"
    paper = "Saxena 2023, prompt lookup decoding; transformers' PromptLookupCandidateGenerator"
    certain = True

    length: int = option(10, "tokens drafted at most", minimum=1, maximum=256)
    longest: int = option(2, "tokens of the longest match", minimum=1, maximum=8)

    def offsets(self, layout: RasterLayout) -> list[int]:
        """How far behind the predicted token those lie that must match, the most important first."""
        return list(range(1, self.longest + 1))

    def fallbacks(self, layout: RasterLayout) -> list[int]:
        """How far behind the predicted token those lie that are repeated where nothing matches."""
        return [1]

    def begin(self, context: Context) -> Tensor | None:
        """Lays out what every committed token follows."""
        line, device = context.line, context.line.committed.device
        offsets = self.offsets(line.session.layout)
        sources = [*offsets, *self.fallbacks(line.session.layout)]
        self._sources, self._count = torch.tensor(sources, device=device), len(offsets)
        self._mixers = torch.tensor(_MIXERS[: len(offsets)], dtype=torch.uint64).view(torch.int64).to(device)
        # The end of the line so far, in front of every path.
        reach = torch.arange(-max(sources), 0, device=device)
        self._tail = line.token_at(line.committed[:, None] + reach)[:, None]
        places = torch.arange(line.length, device=device)
        before = (places - self._sources[: self._count, None]).clamp(min=-1)
        keys = (line.buffer[:, 1 + before] * self._mixers[:, None]).cumsum(1)
        self._committed = places < line.committed[:, None]
        # The key of nothing: only tokens that are all 0 have it, and they do not stand in the last place.
        self._keys = keys.where(self._committed[:, None], -1)[:, None]
        self._tokens = line.buffer[:, None, 1 : 1 + line.length]
        return torch.full_like(line.committed, self.length)

    def lookup(self, path: Path) -> tuple[Tensor, Tensor]:
        """How long the match of the path's end is at every position of the line, and what is repeated without one.

        Returns:
            int64 [B, M, N], 0 to `longest`, and int64 [B, M, F].
        """
        line = torch.cat((self._tail.expand(-1, path.tokens.shape[1], -1), path.tokens), dim=-1)
        found = line[..., line.shape[-1] - self._sources]
        keys = (found[..., : self._count] * self._mixers).cumsum(-1)
        # A key matches only where all shorter ones do.
        return (self._keys == keys[..., None]).sum(2), found[..., self._count :]

    def law(self, path: Path) -> Tensor:
        lengths, repeated = self.lookup(path)
        size = path.context.line.session.vocabulary_size
        longest = lengths == lengths.amax(-1, keepdim=True).clamp(min=1)
        # Whole numbers that 53 bits hold, so that sums are the same in every order: a longest match outweighs all
        # shorter ones together, and one match more outweighs all positions together.
        count = lengths.shape[-1]
        places = torch.arange(count, device=lengths.device, dtype=torch.float64)
        weights = torch.where(longest, (count**2 + places) * 2 * count, lengths > 0)
        law = torch.zeros(*lengths.shape[:2], size + 1, device=lengths.device, dtype=torch.float64)
        law.scatter_add_(-1, self._tokens.expand_as(lengths), weights)
        shares = 0.5 ** torch.arange(1, 1 + repeated.shape[-1], device=lengths.device, dtype=torch.float64)
        return law.scatter_add_(-1, repeated, shares.expand(repeated.shape))[..., :size]


@dataclass
class GridNGram(NGram):
    """The token that most often stood where the tokens to the left, above, above right and above left were the same.

    The two-dimensional form of prompt lookup, for pictures; the match is the longest beginning of that list. Where
    nothing matches the token above is repeated, in the first row the one to the left.
    """

    name = "grid-n-gram"
    paper = "after Saxena 2023, prompt lookup decoding"

    longest: int = option(4, "neighbours of the longest match", minimum=1, maximum=4)

    def offsets(self, layout: RasterLayout) -> list[int]:
        return neighbours(layout)[: self.longest]

    def fallbacks(self, layout: RasterLayout) -> list[int]:
        return [layout.width, 1]


def neighbours(layout: RasterLayout) -> list[int]:
    """How far behind a token its neighbours lie: to the left, above, above right, above left."""
    return [1, layout.width, layout.width - 1, layout.width + 1]
