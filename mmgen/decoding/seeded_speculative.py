"""Speculative decoding under fixed noise: any drafter, and the seed's own picture."""

from __future__ import annotations

from dataclasses import dataclass

from mmgen.decoding.drafters.drafter import Drafter
from mmgen.decoding.jacobi import Jacobi
from mmgen.decoding.speculation import drafter_option


@dataclass
class SeededSpeculative(Jacobi):
    """Drafts every window afresh and commits the run that equals what seeded sampling would draw.

    Drafters draw by the same noise, so a drafter whose law is near the model's mostly names the same token:
    the two agree with probability at least (1 - TV) / (1 + TV) (Daliri et al. 2024, theorem 2).
    """

    name = "seeded-speculative"
    law = "exact"
    paper = "Daliri et al. 2024, arXiv 2408.07978"
    carries = False

    drafter: Drafter = drafter_option("grid-n-gram")
