"""Exact acceptance: keep a draft with the probability that leaves the model's own law."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from mmgen.decoding.decoder import Law


class AcceptanceRule(Protocol):
    """Whether a drafted token is kept, and the law of what replaces it. Pure functions of one slot each.

    Attributes:
        law: what the rule promises about the tokens that come out.
    """

    law: ClassVar[Law]

    def keep(self, p: Tensor, q: Tensor, tokens: Tensor, coins: Tensor) -> Tensor:
        """Which drafts stay: bool [...].

        Args:
            p: the model's probabilities [..., V].
            q: the law the drafts were drawn from [..., V].
            tokens: drafts, int64 [...].
            coins: uniform numbers in [0, 1) [...].
        """

    def correction(self, p: Tensor, q: Tensor) -> Tensor:
        """The law of the replacement after a refusal: probabilities [..., V]."""


@dataclass(frozen=True)
class RejectionSampling:
    """Keeps x with probability min(1, p(x) / q(x)); a refusal draws from the positive part of p - q.

    Leviathan et al. 2023 (algorithm 1) and Chen et al. 2023 (algorithm 2): tokens drawn from q come out
    distributed as p, and no rule keeps more of them.
    """

    law: ClassVar[Law] = "exact"

    def keep(self, p: Tensor, q: Tensor, tokens: Tensor, coins: Tensor) -> Tensor:
        # Strictly less: a token of probability zero is refused even by a coin of zero.
        return coins * _probability(q, tokens) < _probability(p, tokens)

    def correction(self, p: Tensor, q: Tensor) -> Tensor:
        residual = (p - q).clamp(min=0)
        mass = residual.sum(-1, keepdim=True)
        # Where p equals q nothing is ever refused; rounding may still ask, and p is then the answer.
        return torch.where(mass > 0, residual / mass, p)


def without(q: Tensor, tokens: Tensor) -> Tensor:
    """q [..., V] once `tokens` [...] are taken out of it, as drawing without replacement does."""
    rest = q.scatter(-1, tokens[..., None], 0)
    mass = rest.sum(-1, keepdim=True)
    return torch.where(mass > 0, rest / mass, rest)


def _probability(p: Tensor, tokens: Tensor) -> Tensor:
    return p.gather(-1, tokens[..., None]).squeeze(-1)
