"""What the model thought likely after the same token, earlier in the picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmgen.decoding.drafters.drafter import Context
from mmgen.decoding.drafters.stepwise import Path, Stepwise
from mmgen.decoding.options import option
from mmgen.sessions.session import Session


@dataclass
class TokenRecycling(Stepwise):
    """A table of the likeliest tokens after each token, as last evaluated.

    Luo et al. 2024. Deviations: every row of a batch has its own table, it learns from committed tokens only, the
    latest wins where one stands several times in a run, and a token never seen is followed by itself.
    """

    name = "token-recycling"
    paper = "Luo et al. 2024, arXiv 2408.08696"
    certain = True

    candidates: int = option(8, "likeliest tokens remembered after each token", minimum=1, maximum=32)

    def open(self, session: Session, window: int) -> None:
        self._size, device = session.vocabulary_size, session.device
        self._remembered = min(self.candidates, self._size)
        itself = torch.arange(self._size + 1, device=device).clamp(max=self._size - 1)
        self._table = itself[None, :, None].repeat(session.batch, 1, self._remembered)
        # Descending, so that the first is the likeliest; below them everything else has no weight.
        self._weights = torch.arange(self._remembered, 0, -1, device=device).float()

    def begin(self, context: Context) -> Tensor | None:
        if context.probs is not None:
            likeliest = context.probs.topk(self._remembered).indices
            for slot in range(context.probs.shape[1]):
                known = slot < context.accepted
                token = context.line.token_at(context.start[:, None] + slot - 1)[..., None].expand(-1, -1, self._remembered)
                learnt = torch.where(known[:, None, None], likeliest[:, slot : slot + 1], self._table.gather(1, token))
                self._table.scatter_(1, token, learnt)
        return None

    def law(self, path: Path) -> Tensor:
        token = path.back(1)
        row = torch.arange(len(token), device=token.device)[:, None]
        following = self._table[row, token]
        law = torch.zeros(*token.shape, self._size, device=token.device)
        return law.scatter_reduce_(-1, following, self._weights.expand_as(following), "amax")

    def select(self, rows: Tensor) -> None:
        self._table = self._table[rows]
