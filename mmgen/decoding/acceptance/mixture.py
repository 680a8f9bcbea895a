"""Acceptance by a mixture of two laws: the model's and the draft's."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mmgen.decoding.acceptance.rule import AcceptanceRule, Trial, probability
from mmgen.decoding.options import option


@dataclass
class Mixture(AcceptanceRule):
    """Keeps x with probability 1 - w + w min(1, p(x) / q(x)): tokens come out distributed as w p + (1 - w) q.

    Wang et al. 2026 (DIVERSED, static ensemble), as `assistant_ensemble_weight` in transformers. A refusal draws from
    the positive part of p - q. Law of one slot: o(x) = w p(x) + (1 - w) q(x), so the total variation between
    o and p is 1 - w times that between q and p; where K candidates of a slot are tested one after another, at most
    1 - w^K. A weight of 1 makes it `rejection`.

    However wrong a draft is, it is kept with probability 1 - w, even where p is zero: q alone must forbid what is
    forbidden. It suits drafters whose laws are near p, not those that copy tokens.
    """

    name = "mixture"
    law = "bounded"
    paper = "Wang et al. 2026, arXiv 2604.07622"

    weight: float = option(0.999, "share of the model's law in the tokens that come out", minimum=0.0, maximum=1.0)

    def keep(self, trial: Trial) -> Tensor:
        p, q = (probability(law, trial.tokens) for law in (trial.p, trial.q))
        return trial.coins * q < (1 - self.weight) * q + self.weight * p
