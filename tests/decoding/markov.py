"""A session small enough to enumerate: every token depends on the two before it."""

from __future__ import annotations

import functools
import itertools

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from mmgen.codebook import Codebook
from mmgen.layout import RasterLayout, Tree


def markov_tables(vocabulary_size: int = 3) -> Tensor:
    """Three random laws p(token | the two before it): float32 [3, V + 1, V + 1, V]; id V stands before the line.

    The second is peaked, and the third gives some tokens no probability.
    """
    generator = torch.Generator().manual_seed(11)
    logits = torch.randn(3, vocabulary_size + 1, vocabulary_size + 1, vocabulary_size, generator=generator)
    logits[1] *= 2.5
    lowest = logits[2] == logits[2].amin(-1, keepdim=True)
    logits[2] = logits[2].masked_fill(lowest, -torch.inf)
    return logits.softmax(-1)


class MarkovSession:
    """Implements `mmgen.sessions.session.Session` by looking up a table.

    What was read stands in a cache of tokens that is written, rewound and followed as keys and values
    are, so a decoder that leaves it in disorder is given the wrong laws. With its first layer alone, through its heads,
    and in its draft model it says something else: half of its law, half of another.

    Args:
        tables: laws [T, V + 1, V + 1, V].
        rows: table of each row, int64 [B].
        layout: the grid.
        known: int64 [B, N], -1 where free.
    """

    layers, heads, waiting = 2, 3, 0

    def __init__(self, tables: Tensor, rows: Tensor, layout: RasterLayout, known: Tensor | None = None) -> None:
        self.batch, self.length, self.layout = len(rows), layout.length, layout
        self.vocabulary_size = self.begin_token = tables.shape[-1]
        self.device = torch.device("cpu")
        self.known = torch.full((self.batch, self.length), -1) if known is None else known
        self.constrained = bool((self.known >= 0).any())
        self._tables, self._rows = tables, rows[:, None]
        generator = torch.Generator().manual_seed(5)
        self._blurred = (tables + torch.randn(tables.shape, generator=generator).softmax(-1)) / 2
        self.codebook = Codebook(torch.randn(self.vocabulary_size, 2, generator=generator))
        self.widths: list[int] = []

    @functools.cached_property
    def draft(self) -> MarkovSession:
        """The session of the draft model."""
        return MarkovSession(self._blurred, self._rows[:, 0], self.layout, self.known)

    def open(self, window: int) -> None:
        self._cache = torch.full((self.batch, 2 + self.length + window), self.begin_token)
        self._read_by_all = torch.ones_like(self._cache, dtype=torch.bool)
        self._committed = torch.zeros(self.batch, dtype=torch.long)

    def score(self, tokens: Tensor, tree: Tree | None = None, layers: int | None = None) -> Tensor:
        count = tokens.shape[1]
        if layers in (None, self.layers):
            self.widths.append(count)
        parents = torch.arange(-1, count - 1) if tree is None else torch.tensor(tree.parents)
        depths = torch.arange(count) if tree is None else tree.depths
        self._cache.scatter_(1, self._slots(torch.arange(count)), tokens)
        self._read_by_all.scatter_(1, self._slots(torch.arange(count)), layers in (None, self.layers))
        self._before, self._tokens = self._cache.gather(1, self._slots(parents)), tokens
        if layers in (None, self.layers):
            places = torch.arange(self._cache.shape[1]) <= self._slots(torch.tensor([0]))
            assert bool((self._read_by_all | ~places).all()), "a token was read by the first layers only"
        probs = self.early(self.layers if layers is None else layers)
        return self._make_known_certain(probs, self._committed[:, None] + depths) if self.constrained else probs

    def score_at(self, tokens: Tensor, places: Tensor, present: Tensor) -> Tensor:
        """A token that may not be seen counts as the begin token."""
        self.widths.append(tokens.shape[1])
        places = places.expand(self.batch, -1)
        seen = present.expand(self.batch, -1).scatter(1, places, True)
        self._cache.scatter_(1, 1 + places, tokens)
        self._read_by_all.scatter_(1, 1 + places, True)
        visible = seen.gather(1, (places - 1).clamp(min=0))
        before = torch.where(visible, self._cache.gather(1, places), self.begin_token)
        probs = self._look_up(self._tables, before, tokens)
        return self._make_known_certain(probs, places) if self.constrained else probs

    def early(self, layers: int) -> Tensor:
        tables = self._tables if layers == self.layers else self._blurred
        return self._look_up(tables, self._before, self._tokens)

    def _make_known_certain(self, probs: Tensor, positions: Tensor) -> Tensor:
        known = self.known.gather(1, positions.clamp(max=self.length - 1))
        return torch.where(known[..., None] < 0, probs, one_hot(known.clamp(min=0), self.vocabulary_size).float())

    def foresee(self, nodes: Tensor, path: Tensor, positions: Tensor, above: Tensor) -> Tensor:
        assert positions.shape == nodes.shape and above.shape == path.shape[:2]
        fed = self._tokens.gather(1, nodes[:, None]).expand(path.shape[:2])
        return self._look_up(self._blurred, path[..., -2] if path.shape[-1] > 1 else fed, path[..., -1])

    def rewind(self, lengths: Tensor) -> None:
        self._committed = lengths

    def select(self, rows: Tensor) -> None:
        self._cache, self._committed, self._rows = self._cache[rows], self._committed[rows], self._rows[rows]
        self._read_by_all = self._read_by_all[rows]
        self._before, self._tokens = self._before[rows], self._tokens[rows]
        self.known, self.batch = self.known[rows], len(rows)

    def follow(self, nodes: Tensor) -> None:
        moved = self._cache.gather(1, self._slots(nodes))
        self._cache.scatter_(1, self._slots(1 + torch.arange(nodes.shape[1])), moved)

    def _look_up(self, tables: Tensor, before: Tensor, tokens: Tensor) -> Tensor:
        size = self.vocabulary_size + 1
        return tables.flatten(0, 2)[(self._rows * size + before) * size + tokens]

    def _slots(self, nodes: Tensor) -> Tensor:
        """Where nodes of the window stand in the cache, behind one begin token: int64 [B, M]."""
        return 1 + self._committed[:, None] + nodes


