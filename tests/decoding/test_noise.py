"""The noise a decoder uses is fresh, and its drafts follow the laws stated for them."""

from __future__ import annotations

from collections import defaultdict
from unittest import mock

import pytest
import torch
from decoding.checks import INITIAL
from decoding.markov import MarkovSession, markov_tables
from torch import Tensor

from mmgen import decoding
from mmgen.decoding.coupled_jacobi import CoupledJacobi
from mmgen.decoding.drafters.drafter import Drafter
from mmgen.decoding.speculation import Drafts, Outcome, Slots
from mmgen.layout import RasterLayout
from mmgen.rng import Purpose, Rng

SAMPLERS = ("speculative-jacobi", "coupled-jacobi", "gumbel-jacobi", "proactive")


@pytest.mark.parametrize("drafter", ["uniform", "horizontal-sample", "vertical-sample"])
@pytest.mark.parametrize("decoder", SAMPLERS)
def test_no_number_serves_two_evaluations(decoder: str, drafter: str) -> None:
    uses: defaultdict[tuple[int, int, int], set[int]] = defaultdict(set)
    key = Rng._key

    def log(self: Rng, purpose: Purpose, positions: Tensor, draw: Tensor | int) -> Tensor:
        if purpose != Purpose.TOKEN:
            for position, number in zip(positions[0].tolist(), draw.expand_as(positions)[0].tolist(), strict=True):
                uses[int(purpose), position, number].add(len(session.widths))
        return key(self, purpose, positions, draw)

    session = MarkovSession(markov_tables(), torch.zeros(1, dtype=torch.long), RasterLayout(5, 6))
    with mock.patch.object(Rng, "_key", log):
        options = {"window": 16, "adaptive": True, "drafter": drafter}
        generation = decoding.make(decoder, **options).generate(session, Rng([1]))
    assert int(generation.evaluations) > 3
    assert len(uses) > 100
    assert all(len(evaluations) == 1 for evaluations in uses.values())


@pytest.mark.parametrize("drafter", INITIAL)
@pytest.mark.parametrize("decoder", SAMPLERS)
def test_drafts_follow_their_stated_laws(decoder: str, drafter: str) -> None:
    seen: list[tuple[Drafts, Tensor, Tensor]] = []
    kind = decoding.decoders()[decoder]
    verify = kind.verify

    def record(
        self: CoupledJacobi, session: MarkovSession, drafter: Drafter, drafts: Drafts, inputs: Tensor, slots: Slots
    ) -> Outcome:
        seen.append((drafts, inputs, slots.positions))
        return verify(self, session, drafter, drafts, inputs, slots)

    layout, batch = RasterLayout(2, 4), 4000
    session = MarkovSession(markov_tables(), torch.arange(batch) % 2, layout)
    with mock.patch.object(kind, "verify", record):
        decoding.make(decoder, window=6, drafter=drafter).generate(session, Rng(range(batch)))
    for drafts, inputs, positions in seen:
        for slot in range(drafts.tokens.shape[1]):
            for before in range(3):
                rows = (positions[:, slot] < layout.length) & (inputs[:, slot] == before)
                assert _deviation(drafts.tokens[rows, slot], drafts.laws[rows, slot]) < 5


def _deviation(tokens: Tensor, laws: Tensor) -> float:
    """How far counts of tokens [M] are from those their laws [M, V] expect, in standard deviations; the worst token."""
    if len(tokens) == 0:
        return 0.0
    drawn = torch.nn.functional.one_hot(tokens, laws.shape[-1]).double()
    variance = (laws * (1 - laws)).double().sum(0)
    difference = (drawn - laws).sum(0).abs()
    # Below some ten expected tokens the bound is one of counts, not of standard deviations.
    return float((difference / (variance + 4).sqrt()).masked_fill(difference < 1e-3, 0).max())
