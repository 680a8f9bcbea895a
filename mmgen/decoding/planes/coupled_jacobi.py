"""Speculative Jacobi decoding of planes whose drafts change as seldom as their law allows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmgen.decoding.acceptance.rejection import RejectionSampling
from mmgen.decoding.acceptance.rule import Trial
from mmgen.decoding.planes.line import PlaneLine
from mmgen.decoding.planes.speculation import PlaneDrafts
from mmgen.decoding.planes.speculative_jacobi import PlaneSpeculativeJacobi
from mmgen.rng import Purpose, Rng, race


@dataclass
class PlaneCoupledJacobi(PlaneSpeculativeJacobi):
    """Carries over each token with probability min(1, p / q), and a draw from (p - q)+ in place of the others.

    So et al. 2025 (MC-SJD), the maximal coupling, of each token by itself: what is carried is distributed as p and
    differs from the draft in as few tokens as that allows, so contexts settle and later runs grow long. Its coins are
    not those of the test that commits planes.
    """

    name = "coupled-jacobi"
    law = "exact"
    paper = "So et al. 2025, arXiv 2510.24211, of planes"

    def carry(self, probs: Tensor, drafts: PlaneDrafts, line: PlaneLine, rng: Rng) -> Tensor:
        assert drafts.laws is not None
        cells, draw, rule = line.cells(probs.shape[1]), line.evaluations[:, None], RejectionSampling()
        coins = rng.uniform(Purpose.DRAFT, cells, draw).view_as(drafts.planes)
        nowhere = torch.zeros_like(drafts.planes)
        trial = Trial(probs, drafts.laws, drafts.planes, coins, nowhere, nowhere > 0)
        noise = rng.exponential(Purpose.CARRY, cells, probs.shape[-1], draw).view_as(probs)
        return torch.where(rule.stands(trial), drafts.planes, race(rule.replacement(trial), noise))
