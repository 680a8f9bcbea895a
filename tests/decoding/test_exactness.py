"""Every exact decoder writes lines distributed as enumeration says, whatever its options."""

from __future__ import annotations

import pytest
import torch
from decoding.checks import INITIAL, check_law, law_pairs, trial
from decoding.markov import least_p_value, markov_tables, sequence_law

from mmgen import decoding
from mmgen.decoding.acceptance.rejection import RejectionSampling
from mmgen.decoding.acceptance.rule import without
from mmgen.layout import RasterLayout

KNOWN = (-1, -1, 2, -1, 0, -1)
BINARY = {"vocabulary_size": 2, "layout": RasterLayout(2, 4)}
NARROW = {**BINARY, "adaptive": True, "buckets": (1, 2, 3, 4, 5, 6, 7)}
TREE_NARROW = {**BINARY, "adaptive": True, "buckets": (4, 5, 6, 7)}
FOUR = {"vocabulary_size": 4, "layout": RasterLayout(2, 2)}

EXACT = [name for name, kind in decoding.decoders().items() if kind.law == "exact"]
CASES = [
    *(("speculative-jacobi", {"drafter": name, "window": 5}) for name in INITIAL),
    *(("coupled-jacobi", {"drafter": name, "window": 4}) for name in INITIAL),
    *(("gumbel-jacobi", {"drafter": name, "window": 6}) for name in INITIAL),
    ("speculative-jacobi", {"window": 1}),
    ("gumbel-jacobi", {"window": 2}),
    ("speculative-jacobi", {**NARROW, "drafter": "vertical-sample"}),
    ("coupled-jacobi", {**NARROW, "drafter": "horizontal-sample"}),
    ("gumbel-jacobi", NARROW),
    ("proactive", {"branching": 2, "depth": 1, "window": 3}),
    ("proactive", {"branching": 2, "depth": 3, "window": 6, "drafter": "vertical-sample", "rows": 5000}),
    ("proactive", {**FOUR, "branching": 3, "depth": 3, "rows": 4000}),
    ("proactive", {**FOUR, "branching": 3, "depth": 1, "drafter": "vertical-repeat"}),
    ("proactive", {**TREE_NARROW, "branching": 2, "depth": 2, "drafter": "horizontal-sample", "rows": 5000}),
    *((name, {"known": KNOWN, "window": 3, "rows": 5000}) for name in EXACT if name != "autoregressive"),
    *(("speculative", {"drafter": name, "window": 4, "rows": 5000}) for name in INITIAL),
    ("speculative", {**NARROW, "drafter": "grid-n-gram"}),
    ("tree", {"branching": 2, "depth": 1, "window": 3}),
    ("tree", {"branching": 2, "depth": 3, "window": 6, "drafter": "n-gram", "rows": 5000}),
    ("tree", {**FOUR, "branching": 3, "depth": 3, "rows": 4000}),
    ("tree", {**FOUR, "branching": 6, "depth": 2, "window": 2, "rows": 4000}),
    ("tree", {**TREE_NARROW, "branching": 2, "depth": 2, "rows": 5000}),
    ("autoregressive", {"known": KNOWN}),
    ("jacobi", {"window": 4}),
    ("seeded-speculative", {"window": 4}),
]


@pytest.mark.parametrize(
    ("decoder", "options"), CASES, ids=[f"{name}-{index}" for index, (name, _) in enumerate(CASES)]
)
def test_lines_follow_the_law(decoder: str, options: dict) -> None:
    assert decoding.decoders()[decoder].law == "exact"
    check_law(decoder, **options)


def test_every_exact_decoder_is_enumerated() -> None:
    assert set(EXACT) <= {name for name, _ in CASES}


def test_enumeration_notices_a_wrong_law() -> None:
    laws = [sequence_law(table, 4) for table in markov_tables()]
    lines = torch.cartesian_prod(*[torch.arange(3)] * 4)
    drawn = lines[torch.multinomial(laws[0], 8000, replacement=True, generator=torch.Generator().manual_seed(0))]
    assert abs(float(laws[0].sum()) - 1) < 1e-6
    assert least_p_value(drawn, laws[0], 3) > 1e-4
    slightly_off = 0.95 * laws[0] + 0.05 * laws[1]
    assert least_p_value(drawn, slightly_off, 3) < 1e-7


def test_no_rule_keeps_more_than_the_laws_share() -> None:
    p, q = law_pairs()
    coins = (torch.arange(4096, dtype=torch.float64) + 0.5) / 4096
    tokens = torch.arange(p.shape[-1])
    shape = (len(p), len(tokens), len(coins), len(tokens))
    big_p, big_q = (law[:, None, None].expand(shape) for law in (p, q))
    drafts = trial(big_p, big_q, tokens[:, None].expand(shape[:3]), coins.expand(shape[:3]))
    kept = RejectionSampling().keep(drafts)
    share = (q * kept.double().mean(-1)).sum(-1)
    torch.testing.assert_close(share, torch.minimum(p, q).sum(-1), rtol=0, atol=1e-3)


def test_without_renormalises_and_runs_out() -> None:
    law = torch.tensor([[0.5, 0.3, 0.2], [0.0, 1.0, 0.0]])
    rest = without(law, torch.tensor([0, 1]))
    torch.testing.assert_close(rest, torch.tensor([[0.0, 0.6, 0.4], [0.0, 0.0, 0.0]]))
