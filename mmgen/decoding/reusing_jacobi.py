"""Speculative Jacobi decoding that keeps likely drafts behind the first refusal."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmgen.decoding.acceptance.rule import Trial, probability
from mmgen.decoding.drafters.drafter import Drafter
from mmgen.decoding.options import option
from mmgen.decoding.speculation import Slots, drafter_option
from mmgen.decoding.speculative_jacobi import SpeculativeJacobi


@dataclass
class ReusingJacobi(SpeculativeJacobi):
    """Carries a draft over where its ratio p / q exceeds a threshold; the others are drawn afresh.

    Teng et al. 2025 (SJD++). The paper calls it lossless, which it is not: a carried draft is conditioned on a
    favourable ratio, while the law recorded for it is p. A threshold that no ratio exceeds makes it
    `speculative-jacobi`.
    """

    name = "reusing-jacobi"
    law = "heuristic"
    paper = "Teng et al. 2025, arXiv 2512.07503"
    no_joint_rules = "drafts are tested more than once, and a joint rule's run depends on later drafts"

    drafter: Drafter = drafter_option("vertical-repeat")
    threshold: float = option(0.5, "ratio p / q above which a draft is carried", minimum=0.0, maximum=1e9)

    def carry(self, trial: Trial, slots: Slots) -> Tensor:
        ratio = probability(trial.p, trial.tokens) / probability(trial.q, trial.tokens)
        return torch.where((ratio > self.threshold) & trial.drafted, trial.tokens, super().carry(trial, slots))
