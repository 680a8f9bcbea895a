"""Noise to tokens without chance: what a student of Distilled Decoding learns (Liu et al. 2024, arXiv 2412.17153)."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from mmgen.sessions.scales import ScaleSession

_SHARPEST = 200.0
"""Where the path ends: signal over noise. Codes further apart than a few hundredths are told apart by then."""


@torch.no_grad()
def transport(noise: Tensor, probs: Tensor, codebook: Tensor, steps: int = 128) -> Tensor:
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
        steps: how many; each costs two products of [..., C] with the codebook.

    Returns:
        int64 [...].
    """
    codes, prior = codebook.float(), probs.float().log()
    half_squares = codes.square().sum(-1) / 2

    def weights(y: Tensor, s: float) -> Tensor:
        return (prior + s * (y @ codes.T) - s * s * half_squares).softmax(-1)

    places = [math.expm1(math.log1p(_SHARPEST) * step / steps) for step in range(steps + 1)]
    y, mean = noise.float(), probs.float() @ codes
    for here, there in pairwise(places):
        following = weights(y + (there - here) * mean, there) @ codes
        y = y + (there - here) * (mean + following) / 2
        mean = weights(y, there) @ codes
    return weights(y, _SHARPEST).argmax(-1)


@torch.no_grad()
def taught_tokens(session: ScaleSession, noise: Tensor, codebook: Tensor, steps: int = 128) -> Tensor:
    """The picture that a teacher makes of noise: with the noise itself, a pair that a student is trained on.

    Scale after scale, each token is taken from its own noise by `transport`, under the law that the session gives it,
    guided and truncated as the session says.

    Args:
        session: of the teacher, for the classes of the pictures; it is opened here.
        noise: standard normal [B, N, C], one vector for each token; see `normal_noise` of the decoder `distilled`.
        codebook: [V, C], the tokenizer's.
        steps: of each token's path.

    Returns:
        Tokens int64 [B, N].
    """
    session.open([0] * len(session.layout.sizes))
    while not session.finished:
        span = session.layout.span(range(session.scale, session.scale + 1))
        session.write(transport(noise[:, span], session.score(), codebook, steps))
    return session.tokens
