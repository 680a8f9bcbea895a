"""Speculative Jacobi decoding whose drafts change as seldom as their law allows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmgen.decoding.acceptance.rejection import RejectionSampling
from mmgen.decoding.drafters.drafter import Drafter
from mmgen.decoding.speculation import Drafts, Slots, Verdict, drafter_option
from mmgen.decoding.speculative_jacobi import SpeculativeJacobi
from mmgen.rng import Purpose, race


@dataclass
class CoupledJacobi(SpeculativeJacobi):
    """Carries over the outcome of the test itself: the draft where it stood, its correction elsewhere.

    So et al. 2025 (MC-SJD), the maximal coupling, also called adaptive continuation in SJD-PAC: consecutive
    drafts of a slot are maximally coupled, their contexts settle, and later runs grow long. The law
    of a draft is the new p also where the old draft was kept. Under a relaxed rule drafts are still carried by
    rejection sampling, so that their laws stay what they are said to be: only what is committed is relaxed.
    """

    name = "coupled-jacobi"
    law = "exact"
    paper = "So et al. 2025, arXiv 2510.24211"
    no_joint_rules = "drafts are carried by the same coins, and a joint rule's run depends on later drafts"

    drafter: Drafter = drafter_option("vertical-repeat")

    def judge(self, probs: Tensor, drafts: Drafts, slots: Slots) -> Verdict:
        trial, exact = self.trial(probs, drafts, slots), RejectionSampling()
        noise = slots.rng.exponential(Purpose.CORRECT, slots.positions, probs.shape[-1], slots.draw)
        kept, corrected = exact.stands(trial), race(exact.replacement(trial), noise)
        carried = torch.where(kept, drafts.tokens, corrected)
        if type(self.acceptance) is RejectionSampling:
            return Verdict(kept, carried, carried)
        keep = self.acceptance.stands(trial)
        if type(self.acceptance).correction is not RejectionSampling.correction:
            corrected = race(self.acceptance.replacement(trial), noise)
        return Verdict(keep, torch.where(keep, drafts.tokens, corrected), carried)
