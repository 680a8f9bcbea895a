"""What the model thought likely after the same tokens, earlier in the picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmgen.decoding.drafters.drafter import Context
from mmgen.decoding.drafters.n_gram import GridLookup, Lookup
from mmgen.decoding.drafters.stepwise import Path
from mmgen.decoding.options import option
from mmgen.sessions.session import Session

_SHORTER = 1e-3
"""Weight of a match beside one that is a token longer: it counts where the longer one has run out."""


@dataclass
class StochasticNGram(Lookup):
    """Tokens drawn from the mean of the model's laws behind the longest earlier match of the last tokens.

    Song et al. 2025 (STAND): a memory from n-grams to laws, each kept as its likeliest tokens, and drafts drawn from
    it by the Gumbel race, so that they are refused less often than certain ones. Deviations: the memory is a row's own
    picture, laws are kept by position and averaged when they are looked up, shorter matches have a thousandth of the
    weight, and where nothing matches the token before is repeated.
    """

    name = "stochastic-n-gram"
    paper = "Song et al. 2025, arXiv 2506.04708"
    looks_back = True

    remembered: int = option(16, "likeliest tokens remembered of each law", minimum=1, maximum=256)

    def open(self, session: Session, window: int) -> None:
        count = min(self.remembered, session.vocabulary_size)
        # Behind the line stands a row that is written in vain.
        self._ids = torch.zeros(session.batch, session.length + 1, count, dtype=torch.long, device=session.device)
        self._shares = torch.zeros(self._ids.shape, device=session.device)
        levels = _SHORTER ** torch.arange(self.longest, -1, -1, device=session.device, dtype=torch.float32)
        self._levels, self._least = levels.index_fill(0, levels.argmin(), 0), levels[0] * _SHORTER

    def begin(self, context: Context) -> Tensor | None:
        if context.probs is not None:
            shares, ids = context.probs.topk(self._ids.shape[-1])
            slots = torch.arange(context.probs.shape[1], device=ids.device)
            places = (context.start[:, None] + slots).where(slots < context.accepted[:, None], context.line.length)
            self._ids.scatter_(1, places[..., None].expand_as(ids), ids)
            self._shares.scatter_(1, places[..., None].expand_as(ids), shares)
        return super().begin(context)

    def law(self, path: Path) -> Tensor:
        found = self.matches(path)
        weights = self._levels[found.lengths][..., None] * self._shares[:, None, :-1]
        size = path.context.line.session.vocabulary_size
        law = torch.zeros(*weights.shape[:2], size + 1, device=weights.device)
        law.scatter_add_(-1, self._ids[:, None, :-1].expand_as(weights).flatten(2), weights.flatten(2))
        return law.scatter_add_(-1, found.repeated, self._least.expand(found.repeated.shape))[..., :size]

    def select(self, rows: Tensor) -> None:
        self._ids, self._shares = self._ids[rows], self._shares[rows]


@dataclass
class StochasticGridNGram(GridLookup, StochasticNGram):
    """Tokens drawn from the mean of the model's laws where the neighbours to the left and above were the same.

    The two-dimensional form, for pictures.
    """

    name = "stochastic-grid-n-gram"
    paper = "after Song et al. 2025, arXiv 2506.04708"
