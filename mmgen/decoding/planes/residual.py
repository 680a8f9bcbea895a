"""Draws from what a product of laws has over another: (P - Q)+ of planes, whose tables nobody could write down."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_MOST = 1024
"""Candidates of one round; the first has one, and each has twice as many as the round before."""

_ROUNDING = 2.0**-22
"""Part by which rounding may change a token's probability in float32, from one evaluation to another."""

Uniform = Callable[[Tensor, int, int], Tensor]
"""From rows [r], the number of their first candidate and how many there are, n: float64 [r, n, M + 1] in [0, 1)."""


def log_ratio(p: Tensor, q: Tensor, mass: Tensor, drafted: Tensor) -> Tensor:
    """Logarithms of P / Q, of planes whose tokens are independent: float64 [...].

    Args:
        p: laws of the tokens [..., M, V]; rounding may keep them from summing to one.
        q: likewise.
        mass: what counts for each token under p [..., M], such as its own probability.
        drafted: likewise under q.
    """
    logs = [own.double().log() - law.sum(-1, dtype=torch.float64).log() for own, law in ((mass, p), (drafted, q))]
    return (logs[0] - logs[1]).sum(-1)


def draw_residual(p: Tensor, q: Tensor, uniform: Uniform) -> Tensor:
    """Planes int64 [R, M] distributed as (P - Q)+, made to sum to one, of products P of p and Q of q [R, M, V].

    Thinning: planes are drawn from P, and the first that a coin keeps with probability (1 - Q / P)+ is the answer. That
    takes 1 / TV(P, Q) candidates on average, and each is needed with probability TV at most. Rows draw on until they
    have theirs: ending early would leave another law. Where P exceeds Q by no more than rounding does, P is drawn from:
    a draft of Q falls so seldom that the law is off by less than rounding, too.
    """
    p, q = (law.double() / law.sum(-1, keepdim=True, dtype=torch.float64) for law in (p, q))
    largest = (p.log() - q.log()).masked_fill(p == 0, -torch.inf).amax(-1).sum(-1)
    equal, cumulative = largest <= p.shape[1] * _ROUNDING, p.cumsum(-1)
    cumulative = cumulative / cumulative[..., -1:]
    drawn = torch.zeros(p.shape[:2], dtype=torch.long, device=p.device)
    rows, first, number = torch.arange(len(p), device=p.device), 0, 1
    while len(rows):
        numbers = uniform(rows, first, number)
        points = numbers[..., :-1].transpose(1, 2).contiguous()
        tokens = torch.searchsorted(cumulative[rows], points, right=True).clamp(max=p.shape[-1] - 1)
        ratio = (p[rows].gather(-1, tokens).log() - q[rows].gather(-1, tokens).log()).sum(1)
        kept = (numbers[..., -1] < -torch.expm1(-ratio)) | equal[rows, None]
        found = kept.any(1)
        drawn[rows[found]] = tokens[found, :, kept[found].long().argmax(1)]
        rows, first, number = rows[~found], first + number, min(2 * number, _MOST)
    return drawn
