"""Centres of many points: the codebooks of the tokenizers of patches."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from mmgen.codebook import nearest


def distinct(parts: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """The different points of parts [n, C], and how often each occurs: [M, C] and float32 [M]."""
    counted = [part.unique(dim=0, return_counts=True) for part in parts]
    points, index = torch.cat([points for points, _ in counted]).unique(dim=0, return_inverse=True)
    counts = torch.cat([counts for _, counts in counted]).float()
    return points, torch.zeros(len(points)).index_add_(0, index, counts)


def centres_of(points: Tensor, weights: Tensor, count: int, iterations: int, generator: torch.Generator) -> Tensor:
    """The k-means (Lloyd 1982) of weighted points.

    A centre that loses all its points moves to one that is badly served. Where there are no more points than centres,
    each is one, and the other centres repeat the first.

    Args:
        points: [M, C], all different.
        weights: [M], how much each counts.
        count: centres.
        iterations: how often points choose their centre anew.
        generator: draws the first centres.

    Returns:
        [count, C].
    """
    if len(points) <= count:
        return torch.cat((points, points[:1].expand(count - len(points), -1)))
    centres = points[torch.multinomial(weights, count, generator=generator)]
    for _ in range(iterations):
        chosen = nearest(points, centres)
        total = torch.zeros_like(centres).index_add_(0, chosen, points * weights[:, None])
        weight = torch.zeros(count).index_add_(0, chosen, weights)
        errors, empty = (points - centres[chosen]).square().sum(-1) * weights, weight == 0
        centres = torch.where(empty[:, None], centres, total / weight.clamp(min=1e-9)[:, None])
        if empty.any():
            centres[empty] = points[torch.multinomial(errors, int(empty.sum()), generator=generator)]
    return centres
