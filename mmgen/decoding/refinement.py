"""Masked refinement: hidden tokens are all drawn at once, the surest are kept, and the others drawn again.

Chang et al. 2022 ("MaskGIT", arXiv 2202.04200). Published samplers differ in details; these are those of aMUSEd (Patil
et al. 2024, arXiv 2401.01808): the schedule is computed in float32, where two thirds of the way leave L / 2 - 1 of L
tokens hidden (in float64: L / 2).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_LEAST = 1e-20
"""Probabilities count as this much at least: logarithms stay finite."""


def hidden_after(number: int, passes: int, length: int, hidden: Tensor) -> Tensor:
    """How many tokens are still hidden after a pass, by the cosine schedule.

    At least one token is kept in every pass, and at least one is left for the last pass, which keeps all. Deviation:
    where only one is left before, it is kept; aMUSEd draws it again until the last pass.

    Args:
        number: of the pass, from 0.
        passes: how many there are.
        length: tokens of the whole, known ones among them.
        hidden: int64 [B], how many are hidden before the pass.

    Returns:
        int64 [B].
    """
    if number + 1 >= passes:
        return torch.zeros_like(hidden)
    part = torch.tensor(number + 1) / passes
    planned = int((length * torch.cos(part * math.pi / 2)).floor())
    return torch.minimum((hidden - 1).clamp(min=0), torch.full_like(hidden, max(planned, 1)))


def confidence(probs: Tensor, tokens: Tensor, gumbel: Tensor, temperature: float) -> Tensor:
    """How sure drawn tokens are: log p of each, and noise.

    Args:
        probs: [..., L, V].
        tokens: int64 [..., L], drawn from them.
        gumbel: [..., L].
        temperature: of the noise.
    """
    own = probs.gather(-1, tokens[..., None]).squeeze(-1)
    return own.clamp(min=_LEAST).log() + temperature * gumbel


def surest(confidences: Tensor, free: Tensor, hidden: Tensor) -> Tensor:
    """Which tokens are kept: all but the least sure. Those that are not free always are.

    Without ties that is the published rule, to hide what is less sure than the token that ranks `hidden`. Of tokens
    that tie, those that stand first are hidden, so that numbers are as planned.

    Args:
        confidences: [B, L].
        free: bool [B, L].
        hidden: int64 [B], how many stay hidden, at most those that are free.

    Returns:
        bool [B, L].
    """
    order = confidences.masked_fill(~free, torch.inf).argsort(dim=-1, stable=True)
    ranked = torch.arange(order.shape[-1], device=order.device) >= hidden.to(order.device, non_blocking=True)[:, None]
    return torch.zeros_like(free).scatter(-1, order, ranked.expand_as(free))
