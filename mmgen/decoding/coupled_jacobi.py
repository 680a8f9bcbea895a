"""Speculative Jacobi decoding whose drafts change as seldom as their law allows."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mmgen.decoding.speculation import Slots, initial_guess
from mmgen.decoding.speculative_jacobi import SpeculativeJacobi


@dataclass
class CoupledJacobi(SpeculativeJacobi):
    """Carries over the outcome of the test itself: the draft where it stood, its correction elsewhere.

    So et al. 2025 (MC-SJD), the maximal coupling, also called adaptive continuation in SJD-PAC: consecutive
    drafts of a slot are maximally coupled, their contexts settle, and later runs grow long. The law
    of a draft is the new p also where the old draft was kept.
    """

    name = "coupled-jacobi"
    law = "exact"
    paper = "So et al. 2025, arXiv 2510.24211"

    initialisation: str = initial_guess("vertical-repeat")

    def carry(self, probs: Tensor, tokens: Tensor, slots: Slots) -> Tensor:
        return tokens
