"""Decoders of planes write what the model's own law says: by enumeration, and seeded ones token by token."""

from __future__ import annotations

import pytest
import torch
from decoding.markov import least_p_value
from planes.conftest import class_prompts
from planes.markov import LAYOUT, SURPRISE, MarkovPlanes, check_law, tables

from mmgen.decoding import planes
from mmgen.decoding.acceptance.rule import probability
from mmgen.decoding.planes.residual import draw_residual, log_ratio
from mmgen.rng import Rng
from mmgen.sampling import Sampling
from mmgen.sessions.planes import NeighbourSession

KNOWN = (-1, 2, -1, 0, 1, -1)
"""One token of the second plane, and all of the third."""

SPECULATIVE = [name for name in planes.decoders() if name != planes.REFERENCE]


def test_plane_wise_writes_the_enumerated_law() -> None:
    check_law("plane-wise")
    check_law("plane-wise", known=KNOWN)


@pytest.mark.parametrize("decoder", SPECULATIVE)
@pytest.mark.parametrize("options", [{"window": 1}, {"window": 2, "axis": 1}, {"window": 4}], ids=str)
def test_decoders_write_the_enumerated_law(decoder: str, options: dict) -> None:
    check_law(decoder, **options)


@pytest.mark.parametrize("decoder", SPECULATIVE)
def test_known_tokens_leave_the_enumerated_law(decoder: str) -> None:
    check_law(decoder, known=KNOWN, window=3)


