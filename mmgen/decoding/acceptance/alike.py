"""Acceptance relaxed by what codes stand for: a draft is judged together with the codes that sound, or look, alike."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar, Self

from torch import Tensor

from mmgen.codebook import Codebook, Codebooks
from mmgen.decoding.acceptance.lantern import codebook_of
from mmgen.decoding.acceptance.rule import RatioRule, Trial, probability
from mmgen.decoding.options import option
from mmgen.sessions.planes import PlaneSession
from mmgen.sessions.session import Session


@dataclass
class Alike(RatioRule):
    """Keeps x with probability min(1, p(C) / q(C)), C being the codes whose vectors are near that of x.

    Principled coarse-graining (PCG, 2025) judges acoustically similar tokens as a group. x itself is kept, so the law
    of the group of what comes out is near the model's, and that of the token is not: no bound is known. A refusal draws
    from the positive part of p - q. A tolerance of 0 makes it `rejection`.

    In a codec the decoder reads the sum of a frame's vectors, so that another code moves what it reads by no more than
    the tolerance, whatever the other codebooks hold; distances are in units of the codec's own error (see
    `mmgen.codebook.Codebooks`). Vectors of the first codebooks lie far apart and those of the last ones close by:
    what is coarse stays nearly exact by itself. A codebook of meaning, as the first of Mimi, stays exact.

    Deviations: groups come from the codec's vectors, where PCG takes the model's embeddings; every code has a group of
    its own, where PCG shares a token's probability among the groups it is in and so keeps the groups' law.
    """

    name = "alike"
    law = "heuristic"
    paper = "after PCG, 2025, arXiv 2511.13732"

    tolerance: float = option(
        1.0, "distance of the group's vectors from the draft's is less; of sound, in errors of its codec", minimum=0.0,
        maximum=1e6,
    )  # fmt: skip
    neighbours: int = option(32, "nearest codes that may belong to the group", minimum=1, maximum=4096)

    codebook: ClassVar[Codebook | Codebooks | None] = None

    def bind(self, session: Session | PlaneSession) -> Self:
        bound = copy.copy(self)
        bound.codebook = codebook_of(session, self)  # type: ignore[misc]
        return bound

    def masses(self, trial: Trial) -> tuple[Tensor, Tensor]:
        assert self.codebook is not None, "bind it to a session first"
        others = self.codebook.near(trial.tokens, self.neighbours)
        chosen = self.codebook.distances(trial.tokens[..., None], others) < self.tolerance**2
        mass, drafted = (
            probability(law, trial.tokens) + (law.gather(-1, others) * chosen).sum(-1) for law in (trial.p, trial.q)
        )
        return mass, drafted
