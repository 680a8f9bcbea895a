"""What the model thought likely after the same token, earlier in the picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmgen.decoding.drafters.drafter import Context, Proposal
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
    looks_back = True

    length: int = option(10, "tokens drafted at most", minimum=1, maximum=256)
    candidates: int = option(8, "likeliest tokens remembered after each token", minimum=1, maximum=32)

    def open(self, session: Session, window: int) -> None:
        self._size, device = session.vocabulary_size, session.device
        count = min(self.candidates, self._size)
        # After the tokens stand the begin token and a row that is written in vain.
        itself = torch.arange(self._size + 2, device=device).clamp(max=self._size - 1)
        self._table = itself[None, :, None].repeat(session.batch, 1, count)
        # Descending, so that the first is the likeliest; below them everything else has no weight.
        self._weights = torch.arange(count, 0, -1, device=device).float()

    def begin(self, context: Context) -> Tensor | None:
        if context.probs is not None:
            self._learn(context, context.probs)
        return torch.full_like(context.filled, self.length)

    def _learn(self, context: Context, probs: Tensor) -> None:
        """Takes in the laws [B, L, V] behind the committed tokens, the latest where one stands several times."""
        slots = torch.arange(probs.shape[1], device=probs.device)
        before = context.line.token_at(context.start[:, None] + slots - 1)
        before = before.where(slots < context.accepted[:, None], self._size + 1)
        latest = torch.zeros_like(self._table[..., 0]).scatter_reduce_(1, before, slots.expand_as(before), "amax")
        before = before.where(latest.gather(1, before) == slots, self._size + 1)
        likeliest = probs.topk(self._table.shape[-1]).indices
        self._table.scatter_(1, before[..., None].expand_as(likeliest), likeliest)

    def law(self, path: Path) -> Tensor:
        token = path.back(1)
        following = self._table[torch.arange(len(token), device=token.device)[:, None], token]
        law = torch.zeros(*token.shape, self._size, device=token.device)
        return law.scatter_reduce_(-1, following, self._weights.expand_as(following), "amax")

    def propose(self, context: Context) -> Proposal:
        self.begin(context)
        line = context.line
        likeliest = self._table[..., 0]
        chain = [line.token_at((line.committed + context.filled)[:, None] - 1)]
        for _ in range(min(self.length, line.window)):
            chain.append(likeliest.gather(1, chain[-1]))
        drafted = torch.cat(chain, 1)
        slots = torch.arange(line.window, device=drafted.device) - context.filled[:, None]
        tokens = drafted.gather(1, (1 + slots).clamp(1, drafted.shape[1] - 1))
        drafted = torch.minimum(context.filled + self.length, context.widths)
        return Proposal(tokens, None, drafted)

    def select(self, rows: Tensor) -> None:
        self._table = self._table[rows]
