"""Noise to tokens without chance: what a student of Distilled Decoding learns (Liu et al. 2024, arXiv 2412.17153)."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from mmgen.decoding.scales.scale_wise import _surest
from mmgen.sessions.scales import ScaleSession

_SHARPEST = 200.0
"""Where the path ends: signal over noise. Codes further apart than a few hundredths are told apart by then."""


@torch.no_grad()
def transport(noise: Tensor, probs: Tensor, codebook: Tensor, steps: int = 128, kept: int = 0) -> Tensor:
    """The codes that flow matching takes noise to; of standard normal noise they are distributed as `probs`.

    Along x(t) = (1 - t) noise + t c, with c a code's vector drawn from `probs`, the velocity at x is known in closed
    form: (m - x) / (1 - t), with m the mean of the codes, each weighted with its probability times
    exp(-|x - t c|^2 / (2 (1 - t)^2)). In y = x / (1 - t) over s = t / (1 - t), signal over noise, the same path is

        dy/ds = m,  weights of m: softmax(log p + s y.c - s^2 |c|^2 / 2),  y(0) = noise,

    without the singularity at t = 1. It is followed by Heun's method (1900) in steps even in log(1 + s), up to
    s = 200; what is likeliest there is the code. The authors have not published their generator; its paper says no
    more than that an ODE is solved for each token.

    Args:
        noise: float [..., C].
        probs: [..., V], summing to one.
        codebook: [V, C], the codes' vectors.
        steps: how many; each costs four products of [..., C] with the codebook.
        kept: of the likeliest codes, how many the law is cut to, which makes large codebooks quick; 0 keeps all.

    Returns:
        int64 [...].
    """
    codes = codebook.float()
    if 0 < kept < len(codes):
        probs, names = probs.topk(kept, dim=-1)
        return names.gather(-1, _ends(noise.float(), probs.float(), codes[names], steps)[..., None])[..., 0]
    return _ends(noise.float(), probs.float(), codes, steps)


def _ends(noise: Tensor, probs: Tensor, codes: Tensor, steps: int) -> Tensor:
    """`transport` to codes [V, C] of all tokens, or [..., V, C] of each its own; `probs` need not sum to one."""
    prior, half_squares = probs.log(), codes.square().sum(-1) / 2

    def weights(y: Tensor, s: float) -> Tensor:
        return (prior + s * _product(y, codes.mT) - s * s * half_squares).softmax(-1)

    places = [math.expm1(math.log1p(_SHARPEST) * step / steps) for step in range(steps + 1)]
    y, mean = noise, _product(weights(noise, 0.0), codes)
    for here, there in pairwise(places):
        following = _product(weights(y + (there - here) * mean, there), codes)
        y = y + (there - here) * (mean + following) / 2
        mean = _product(weights(y, there), codes)
    return weights(y, _SHARPEST).argmax(-1)


def _product(rows: Tensor, matrix: Tensor) -> Tensor:
    """Each row [..., M] times the matrix, [M, N] for all or [..., M, N] for each: [..., N]."""
    return (rows[..., None, :] @ matrix).squeeze(-2)


@torch.no_grad()
def taught_tokens(
    session: ScaleSession,
    noise: Tensor,
    codebook: Tensor,
    steps: int = 128,
    kept: int = 0,
    passes: int = 1,
    entropy: float = 0.5,
) -> Tensor:
    """The picture that a teacher makes of noise: with the noise itself, a pair that a student is trained on.

    Scale after scale, each token is taken from its own noise by `transport`, under the law that the session gives it,
    guided and truncated as the session says. Deviation: a scale may be made in passes, as the decoder `scale-wise`
    draws it; then a token depends on the noise of those of its scale that came before.

    Args:
        session: of the teacher, for the pictures that are wanted; it is opened here.
        noise: standard normal [B, L, C], one vector for each token of the first scales or of all; see `normal_noise` of
            the decoder `distilled`.
        codebook: [V, C], the tokenizer's.
        steps: of each token's path, as in `transport`.
        kept: of each token's codes, likewise.
        passes: as in `scale-wise`.
        entropy: likewise.

    Returns:
        Tokens int64 [B, L].
    """
    ends = session.layout.ends
    session.open([0] * (ends.index(noise.shape[1]) + 1))
    while not session.finished:
        span = session.layout.span(range(session.scale, session.scale + 1))
        tokens = torch.full_like(session.tokens[:, span], -1)
        for left in reversed(range(passes if session.is_stepwise else 1)):
            free = tokens < 0
            if not free.any():
                break
            probs = session.score(tokens) if session.is_stepwise else session.score()
            chosen = free & _surest(probs, free, entropy) if left else free
            tokens = torch.where(chosen, transport(noise[:, span], probs, codebook, steps, kept), tokens)
        session.write(tokens)
    return session.tokens[:, : noise.shape[1]]