def residual_law(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """(P - Q)+ over all planes of two tokens, made to sum to one: float64 [V * V]."""
    joint = [(law[0][:, None] * law[1]).flatten() for law in (p.double(), q.double())]
    rest = (joint[0] - joint[1]).clamp(min=0)
    return rest / rest.sum()


@pytest.mark.parametrize("case", ["random", "near", "certain draft", "one token known", "no probability"])
def test_the_residual_of_products_is_drawn_exactly(case: str) -> None:
    generator, rows = torch.Generator().manual_seed(3), 20000
    p, q = (torch.randn(2, 3, generator=generator).softmax(-1) for _ in range(2))
    if case == "near":
        q = (p + 0.02 * q) / (1.02)
    elif case == "certain draft":
        q = torch.eye(3)[[2, 0]]
    elif case == "one token known":
        p[0] = q[0] = torch.eye(3)[1]
    elif case == "no probability":
        p[0, 2] = q[1, 0] = 0
    p, q = (law / law.sum(-1, keepdim=True) for law in (p, q))
    numbers = torch.Generator().manual_seed(4)

    def uniform(rows: torch.Tensor, first: int, count: int) -> torch.Tensor:
        return torch.rand(len(rows), count, 3, dtype=torch.float64, generator=numbers)

    drawn = draw_residual(p.expand(rows, -1, -1), q.expand(rows, -1, -1), uniform)
    assert least_p_value(drawn, residual_law(p, q), 3) > SURPRISE


def test_where_two_laws_are_equal_up_to_rounding_the_residual_ends() -> None:
    p = torch.randn(500, 4, 7, generator=torch.Generator().manual_seed(5)).softmax(-1)
    numbers = torch.Generator().manual_seed(6)
    drawn = draw_residual(p, p * (1 - 2.0**-23), lambda rows, first, n: torch.rand(len(rows), n, 5, generator=numbers))
    assert drawn.shape == (500, 4) and int(drawn.min()) >= 0
    laws = (p, p * (1 - 2.0**-23))
    assert float(log_ratio(*laws, *(probability(law, drawn) for law in laws)).abs().max()) < 1e-6


@pytest.mark.parametrize("seed", range(4))
def test_jacobi_draws_what_its_seed_draws_plane_by_plane(seed: int) -> None:
    rows, seeds = torch.arange(60) % 3, range(100 * seed, 100 * seed + 60)
    known = LAYOUT.known().repeat(60, 1)
    known[::4] = torch.tensor(KNOWN)
    reference = planes.make("plane-wise").generate(MarkovPlanes(rows, known), Rng(seeds))
    assert bool((reference.tokens[known >= 0] == known[known >= 0]).all())
    for window in range(1, LAYOUT.count + 2):
        for axis in (0, 1):
            decoder = planes.make("jacobi", window=window, axis=axis)
            generation = decoder.generate(MarkovPlanes(rows, known), Rng(seeds))
            assert torch.equal(generation.tokens, reference.tokens)
            assert bool((generation.evaluations <= reference.evaluations).all())


def test_known_planes_cost_nothing() -> None:
    known = LAYOUT.known().repeat(6, 1)
    known[:3] = torch.tensor((-1, -1, -1, 0, 1, 2))
    known[3:] = torch.tensor((0, 1, 1, -1, -1, -1))
    rows = torch.arange(6) % 3
    for part in (slice(3), slice(3, 6), slice(6)):
        generation = planes.make("plane-wise").generate(MarkovPlanes(rows[part], known[part]), Rng(range(6)[part]))
        assert bool((generation.evaluations == 2).all())


def test_a_finished_row_does_not_widen_what_others_read(monkeypatch: pytest.MonkeyPatch) -> None:
    known, read = LAYOUT.known().repeat(2, 1), []
    known[0] = torch.tensor((-1, 0, 1, 1, 0, 1))
    score = MarkovPlanes.score
    monkeypatch.setattr(MarkovPlanes, "score", lambda own, given: read.append(given.shape[1]) or score(own, given))
    generation = planes.make("plane-wise").generate(MarkovPlanes(torch.arange(2), known), Rng([0, 1]))
    assert generation.evaluations.tolist() == [1, LAYOUT.count]
    assert read == [1] * LAYOUT.count


def test_structure_saves_evaluations() -> None:
    """Where planes depend on each other in few rows, Jacobi decoding writes most in a fraction of the evaluations."""
    flat = tables()[:, :, :1, :1].expand(tables().shape)
    session = MarkovPlanes(torch.zeros(200, dtype=torch.long), laws=flat)
    generation = planes.make("jacobi", window=4).generate(session, Rng(range(200)))
    assert bool((generation.evaluations <= 2).all())
    coupled = planes.make("coupled-jacobi", window=4).generate(
        MarkovPlanes(torch.zeros(200, dtype=torch.long), laws=flat), Rng(range(200))
    )
    plain = planes.make("plane-wise").generate(
        MarkovPlanes(torch.zeros(200, dtype=torch.long), laws=flat), Rng(range(200))
    )
    assert coupled.evaluations.float().mean() < 0.8 * plain.evaluations.float().mean()


@pytest.mark.parametrize("decoder", planes.decoders())
@pytest.mark.parametrize("kind", ["transformer", "video_transformer"])
def test_a_row_alone_is_the_row_in_a_ragged_batch(decoder: str, kind: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(kind)
    labels, seeds = torch.tensor([0, 1, 2, 3, 4, 0]), [5, 6, 7, 8, 9, 10]
    known = model.layout.known().repeat(6, 1)
    known[1, 2:6], known[3, -3:] = 4, 2
    options = {} if decoder == planes.REFERENCE else {"window": 3}

    def written(rows: list[int]):
        session = NeighbourSession(
            model, *class_prompts(model, labels[rows]), Sampling(guidance=1.5, temperature=0.5), known[rows]
        )
        return planes.make(decoder, **options).generate(session, Rng([seeds[row] for row in rows]))

    together, shuffled = written([0, 1, 2, 3, 4, 5]), written([4, 1, 5, 0, 3, 2])
    assert bool((together.tokens[known >= 0] == known[known >= 0]).all())
    for row in range(6):
        alone = written([row])
        assert torch.equal(alone.tokens[0], together.tokens[row])
        assert alone.evaluations[0] == together.evaluations[row]
    assert torch.equal(shuffled.tokens, together.tokens[[4, 1, 5, 0, 3, 2]])


@pytest.mark.parametrize("kind", ["transformer", "video_transformer"])
def test_jacobi_of_a_transformer_draws_what_its_seed_draws(kind: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(kind)
    for guidance in (1.0, 2.0):
        sessions = (
            NeighbourSession(model, *class_prompts(model, torch.arange(4)), Sampling(guidance=guidance))
            for _ in range(model.layout.count + 1)
        )
        reference = planes.make("plane-wise").generate(next(sessions), Rng(range(4)))
        for window, session in enumerate(sessions, start=1):
            generation = planes.make("jacobi", window=window).generate(session, Rng(range(4)))
            assert torch.equal(generation.tokens, reference.tokens)
