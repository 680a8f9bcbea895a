"""What codes stand for: vectors, and which codes are near each other."""

from __future__ import annotations

from collections.abc import Sequence

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

    @property
    def size(self) -> int:
        """Codes V."""
        return len(self.vectors)

    def neighbours(self, count: int) -> Tensor:
        """The nearest other codes of each, nearest first: int64 [V, min(count, V - 1)].

        Euclidean; of codes equally near the one with the smaller id comes first. The table is made once.
        """
        count = min(count, len(self.vectors) - 1)
        if count > self._neighbours.shape[1]:
            self._neighbours = torch.cat([self._nearest(start, count) for start in range(0, len(self.vectors), _BLOCK)])
        return self._neighbours[:, :count]

    def near(self, codes: Tensor, count: int) -> Tensor:
        """The nearest other codes of codes int64 [...], nearest first: int64 [..., min(count, V - 1)]."""
        return self.neighbours(count)[codes]

    def distances(self, codes: Tensor, others: Tensor) -> Tensor:
        """Squared Euclidean distances [...] between codes int64 [...] and others int64 [...], which broadcast."""
        return (self.vectors[codes] - self.vectors[others]).square().sum(-1)

    def _nearest(self, start: int, count: int) -> Tensor:
        rows = self.vectors[start : start + _BLOCK]
        distances = torch.cdist(rows, self.vectors, compute_mode="donot_use_mm_for_euclid_dist")
        distances[torch.arange(len(rows)), torch.arange(start, start + len(rows))] = torch.inf
        return distances.argsort(dim=-1, stable=True)[:, :count]


class Codebooks:
    """Codebooks side by side: slot k of codes [..., K] holds one of book k. It is asked what a `Codebook` is.

    Args:
        books: of each slot, at least one of them, all of one size; None where no code is near another.
    """

    _vectors: Sequence[Tensor | None] = ()

    def __init__(self, books: Sequence[Codebook | None]) -> None:
        self.books = tuple(books)
        self.size = next(book.size for book in self.books if book is not None)

    @classmethod
    def of_residuals(cls, vectors: Sequence[Tensor | None]) -> Codebooks | None:
        """The codebooks of a codec that sums vectors, with distances in units of its own error.

        Its error is what the last codebook leaves. For that stands, as it needs no sound to be known, how long the
        vectors of the last codebook are, as root mean square: the last correction that is made.

        Args:
            vectors: of each slot, [V, C], all in the space where they are summed; None where no code is near another.

        Returns:
            None where all of them are.
        """
        known = {id(own): own.detach().float() for own in vectors if own is not None}
        if not known:
            return None
        error = float(list(known.values())[-1].square().sum(-1).mean().sqrt()) or 1.0
        books = {name: Codebook(own / error) for name, own in known.items()}
        made = cls([None if own is None else books[id(own)] for own in vectors])
        made._vectors = [None if own is None else own.clone() for own in vectors]
        return made

    def stand_for(self, vectors: Sequence[Tensor | None]) -> bool:
        """Whether `of_residuals` made them of the same vectors, on the same device."""
        return len(vectors) == len(self._vectors) and all(
            own is other is None
            or (own is not None and other is not None and own.device == other.device and torch.equal(own, other))
            for own, other in zip(vectors, self._vectors, strict=True)
        )

    def near(self, codes: Tensor, count: int) -> Tensor:
        """The nearest other codes of codes int64 [..., K], nearest first: int64 [..., K, min(count, V - 1)].

        Where no code is near another, any.
        """
        count = min(count, self.size - 1)
        pairs = zip(self.books, codes.unbind(-1), strict=True)
        any_codes = (*codes.shape[:-1], count)
        found = (codes.new_zeros(any_codes) if book is None else book.near(own, count) for book, own in pairs)
        return torch.stack(list(found), dim=-2)

    def distances(self, codes: Tensor, others: Tensor) -> Tensor:
        """Squared distances [..., K, n] between codes int64 [..., K, n or 1] and others int64 [..., K, n]."""
        slots = zip(self.books, codes.unbind(-2), others.unbind(-2), strict=True)
        found = [
            torch.full(other.shape, torch.inf, device=other.device) if book is None else book.distances(own, other)
            for book, own, other in slots
        ]
        return torch.stack(found, dim=-2)


def nearest(points: Tensor, vectors: Tensor) -> Tensor:
    """The vector [V, C] that each point [..., C] is nearest to (Euclidean): int64 [...]; of equals the first."""
    squares = vectors.square().sum(-1)
    blocks = [(squares - 2 * block @ vectors.T).argmin(-1) for block in points.flatten(0, -2).split(_BLOCK)]
    return torch.cat(blocks).view(points.shape[:-1])
