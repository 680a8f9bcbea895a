"""What codes stand for: vectors, and which codes are near each other."""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK = 2048
"""Vectors compared with all others at a time: what bounds the memory."""


class Codebook:
    """The vectors of a tokenizer's codes.

    Args:
        vectors: [V, C]; code i of the vocabulary stands for row i.
    """

    def __init__(self, vectors: Tensor) -> None:
        self.vectors = vectors.detach().float()
        self._neighbours = torch.empty(len(vectors), 0, dtype=torch.long)

    def neighbours(self, count: int) -> Tensor:
        """The nearest other codes of each, nearest first: int64 [V, min(count, V - 1)].

        Euclidean; of codes equally near the one with the smaller id comes first. The table is made once.
        """
        count = min(count, len(self.vectors) - 1)
        if count > self._neighbours.shape[1]:
            self._neighbours = torch.cat([self._nearest(start, count) for start in range(0, len(self.vectors), _BLOCK)])
        return self._neighbours[:, :count]

    def distances(self, codes: Tensor, others: Tensor) -> Tensor:
        """Squared Euclidean distances [...] between codes int64 [...] and others int64 [...], which broadcast."""
        return (self.vectors[codes] - self.vectors[others]).square().sum(-1)

    def _nearest(self, start: int, count: int) -> Tensor:
        rows = self.vectors[start : start + _BLOCK]
        distances = torch.cdist(rows, self.vectors, compute_mode="donot_use_mm_for_euclid_dist")
        distances[torch.arange(len(rows)), torch.arange(start, start + len(rows))] = torch.inf
        return distances.argsort(dim=-1, stable=True)[:, :count]


def nearest(points: Tensor, vectors: Tensor) -> Tensor:
    """The vector [V, C] that each point [..., C] is nearest to (Euclidean): int64 [...]; of equals the first."""
    squares = vectors.square().sum(-1)
    blocks = [(squares - 2 * block @ vectors.T).argmin(-1) for block in points.flatten(0, -2).split(_BLOCK)]
    return torch.cat(blocks).view(points.shape[:-1])
