"""Speculative Jacobi decoding whose drafts share their noise from one evaluation to the next."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mmgen.decoding.speculation import Slots, initial_guess
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

    initialisation: str = initial_guess("vertical-repeat")

    def carry(self, probs: Tensor, tokens: Tensor, slots: Slots) -> Tensor:
        return race(probs, slots.rng.token_noise(slots.positions, probs.shape[-1], slots.length))
