"""Jacobi decoding under fixed noise: the seed's own picture, in fewer evaluations."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mmgen.decoding.speculation import Drafts, Slots, Speculation, Verdict
from mmgen.rng import race


@dataclass
class Jacobi(Speculation):
    """Commits the longest run of drafts equal to what seeded sampling would draw, and the token after it.

    Every position has Gumbel noise fixed by seed and position, and its token is
    argmax(log p + noise): a fixed point of parallel updates (Jacobi decoding, Santilli et al. 2023,
    algorithm 1, there for greedy decoding). Drafts never enter the result, so the picture is the one
    `autoregressive` draws from the same seed, whatever the window and the drafter.
    """

    name = "jacobi"
    law = "exact"
    paper = "Santilli et al. 2023, arXiv 2305.10427, with the noise of seeded sampling"
    seeded = True
    needs_laws = False

    def judge(self, probs: Tensor, drafts: Drafts, slots: Slots) -> Verdict:
        noise = slots.rng.token_noise(slots.positions, probs.shape[-1], slots.length)
        tokens = race(probs, noise)
        return Verdict(tokens == drafts.tokens, tokens, tokens)
