"""Acceptance by cross entropy: how surprised the model is by a draft."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mmgen.decoding.acceptance.rule import AcceptanceRule, Trial, probability
from mmgen.decoding.options import option


@dataclass
class CrossEntropy(AcceptanceRule):
    """Keeps x where -ln p(x) is at most a limit; a refusal draws from p.

    Kim et al. 2023 (BiLD, the rollback policy; its fallback policy is a drafter's). No bound: what is kept depends on
    p alone, however it was drawn. A limit of 0 keeps certain tokens only, which is plain autoregression.
    """

    name = "cross-entropy"
    law = "heuristic"
    paper = "Kim et al. 2023, arXiv 2302.07863"

    limit: float = option(3.0, "largest cross entropy of a draft that is kept, in nats", minimum=0.0, maximum=100.0)

    def keep(self, trial: Trial) -> Tensor:
        return -probability(trial.p, trial.tokens).log() <= self.limit

    def correction(self, trial: Trial) -> Tensor:
        return trial.p