def sequence_law(table: Tensor, length: int, known: Tensor | None = None) -> Tensor:
    """Probability of each of the V^N lines, the first token the most significant digit: float64 [V^N]."""
    size = table.shape[-1]
    law = []
    for line in itertools.product(range(size), repeat=length):
        probability, before = 1.0, (size, size)
        for position, token in enumerate(line):
            if known is not None and known[position] >= 0:
                probability *= token == int(known[position])
            else:
                probability *= float(table[before[0], before[1], token])
            before = (before[1], token)
        law.append(probability)
    return torch.tensor(law, dtype=torch.float64)


def least_p_value(tokens: Tensor, law: Tensor, size: int) -> float:
    """How surprising lines [B, N] are under a law of lines: least p-value of chi-square tests.

    Tested are whole lines, single positions and neighbouring pairs. A line of no probability makes it 0.
    """
    batch, length = tokens.shape
    index = torch.zeros(batch, dtype=torch.long)
    for column in tokens.unbind(1):
        index = index * size + column
    counts = torch.bincount(index, minlength=len(law)).double()
    if bool((counts[law == 0] > 0).any()):
        return 0.0
    shape = (size,) * length
    joint, expected = counts.view(shape), (law / law.sum() * batch).view(shape)
    subsets = [tuple(range(length)), *((i,) for i in range(length)), *((i, i + 1) for i in range(length - 1))]
    values = []
    for kept in subsets:
        others = [axis for axis in range(length) if axis not in kept]
        observed, wanted = (x.sum(others).flatten() if others else x.flatten() for x in (joint, expected))
        values.append(_p_value(observed, wanted))
    return min(values)


def _p_value(observed: Tensor, expected: Tensor) -> float:
    """Pearson's chi-square test; cells that expect fewer than 5 count as one."""
    rare = expected < 5
    observed, expected = (torch.cat((x[~rare], x[rare].sum()[None])) for x in (observed, expected))
    observed, expected = observed[expected > 0], expected[expected > 0]
    if len(expected) < 2:
        return 1.0
    statistic = ((observed - expected) ** 2 / expected).sum()
    freedom = torch.tensor((len(expected) - 1) / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(freedom, statistic / 2))
