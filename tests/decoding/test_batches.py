"""A row's line is its own: alone, in a batch, shuffled, with known tokens, and never dearer than autoregression's."""

from __future__ import annotations

import pytest
import torch
from decoding.checks import INITIAL
from decoding.markov import MarkovSession, markov_tables
from torch import Tensor

from mmgen import decoding
from mmgen.decoding.decoder import Generation
from mmgen.decoding.line import common_known_runs
from mmgen.decoding.speculation import Speculation
from mmgen.layout import RasterLayout
from mmgen.rng import Rng

LAYOUT = RasterLayout(6, 8)
SEEDS = (5, 6, 7, 8, 9, 10)
ROWS = torch.tensor([0, 1, 2, 1, 0, 2])
SPECULATIVE = [name for name, kind in decoding.decoders().items() if issubclass(kind, Speculation)]
OPTIONS: list[tuple[str, dict]] = [
    ("autoregressive", {}),
    *((name, {"window": 16}) for name in SPECULATIVE),
    *((name, {"window": 32, "adaptive": True}) for name in SPECULATIVE),
    ("coupled-jacobi", {"window": 32, "adaptive": True, "drafter": "horizontal-sample"}),
    ("gumbel-jacobi", {"window": 32, "adaptive": True, "drafter": "vertical-sample"}),
    ("coupled-jacobi", {"window": 32, "adaptive": True, "drafter": "horizontal-repeat"}),
    ("proactive", {"window": 16, "adaptive": True, "depth": 3, "branching": 2}),
    ("proactive", {"window": 2, "depth": 3, "branching": 2}),
]
every_decoder = pytest.mark.parametrize(
    ("name", "options"), OPTIONS, ids=[f"{n}-{i}" for i, (n, _) in enumerate(OPTIONS)]
)


def known_tokens() -> Tensor:
    """Tokens given to six rows: none, a long beginning, a long middle, the end, scattered ones, all."""
    known = torch.full((6, LAYOUT.length), -1)
    known[1, :20] = torch.arange(20) % 3
    known[2, 10:35] = torch.arange(25) % 2
    known[3, 30:] = 1
    known[4, ::3] = 2
    known[5] = 0
    return known


def decode(name: str, options: dict, order: list[int], known: Tensor | None = None) -> Generation:
    session = MarkovSession(markov_tables(), ROWS[order], LAYOUT, None if known is None else known[order])
    return decoding.make(name, **options).generate(session, Rng([SEEDS[row] for row in order]))


@every_decoder
@pytest.mark.parametrize("given", [False, True], ids=["free", "known"])
def test_row_alone_is_row_in_a_batch_is_row_in_a_shuffled_batch(name: str, options: dict, given: bool) -> None:
    known = known_tokens() if given else None
    together = decode(name, options, list(range(6)), known)
    order = [4, 2, 5, 0, 3, 1]
    shuffled = decode(name, options, order, known)
    assert torch.equal(shuffled.tokens, together.tokens[order])
    assert torch.equal(shuffled.evaluations, together.evaluations[order])
    for row in range(6):
        alone = decode(name, options, [row], known)
        assert torch.equal(alone.tokens[0], together.tokens[row]), row
        assert torch.equal(alone.evaluations[0], together.evaluations[row]), row


@every_decoder
def test_known_tokens_are_kept_and_cost_no_evaluations(name: str, options: dict) -> None:
    known = known_tokens()
    generation = decode(name, options, list(range(6)), known)
    assert bool((generation.tokens[known >= 0] == known[known >= 0]).all())
    assert bool(((generation.tokens >= 0) & (generation.tokens < 3)).all())
    free = (known < 0).sum(1).clamp(min=1)
    assert bool((generation.evaluations <= free).all()), generation.evaluations
    if name == "autoregressive":
        assert torch.equal(generation.evaluations, free)


@every_decoder
def test_evaluations_never_exceed_autoregression(name: str, options: dict) -> None:
    generation = decode(name, options, list(range(6)))
    assert bool((generation.committed == LAYOUT.length).all())
    assert bool((generation.evaluations <= LAYOUT.length).all())
    if options.get("window", 1) > 2:
        assert int(generation.evaluations.sum()) < 6 * LAYOUT.length


@pytest.mark.parametrize("known", [None, known_tokens()], ids=["free", "known"])
def test_jacobi_writes_the_lines_of_autoregression(known: Tensor | None) -> None:
    order = list(range(6))
    reference = decode("autoregressive", {}, order, known)
    for options in ({"window": 1}, {"window": 7}, {"window": 48}, {"window": 32, "adaptive": True}):
        for drafter in INITIAL:
            generation = decode("jacobi", {**options, "drafter": drafter}, order, known)
            assert torch.equal(generation.tokens, reference.tokens), (options, drafter)
            assert bool((generation.evaluations <= reference.evaluations).all())


@every_decoder
def test_committed_tokens_never_change(name: str, options: dict) -> None:
    session = MarkovSession(markov_tables(), ROWS, LAYOUT, known_tokens())
    committed, tokens = torch.zeros(6, dtype=torch.long), torch.zeros(6, LAYOUT.length, dtype=torch.long)
    positions, steps = torch.arange(LAYOUT.length), 0
    for generation in decoding.make(name, **options).steps(session, Rng(SEEDS)):
        before = positions < committed[:, None]
        assert torch.equal(generation.tokens[before], tokens[before])
        unfinished = committed < LAYOUT.length
        assert bool((generation.committed > committed)[unfinished].all())
        assert torch.equal(generation.committed[~unfinished], committed[~unfinished])
        committed, tokens, steps = generation.committed.clone(), generation.tokens.clone(), steps + 1
    assert steps == int(generation.evaluations.max()) == len(session.widths)


@pytest.mark.parametrize("name", SPECULATIVE)
def test_finished_rows_are_not_evaluated(name: str) -> None:
    session = MarkovSession(markov_tables(), ROWS, LAYOUT)
    rows, score = [], session.score
    session.score = lambda tokens, tree=None: rows.append(len(tokens)) or score(tokens, tree)  # type: ignore[method-assign]
    drafter = "token-recycling" if name == "tree" else "vertical-sample"
    generation = decoding.make(name, window=8, drafter=drafter).generate(session, Rng(list(SEEDS)))
    assert rows == sorted(rows, reverse=True) and rows[0] == 6 and rows[-1] < 6
    assert sum(rows) < 6 * len(rows)
    assert bool((generation.committed == LAYOUT.length).all()) and int(generation.tokens.max()) < 3


def test_what_is_known_alike_in_every_row_is_planned_on_the_host() -> None:
    known = torch.tensor([[-1, 5, 5, -1, -1, 5], [-1, 4, 4, -1, -1, 4]])
    assert common_known_runs(known) == [0, 2, 1, 0, 0, 1]
    assert common_known_runs(torch.full((3, 4), -1)) == [0] * 4
    known[1, 3] = 2
    assert common_known_runs(known) is None
