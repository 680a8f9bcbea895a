"""Speculative Jacobi decoding and its two coupled successors: rejection sampling, three ways to carry over."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmgen.decoding.acceptance.rejection import RejectionSampling
from mmgen.decoding.speculation import Drafts, Slots, Speculation, Verdict, initial_guess
from mmgen.rng import Purpose, race


@dataclass
class SpeculativeJacobi(Speculation):
    """Tests drafts by rejection sampling; slots behind the run are drawn afresh from their new law.

    Teng et al. 2024 (SJD). Deviations: each row of a batch commits its own run, forced
    tokens are drafted as themselves, and the default initialisation is uniform with the uniform law
    recorded, which keeps more than the published one.
    """

    name = "speculative-jacobi"
    law = "exact"
    paper = "Teng et al. 2024, arXiv 2410.01699"

    initialisation: str = initial_guess("uniform")

    rule = RejectionSampling()

    def judge(self, probs: Tensor, drafts: Drafts, slots: Slots) -> Verdict:
        assert drafts.laws is not None
        coins = slots.rng.uniform(Purpose.ACCEPT, slots.positions, slots.draw)
        keep = self.rule.keep(probs, drafts.laws, drafts.tokens, coins)
        noise = slots.rng.exponential(Purpose.CORRECT, slots.positions, probs.shape[-1], slots.draw)
        corrected = race(self.rule.correction(probs, drafts.laws), noise)
        tokens = torch.where(keep, drafts.tokens, corrected)
        return Verdict(keep, tokens, self.carry(probs, tokens, slots))

    def carry(self, probs: Tensor, tokens: Tensor, slots: Slots) -> Tensor:
        """Drafts for the next evaluation, each distributed as `probs` [B, L, V] at its slot: int64 [B, L]."""
        noise = slots.rng.exponential(Purpose.CARRY, slots.positions, probs.shape[-1], slots.draw)
        return race(probs, noise)
