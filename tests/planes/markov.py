"""A session of planes small enough to enumerate: every plane depends on the two before it."""

from __future__ import annotations

import functools
import itertools

import torch
from decoding.markov import least_p_value
from torch import Tensor
from torch.nn.functional import pad

from mmgen.decoding import planes
from mmgen.layout import PlaneLayout
from mmgen.rng import Rng

LAYOUT = PlaneLayout((2, 3))
"""Planes of 1, 2, 2 and 1 tokens."""

SIZE = 3
SURPRISE = 1e-7
"""Exact decoders stay far above this p-value; all runs have fixed seeds."""


@functools.cache
def tables(size: int = SIZE) -> Tensor:
    """Three random laws, float32 [3, P, states, states, M, V], of a plane given the states of the two before it.

    The second is peaked, and the third gives some tokens no probability.
    """
    generator, states = torch.Generator().manual_seed(11), size ** LAYOUT.valid.shape[1] + 1
    logits = torch.randn(3, LAYOUT.count, states, states, LAYOUT.valid.shape[1], size, generator=generator)
    logits[1] *= 2.5
    logits[2] = logits[2].masked_fill(logits[2] == logits[2].amin(-1, keepdim=True), -torch.inf)
    return logits.softmax(-1)


class MarkovPlanes:
    """Implements `mmgen.sessions.planes.PlaneSession` by looking up a table.

    What was read stands in a cache that is written and rewound as keys and values are, so a decoder that leaves it in
    disorder is given the wrong laws.

    Args:
        rows: table of each row, int64 [B].
        known: int64 [B, N], -1 where free.
        laws: the tables.
    """

    def __init__(self, rows: Tensor, known: Tensor | None = None, laws: Tensor | None = None) -> None:
        self.layout, self.batch, self.device = LAYOUT, len(rows), torch.device("cpu")
        self._tables, self._rows = tables() if laws is None else laws, rows
        self.vocabulary_size = self._tables.shape[-1]
        given = LAYOUT.known().expand(self.batch, -1) if known is None else known
        self.known, self.constrained = LAYOUT.fold(given), bool((given >= 0).any())
        self.windows: list[int] = []

    def open(self, window: int) -> None:
        none_before = self._tables.shape[2] - 1
        self._cache = torch.full((self.batch, 2 + LAYOUT.count + window), none_before)
        self.rewind(0)

    def score(self, planes: Tensor) -> Tensor:
        count = planes.shape[1]
        self.windows.append(count)
        places = self._committed[:, None] + torch.arange(count)
        digits = self.vocabulary_size ** torch.arange(planes.shape[2])
        read = torch.where(LAYOUT.valid[(places - 1).clamp(0, LAYOUT.count - 1)], planes, 0)
        begun = places > 0
        self._cache.scatter_(1, 1 + places, torch.where(begun, (read * digits).sum(-1), self._cache[:, :1]))
        nearer, farther = (self._cache.gather(1, places + back) for back in (1, 0))
        probs = self._tables[self._rows[:, None], places.clamp(max=LAYOUT.count - 1), farther, nearer]
        held = pad(self.known, (0, 0, 0, count)).gather(1, places[..., None].expand(-1, -1, planes.shape[2]))
        certain = torch.nn.functional.one_hot(held.clamp(min=0), self.vocabulary_size).float()
        return torch.where(held[..., None] < 0, probs, certain)

    def rewind(self, lengths: Tensor | int) -> None:
        self._committed = torch.as_tensor(lengths).expand(self.batch)

    def select(self, rows: Tensor) -> None:
        self._cache, self._committed, self._rows = self._cache[rows], self._committed[rows], self._rows[rows]
        self.known, self.batch = self.known[rows], len(rows)


@functools.cache
def line_law(index: int, known: tuple[int, ...] | None = None) -> Tensor:
    """Probability of each of the V^N lines, the first token the most significant digit: float64 [V^N]."""
    table, given = tables()[index].double(), [-1] * LAYOUT.length if known is None else known
    starts, law = (0, *LAYOUT.ends), []
    for line in itertools.product(range(SIZE), repeat=LAYOUT.length):
        chance, states = 1.0, [SIZE ** LAYOUT.valid.shape[1]] * 2
        for plane, (start, end) in enumerate(itertools.pairwise(starts)):
            for slot, token in enumerate(line[start:end]):
                free = given[start + slot] < 0
                here = table[plane, states[0], states[1], slot, token]
                chance *= float(here) if free else float(token == given[start + slot])
            states = [states[1], sum(token * SIZE**slot for slot, token in enumerate(line[start:end]))]
        law.append(chance)
    return torch.tensor(law, dtype=torch.float64)


def check_law(decoder: str, rows: int = 6000, known: tuple[int, ...] | None = None, **options: object) -> None:
    """The lines a decoder writes are distributed as enumeration says: `rows` of each of three tables, in one batch.

    Args:
        known: token of each place of the line, -1 where free; every second row is given them.
    """
    batch = 3 * rows
    table, given = torch.arange(batch) % 3, LAYOUT.known().repeat(batch, 1)
    constrained = torch.arange(batch) // 3 % 2 == (1 if known is not None else 2)
    if known is not None:
        given[constrained] = torch.tensor(known)
    generation = planes.make(decoder, **options).generate(MarkovPlanes(table, given), Rng(range(batch)))
    assert bool((generation.committed == LAYOUT.length).all())
    for index in range(3):
        for part, held in ((~constrained, None), (constrained, known)):
            chosen = generation.tokens[part & (table == index)]
            if len(chosen):
                p_value = least_p_value(chosen, line_law(index, held), SIZE)
                assert p_value > SURPRISE, f"{decoder} {options}: p-value {p_value:.1e}, table {index}, known {held}"
