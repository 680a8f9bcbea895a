"""Jacobi decoding of planes under fixed noise: what the seed draws plane by plane, in fewer evaluations."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mmgen.decoding.planes.line import PlaneLine
from mmgen.decoding.planes.speculation import PlaneDrafts, PlaneSpeculation, PlaneVerdict
from mmgen.rng import Rng, race


@dataclass
class PlaneJacobi(PlaneSpeculation):
    """Commits the longest run of planes equal to what seeded sampling would draw, and the plane after it.

    Jacobi decoding (Santilli et al. 2023, algorithm 1, there for greedy decoding) with planes for tokens, and the noise
    of `plane-wise`: it draws the same from the same seed, whatever the window and the drafts.
    """

    name = "jacobi"
    law = "exact"
    paper = "Santilli et al. 2023, arXiv 2305.10427, of planes, with the noise of seeded sampling"
    seeded = True
    needs_laws = False

    def judge(self, probs: Tensor, drafts: PlaneDrafts, line: PlaneLine, rng: Rng) -> PlaneVerdict:
        tokens = race(probs, line.noise(rng, probs.shape[1]))
        return PlaneVerdict((tokens == drafts.planes).all(-1), tokens, tokens)
