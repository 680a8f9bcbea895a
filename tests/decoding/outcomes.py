"""What comes out of a slot under an acceptance rule: its law, by summing over every token and coin; and whole lines."""

from __future__ import annotations

import functools

import torch
from decoding.checks import law_pairs, trial
from decoding.markov import MarkovSession, markov_tables
from torch import Tensor

from mmgen import decoding
from mmgen.decoding.acceptance.rule import AcceptanceRule, Trial
from mmgen.decoding.options import make_part
from mmgen.layout import RasterLayout
from mmgen.rng import Rng

SIZE = 5
LAYOUT = RasterLayout(3, 4)


def bound(text: str, size: int = SIZE) -> AcceptanceRule:
    """A rule from its text, bound to a session of that vocabulary."""
    rows = torch.zeros(1, dtype=torch.long)
    return make_part("acceptance", text).bind(MarkovSession(markov_tables(size), rows, LAYOUT))  # type: ignore[attr-defined]


def pairs() -> tuple[Tensor, Tensor]:
    """Laws p and q, float64 [M, 5] each: those of `law_pairs`, and random ones from flat to almost certain."""
    generator = torch.Generator().manual_seed(7)
    sharpness = torch.tensor([0.3, 1, 3, 8, 20], dtype=torch.float64).repeat(40)[:, None]
    p, q = (torch.randn(200, SIZE, generator=generator, dtype=torch.float64) for _ in range(2))
    drawn = (p * sharpness).softmax(-1), (q * sharpness.flip(0)).softmax(-1)
    return tuple(torch.cat(both) for both in zip(law_pairs(), drawn, strict=True))  # type: ignore[return-value]


def every_token(p: Tensor, q: Tensor, offset: int = 0) -> Trial:
    """Each token of each pair on trial by itself: [M, V], coins of zero."""
    size = p.shape[-1]
    wide = (law[:, None].expand(-1, size, -1) for law in (p, q))
    tried = trial(*wide, torch.arange(size).expand(len(p), -1))
    return tried._replace(offsets=torch.full_like(tried.tokens, offset))


def kept(rule: AcceptanceRule, tried: Trial) -> Tensor:
    """Measure of the coins that keep each draft of a trial, by halving."""
    low, high = torch.zeros_like(tried.coins), torch.ones_like(tried.coins)
    always = rule.keep(tried._replace(coins=torch.full_like(low, 1 - 2.0**-53)))
    for _ in range(55):
        middle = (low + high) / 2
        keeps = rule.keep(tried._replace(coins=middle))
        low, high = torch.where(keeps, middle, low), torch.where(keeps, high, middle)
    return torch.where(always, 1.0, low)


def outcome(rule: AcceptanceRule, p: Tensor, q: Tensor, offset: int = 0) -> Tensor:
    """The law o of the token that comes out of one slot: [M, V]."""
    tried = every_token(p, q, offset)
    stands = q * kept(rule, tried)
    return stands + (1 - stands.sum(-1, keepdim=True)) * rule.correction(tried)[:, 0]


def variation(p: Tensor, q: Tensor) -> Tensor:
    """Total variation of laws [M, V]: [M]."""
    return (p - q).abs().sum(-1) / 2


@functools.cache
def lines(decoder: str, acceptance: str, order: tuple[int, ...] = (0, 1, 2, 3)) -> Tensor:
    """Lines of some of four rows; the last two have known tokens."""
    known = torch.full((4, LAYOUT.length), -1)
    known[2, 3:9], known[3, ::4] = 1, 2
    rows = list(order)
    session = MarkovSession(markov_tables(), torch.tensor([0, 1, 2, 0])[rows], LAYOUT, known[rows])
    generation = decoding.make(decoder, acceptance=acceptance, window=8).generate(
        session, Rng([5 + row for row in rows])
    )
    given = known[rows]
    assert bool((generation.committed == LAYOUT.length).all())
    assert bool((generation.tokens[given >= 0] == given[given >= 0]).all())
    return generation.tokens
