"""Speculative Jacobi decoding whose drafts share their noise from one evaluation to the next."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mmgen.decoding.acceptance.rule import Trial
from mmgen.decoding.drafters.drafter import Drafter
from mmgen.decoding.speculation import Slots, drafter_option
from mmgen.decoding.speculative_jacobi import SpeculativeJacobi
from mmgen.rng import race


@dataclass
class GumbelJacobi(SpeculativeJacobi):
    """Carries over argmax(log p + noise), the noise of a position being fixed for its whole life.

    So et al. 2025, the Gumbel coupling of the same paper as `coupled-jacobi`. Each slot is tested once,
    by coins and corrections independent of that noise.
    """

    name = "gumbel-jacobi"
    law = "exact"
    paper = "So et al. 2025, arXiv 2510.24211"
    no_joint_rules = "drafts share their noise with earlier ones, and a joint rule's run depends on later drafts"

    drafter: Drafter = drafter_option("vertical-repeat")

    def carry(self, trial: Trial, slots: Slots) -> Tensor:
        return race(trial.p, slots.rng.token_noise(slots.positions, trial.p.shape[-1], slots.length))
