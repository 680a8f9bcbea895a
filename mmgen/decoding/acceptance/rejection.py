"""Exact acceptance: keep a draft with the probability that leaves the model's own law."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mmgen.decoding.acceptance.rule import RatioRule, Trial, probability
from mmgen.decoding.options import Law


@dataclass
class RejectionSampling(RatioRule):
    """Keeps x with probability min(1, p(x) / q(x)); a refusal draws from the positive part of p - q.

    Leviathan et al. 2023 (algorithm 1) and Chen et al. 2023 (algorithm 2): tokens drawn from q come out
    distributed as p, and no rule keeps more of them.
    """

    name = "rejection"
    law: ClassVar[Law] = "exact"
    paper = "Leviathan et al. 2023, arXiv 2211.17192"

    def masses(self, trial: Trial) -> tuple[Tensor, Tensor]:
        return probability(trial.p, trial.tokens), probability(trial.q, trial.tokens)
