"""What must hold of the decoding core, as functions that raise AssertionError; used with and without mutations."""

from __future__ import annotations

import functools
import itertools
from unittest import mock

import torch
from decoding.markov import MarkovSession, least_p_value, markov_tables, sequence_law
from torch import Tensor

from mmgen import decoding
from mmgen.decoding import speculation
from mmgen.decoding.acceptance import rule as rules
from mmgen.decoding.acceptance.rejection import RejectionSampling
from mmgen.decoding.acceptance.rule import AcceptanceRule, Trial
from mmgen.layout import RasterLayout
from mmgen.rng import Purpose, Rng

INITIAL = ("uniform", "random", "horizontal-repeat", "vertical-repeat", "horizontal-sample", "vertical-sample")
"""The drafters that need no second model and remember nothing."""
LAYOUT = RasterLayout(2, 3)
SURPRISE = 1e-7
"""Exact decoders stay far above this p-value; all runs have fixed seeds."""


def check_law(
    decoder: str, rows: int = 8000, vocabulary_size: int = 3, layout: RasterLayout = LAYOUT,
    known: tuple[int, ...] | None = None, buckets: tuple[int, ...] | None = None, **options: object,
) -> None:  # fmt: skip
    """The lines a decoder writes are distributed as enumeration says: `rows` of each of three tables, in one batch.

    Args:
        known: token of each position, -1 where free; the second half of the rows is given them.
        buckets: window lengths the adaptive window chooses from, in place of its own.
    """
    tables, batch = markov_tables(vocabulary_size), 3 * rows
    table, given = torch.arange(batch) % 3, torch.full((batch, layout.length), -1)
    if known is not None:
        given[batch // 2 :] = torch.tensor(known)
    session = MarkovSession(tables, table, layout, given)
    with mock.patch.object(speculation, "BUCKETS", buckets or speculation.BUCKETS):
        generation = decoding.make(decoder, **options).generate(session, Rng(range(batch)))
    assert bool((generation.committed == layout.length).all())
    parts = (
        {"free": slice(0, batch)} if known is None else {"free": slice(batch // 2), "known": slice(batch // 2, batch)}
    )
    for name, part in parts.items():
        for index in range(3):
            chosen = generation.tokens[part][table[part] == index]
            p_value = least_p_value(chosen, _law(index, vocabulary_size, layout.length, known, name), vocabulary_size)
            assert p_value > SURPRISE, f"{decoder} {options}: p-value {p_value:.1e}, table {index}, {name} rows"


@functools.cache
def _law(index: int, vocabulary_size: int, length: int, known: tuple[int, ...] | None, rows: str) -> Tensor:
    given = torch.tensor(known) if known is not None and rows == "known" else None
    return sequence_law(markov_tables(vocabulary_size)[index], length, given)


def check_rejection_composes() -> None:
    """Drafts drawn from q, kept or corrected, are distributed as p: summed over every token and coin."""
    p, q = law_pairs()
    composed = compose(RejectionSampling(), p, q, candidates=1)
    torch.testing.assert_close(composed, p, rtol=0, atol=1e-12)


def check_siblings_compose() -> None:
    """Candidates drawn without replacement, the first accepted taken: distributed as p, summed over every choice."""
    p, q = law_pairs()
    for candidates in (2, 3):
        composed = compose(RejectionSampling(), p, q, candidates)
        torch.testing.assert_close(composed, p, rtol=0, atol=1e-12)


def check_corrections_have_no_leak() -> None:
    """A correction gives nothing to tokens the draft law holds enough of, and rounding never makes it NaN."""
    p, q = law_pairs()
    rule = RejectionSampling()
    correction = rule.correction(trial(p, q))
    differs = ((p - q).clamp(min=0).sum(-1) > 0)[:, None]
    assert bool((correction[differs & (p <= q)] == 0).all())
    torch.testing.assert_close(correction.sum(-1), torch.ones(len(p), dtype=p.dtype), rtol=0, atol=1e-12)
    torch.testing.assert_close(rule.correction(trial(p, p)), p, rtol=0, atol=0)


def check_coin_of_zero() -> None:
    """A token of no probability is refused by every coin, and a certain one is refused by none."""
    rule, p = RejectionSampling(), torch.tensor([0.0, 1.0])
    for coin in (0.0, 2.0**-24, 1 - 2.0**-24):
        coins, flat = torch.tensor(coin), torch.tensor([0.5, 0.5])
        assert not bool(rule.keep(trial(p, flat, torch.tensor(0), coins))), f"a coin of {coin} kept an impossible token"
        assert bool(rule.keep(trial(p, p, torch.tensor(1), coins))), f"a coin of {coin} refused a certain token"


def check_lines_are_possible() -> None:
    """Where every coin falls on zero, no decoder commits a token of no probability."""
    tables, batch = markov_tables(), 300
    uniform = Rng.uniform

    def zero(self: Rng, purpose: Purpose, positions: Tensor, draw: Tensor | int = 0) -> Tensor:
        numbers = uniform(self, purpose, positions, draw)
        return numbers * (purpose != Purpose.ACCEPT)

    for decoder in ("speculative-jacobi", "coupled-jacobi", "gumbel-jacobi", "proactive"):
        session = MarkovSession(tables, torch.full((batch,), 2), LAYOUT)
        with mock.patch.object(Rng, "uniform", zero):
            generation = decoding.make(decoder, drafter="uniform").generate(session, Rng(range(batch)))
        law = sequence_law(tables[2], LAYOUT.length)
        digits = 3 ** torch.arange(LAYOUT.length - 1, -1, -1)
        assert bool((law[(generation.tokens * digits).sum(1)] > 0).all()), decoder


def trial(p: Tensor, q: Tensor, tokens: Tensor | None = None, coins: Tensor | None = None) -> Trial:
    """A trial of single drafts, the first and last of their windows."""
    tokens = torch.zeros(p.shape[:-1], dtype=torch.long) if tokens is None else tokens
    coins = torch.zeros(p.shape[:-1], dtype=p.dtype) if coins is None else coins
    return Trial(p, q, tokens, coins, torch.zeros_like(tokens), torch.ones_like(tokens, dtype=torch.bool))


def law_pairs() -> tuple[Tensor, Tensor]:
    """Laws p and q, float64 [M, 5] each: random, sparse, equal, nearly equal, disjoint, certain."""
    generator = torch.Generator().manual_seed(3)
    p = torch.randn(12, 5, generator=generator, dtype=torch.float64).mul(2).softmax(-1)
    q = torch.randn(12, 5, generator=generator, dtype=torch.float64).mul(2).softmax(-1)
    p[3, :2] = 0
    q[4, 1:3] = 0
    q[5] = p[5]
    q[6] = p[6] * (1 + 1e-4 * torch.tensor([1.0, -1, 1, -1, 1], dtype=torch.float64))
    p[7], q[7] = torch.eye(5, dtype=torch.float64)[0], torch.eye(5, dtype=torch.float64)[3]
    q[8] = torch.eye(5, dtype=torch.float64)[2]
    q[9] = 0.2
    p[10, 1:], q[10, :1] = 0, 0
    return p / p.sum(-1, keepdim=True), q / q.sum(-1, keepdim=True)


def compose(rule: AcceptanceRule, p: Tensor, q: Tensor, candidates: int) -> Tensor:
    """Law of what recursive rejection leaves of p, over all tuples of candidates and all coins: [M, V]."""
    size, total = p.shape[-1], torch.zeros_like(p)
    for drawn in itertools.product(range(size), repeat=candidates):
        weight, here, law = torch.ones(len(p), dtype=p.dtype), p, q
        chance, wanted, proposals = torch.ones_like(weight), torch.zeros_like(p), q
        for token in drawn:
            tokens = torch.full((len(p),), token)
            weight = weight * proposals[:, token]
            kept = torch.where(law.sum(-1) > 0, _kept(rule, here, law, tokens), 0)
            wanted[:, token] += chance * kept
            chance = chance * (1 - kept)
            # A law that ran out of tokens draws nothing: one arbitrary token stands for it.
            following = rules.without(proposals, tokens)
            empty = following.sum(-1, keepdim=True) == 0
            here, law = rule.correction(trial(here, law, tokens)), rules.without(law, tokens)
            proposals = torch.where(empty, torch.eye(size, dtype=p.dtype)[0], following)
        total += weight[:, None] * (wanted + chance[:, None] * here)
    return total


def _kept(rule: AcceptanceRule, p: Tensor, q: Tensor, tokens: Tensor) -> Tensor:
    """Measure of the coins that keep a token: where `keep` turns from true to false, by halving."""
    low, high = torch.zeros_like(p[:, 0]), torch.ones_like(p[:, 0])
    always = rule.keep(trial(p, q, tokens, torch.full_like(low, 1 - 2.0**-53)))
    for _ in range(55):
        middle = (low + high) / 2
        keeps = rule.keep(trial(p, q, tokens, middle))
        low, high = torch.where(keeps, middle, low), torch.where(keeps, high, middle)
    return torch.where(always, 1.0, low)
