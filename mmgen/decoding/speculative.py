"""Speculative decoding: every window is drafted afresh."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mmgen.decoding.acceptance.rule import Trial
from mmgen.decoding.drafters.drafter import Drafter
from mmgen.decoding.speculation import Slots, drafter_option
from mmgen.decoding.speculative_jacobi import SpeculativeJacobi


@dataclass
class Speculative(SpeculativeJacobi):
    """Drafts a chain, tests it by an acceptance rule, and forgets what was not committed.

    Leviathan et al. 2023, algorithm 1, with any drafter. Deviation: the last slot of a window has a draft too, which
    is tested like the others, where the paper draws a token of the model's; both give the model's law.
    """

    name = "speculative"
    law = "exact"
    paper = "Leviathan et al. 2023, arXiv 2211.17192"
    carries = False

    drafter: Drafter = drafter_option("grid-n-gram")

    def carry(self, trial: Trial, slots: Slots) -> Tensor:
        return trial.tokens
