"""Grouped acceptance: a draft is judged together with the tokens that are about as likely as it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from mmgen.codebook import Codebook, Codebooks
from mmgen.decoding.acceptance.lantern import codebook_of
from mmgen.decoding.acceptance.rule import RatioRule, Trial, probability
from mmgen.decoding.options import option
from mmgen.sessions.planes import PlaneSession
from mmgen.sessions.session import Session


@dataclass
class Grouped(RatioRule):
    """Keeps x with probability min(1, p(C) / q(C)), C being the tokens that stand near x when sorted by p.

    So et al. 2025 (GSD, dynamic clusters): of the `ranks` tokens nearest to x by rank, x among them, those form C whose
    probability and vectors are near its own. x itself is kept, and C depends on p, so no bound is known. A refusal
    draws from the positive part of p - q. One rank alone makes it `rejection`.

    Deviations: the thresholds are options; at the ends of the order C takes its tokens from the other side, where the
    released code leaves it empty; equally likely tokens are ordered by id; a token of probability zero is refused.
    """

    name = "grouped"
    law = "heuristic"
    paper = "So et al. 2025, arXiv 2508.07747"

    ranks: int = option(14, "tokens of the group at most, the draft among them", minimum=1, maximum=1024)
    gap: float = option(0.15, "probabilities of the group differ from the draft's by less", minimum=0.0, maximum=1.0)
    distance: float = option(
        0.0, "squared distance of codes from the draft's is less; 0 looks at none", minimum=0.0, maximum=1e9
    )

    codebook: ClassVar[Codebook | Codebooks | None] = None

    def bind(self, session: Session | PlaneSession) -> Self:
        if not self.distance:
            return self
        bound = copy.copy(self)
        bound.codebook = codebook_of(session, self)  # type: ignore[misc]
        return bound

    def masses(self, trial: Trial) -> tuple[Tensor, Tensor]:
        others, chosen = nearest_by_rank(trial.p, trial.tokens, self.ranks)
        own, near = probability(trial.p, trial.tokens), trial.p.gather(-1, others)
        chosen = chosen & ((near - own[..., None]).abs() < self.gap)
        if self.codebook is not None:
            chosen = chosen & (self.codebook.distances(trial.tokens[..., None], others) < self.distance)
        drafted = probability(trial.q, trial.tokens) + (trial.q.gather(-1, others) * chosen).sum(-1)
        return own + (near * chosen).sum(-1), drafted


def nearest_by_rank(p: Tensor, tokens: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The tokens that stand nearest to `tokens` [...] when a vocabulary is sorted by p [..., V].

    Half of them are likelier, half less likely, as far as there are so many; the vocabulary is not sorted.

    Args:
        count: tokens wanted, the given one among them.

    Returns:
        int64 [..., M], candidates beside the given token; bool [..., M], which of them are the `count - 1` wanted.
    """
    count = min(count, p.shape[-1])
    order = _total_order(p)
    own = order.gather(-1, tokens[..., None])
    likelier, less_likely = order > own, order < own
    limits = torch.iinfo(order.dtype)
    above = order.where(likelier, limits.max).topk(count - 1, largest=False).indices
    below = order.where(less_likely, limits.min).topk(count - 1).indices
    wanted = (count - 1 - less_likely.sum(-1)).clamp(min=count // 2).minimum(likelier.sum(-1))[..., None]
    places = torch.arange(count - 1, device=p.device)
    return torch.cat((above, below), dim=-1), torch.cat((places < wanted, places < count - 1 - wanted), dim=-1)


def _total_order(p: Tensor) -> Tensor:
    """Integers [..., V] that sort as p does, and of equally likely tokens put the smaller id higher."""
    # The bits of numbers that are not negative sort as the numbers do.
    bits = p.float().view(torch.int32).long()
    return (bits << 32) - torch.arange(p.shape[-1], device=p.device)
