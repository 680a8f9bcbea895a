"""What each acceptance rule promises of one slot, and that it works with every decoder."""

from __future__ import annotations

import itertools
from unittest import mock

import pytest
import torch
from decoding.checks import SURPRISE, check_law, compose, law_pairs, trial
from decoding.markov import MarkovSession, least_p_value, markov_tables, sequence_law
from decoding.outcomes import LAYOUT, SIZE, bound, every_token, kept, lines, outcome, pairs, variation
from torch import Tensor

from mmgen import decoding
from mmgen.codebook import Codebook
from mmgen.decoding.acceptance import rule as rules
from mmgen.decoding.acceptance.grouped import Grouped, nearest_by_rank
from mmgen.decoding.acceptance.lantern import Neighbourly
from mmgen.decoding.acceptance.rejection import RejectionSampling
from mmgen.decoding.acceptance.rule import AcceptanceRule
from mmgen.decoding.options import make_part, parts
from mmgen.errors import OptionError
from mmgen.layout import RasterLayout
from mmgen.rng import Rng

LAWS = {
    "alike": "heuristic", "annealed": "bounded", "block": "exact", "cross-entropy": "heuristic", "grouped": "heuristic",
    "lantern": "bounded", "lantern-plus": "bounded", "mixture": "bounded", "rejection": "exact", "typical": "heuristic",
}  # fmt: skip
NEUTRAL = ("grouped/ranks=1", "grouped/gap=0.0", "lantern/mass=0.0", "lantern-plus/ratio=1.0",
           "annealed/weight=1.0", "mixture/weight=1.0", "alike/tolerance=0.0")  # fmt: skip
RELAXED = ("grouped/ranks=2/gap=1.0", "grouped/distance=4.0", "lantern", "lantern-plus", "annealed/weight=3.0",
           "mixture/weight=0.5", "typical", "cross-entropy", "alike/tolerance=2.0/neighbours=1")  # fmt: skip
DECODERS = ("speculative", "speculative-jacobi", "coupled-jacobi", "tree", "proactive")


def check_lantern_bounds() -> None:
    """LANTERN adds its mass to a token at most; LANTERN++ multiplies it by its ratio at most."""
    p, q = pairs()
    for mass in (0.05, 0.2, 0.6):
        assert bool((outcome(bound(f"lantern/mass={mass}"), p, q) <= p + mass + 1e-12).all()), mass
    for ratio in (1.5, 3.0, 20.0):
        law = outcome(bound(f"lantern-plus/ratio={ratio}"), p, q)
        assert bool((law <= ratio * p + 1e-12).all()), ratio
        assert bool((variation(law, p) <= 1 - 1 / ratio + 1e-12).all()), ratio


def check_mixture_is_a_mixture() -> None:
    """Tokens come out as w p + (1 - w) q."""
    p, q = pairs()
    for weight in (0.0, 0.3, 0.8):
        law = outcome(bound(f"mixture/weight={weight}"), p, q)
        torch.testing.assert_close(law, weight * p + (1 - weight) * q, rtol=0, atol=1e-12)


def test_every_rule_declares_its_law_and_paper() -> None:
    assert {name: rule.law for name, rule in parts("acceptance").items()} == LAWS  # type: ignore[attr-defined]
    assert all("arXiv" in rule.paper for rule in parts("acceptance").values())
    for name, law in LAWS.items():
        assert decoding.make("speculative", acceptance=name).law == law
        assert str(make_part("acceptance", name)) == name


@pytest.mark.parametrize("text", NEUTRAL)
def test_neutral_setting_is_rejection(text: str) -> None:
    p, q = pairs()
    coins = torch.rand(len(p), SIZE, generator=torch.Generator().manual_seed(1), dtype=p.dtype)
    tried, rule = every_token(p, q)._replace(coins=coins), bound(text)
    assert torch.equal(rule.keep(tried), RejectionSampling().keep(tried))
    assert torch.equal(rule.correction(tried), RejectionSampling().correction(tried))
    for decoder in DECODERS:
        relaxed, exact = (lines(decoder, acceptance) for acceptance in (text, "rejection"))
        assert torch.equal(relaxed, exact), decoder


@pytest.mark.parametrize("text", ["typical/threshold=1.0/scale=1e6", "cross-entropy/limit=0.0"])
def test_rules_that_keep_nothing_are_autoregression(text: str) -> None:
    for decoder in ("coupled-jacobi", "tree"):
        check_law(decoder, acceptance=text, window=4, rows=1500, known=(-1, -1, 2, -1, 0, -1))


@pytest.mark.parametrize("text", [*NEUTRAL, "lantern", "lantern-plus", "annealed", "mixture/weight=0.4"])
def test_relaxed_rules_keep_whatever_rejection_keeps(text: str) -> None:
    p, q = pairs()
    tried = every_token(p, q)
    assert bool((kept(bound(text), tried) >= kept(RejectionSampling(), tried) - 1e-12).all())


def test_lantern_bounds() -> None:
    check_lantern_bounds()


def test_neighbours_lend_exactly_what_is_said() -> None:
    p, q = pairs()
    codebook = bound("lantern").codebook  # type: ignore[attr-defined]
    for text, limit in (("lantern/mass=0.3/neighbours=3", 0.3 + 0 * p), ("lantern-plus/ratio=4.0/neighbours=2", 3 * p)):
        rule, lent = bound(text), torch.zeros_like(p)
        for token in range(SIZE):
            sums = torch.zeros(len(p), dtype=p.dtype)
            for near in codebook.neighbours(rule.neighbours)[token].tolist():  # type: ignore[attr-defined]
                sums = sums + p[:, near]
                lent[:, token] = torch.where(sums <= limit[:, token], sums, lent[:, token])
        law = torch.where(q > p, torch.minimum(q, torch.where(p > 0, p + lent, 0.0)), outcome(rule, p, q))
        torch.testing.assert_close(outcome(rule, p, q), law, rtol=0, atol=1e-12)
        assert bool((lent > 0).any())


def test_lantern_does_not_bound_the_total_variation() -> None:
    p = torch.tensor([[0.6, 0.1, 0.1, 0.1, 0.1]], dtype=torch.float64)
    q = torch.tensor([[0.0, 0.25, 0.25, 0.25, 0.25]], dtype=torch.float64)
    law = outcome(bound("lantern/mass=0.15/neighbours=4"), p, q)
    assert bool((law <= p + 0.15 + 1e-12).all()) and float(variation(law, p)) > 0.29


@pytest.mark.parametrize("offset", [0, 1, 4, 30])
def test_annealed_bounds(offset: int) -> None:
    p, q = pairs()
    weight = max(1.0, float(3 * torch.tensor(-0.3 * offset, dtype=torch.float64).exp()))
    law = outcome(bound("annealed/weight=3.0/decay=0.3"), p, q, offset)
    torch.testing.assert_close(torch.where(q > p, law, 0.0), torch.where(q > p, torch.minimum(q, weight * p), 0.0))
    assert bool((law <= weight * p + 1e-12).all()) and bool((variation(law, p) <= 1 - 1 / weight + 1e-12).all())


def test_mixture_is_a_mixture() -> None:
    check_mixture_is_a_mixture()


def test_lines_of_a_mixture_follow_the_mixed_law() -> None:
    rows, layout, tables = 9000, RasterLayout(2, 3), markov_tables()
    session = MarkovSession(tables, torch.zeros(rows, dtype=torch.long), layout)
    decoder = decoding.make("speculative", acceptance="mixture/weight=0.6", drafter="uniform", window=4)
    drawn = decoder.generate(session, Rng(range(rows))).tokens
    assert least_p_value(drawn, sequence_law(0.6 * tables[0] + 0.4 / 3, layout.length), 3) > SURPRISE
    assert least_p_value(drawn, sequence_law(tables[0], layout.length), 3) < SURPRISE


def test_bounds_hold_where_two_candidates_are_tested() -> None:
    p, q = law_pairs()
    assert bool((compose(bound("lantern-plus/ratio=2.5"), p, q, 2) <= 2.5 * p + 1e-12).all())
    assert bool((compose(bound("lantern/mass=0.3"), p, q, 2) <= p + 0.3 + 1e-12).all())
    assert bool((compose(bound("annealed/weight=2.5"), p, q, 2) <= 2.5 * p + 1e-12).all())
    law = compose(bound("mixture/weight=0.7"), p, q, 2)
    assert bool((variation(law, p) <= 1 - 0.7**2 + 1e-12).all())


def test_tokens_of_no_probability_are_refused_unless_mixed() -> None:
    p, q = torch.tensor([0.0, 0.5, 0.5, 0.0, 0.0]), torch.full((SIZE,), 0.2)
    for text in RELAXED:
        stands = bool(bound(text).keep(trial(p, q, torch.tensor(0), torch.tensor(0.0))))
        assert stands == text.startswith("mixture"), text


def test_grouped_takes_the_nearest_by_rank() -> None:
    generator = torch.Generator().manual_seed(2)
    p = torch.randint(0, 4, (30, 9), generator=generator).float()  # many are equal
    order = p.argsort(dim=-1, descending=True, stable=True)
    for count, token in itertools.product((1, 2, 5, 9, 20), range(9)):
        others, chosen = nearest_by_rank(p, torch.full((30,), token), count)
        for row in range(30):
            line = order[row].tolist()
            start = min(max(line.index(token) - min(count, 9) // 2, 0), 9 - min(count, 9))
            wanted = set(line[start : start + min(count, 9)]) - {token}
            assert set(others[row, chosen[row]].tolist()) == wanted, (count, token, line)


def test_grouped_compares_the_sums_of_what_is_near() -> None:
    p, q = torch.tensor([0.4, 0.3, 0.2, 0.06, 0.04]).double(), torch.tensor([0.1, 0.5, 0.3, 0.05, 0.05]).double()

    def share(rule: AcceptanceRule, token: int) -> float:
        return float(kept(rule, every_token(p[None], q[None]))[0, token])

    assert share(Grouped(ranks=3, gap=1.0), 1) == pytest.approx((0.3 + 0.4 + 0.2) / (0.5 + 0.1 + 0.3))
    assert share(Grouped(ranks=3, gap=0.12), 2) == pytest.approx((0.2 + 0.3) / (0.3 + 0.5))
    assert share(Grouped(ranks=2, gap=1.0), 0) == 1.0  # at the top the group goes downwards
    rule = Grouped(ranks=3, gap=1.0, distance=1.0)
    rule.codebook = Codebook(torch.tensor([[0.0], [5.0], [5.5], [9.0], [9.0]]))  # type: ignore[misc]
    assert share(rule, 1) == pytest.approx((0.3 + 0.2) / (0.5 + 0.3))


@pytest.mark.parametrize("text", ["lantern", "lantern-plus", "grouped/distance=1.0", "alike"])
def test_rules_that_need_a_codebook_say_so(text: str) -> None:
    session = MarkovSession(markov_tables(), torch.zeros(1, dtype=torch.long), LAYOUT)
    for codebook in (None, Codebook(torch.zeros(2, 2))):
        session.codebook = codebook  # type: ignore[assignment]
        with pytest.raises(OptionError, match="does not know what its 3 codes stand for"):
            decoding.make("speculative", acceptance=text).generate(session, Rng([0]))
    decoding.make("speculative", acceptance="grouped").generate(session, Rng([0]))


@pytest.mark.parametrize("text", RELAXED)
@pytest.mark.parametrize("decoder", DECODERS)
def test_a_row_alone_is_the_row_in_a_batch(decoder: str, text: str) -> None:
    together = lines(decoder, text)
    assert torch.equal(lines(decoder, text, (2, 0, 3, 1)), together[[2, 0, 3, 1]])
    for row in range(4):
        assert torch.equal(lines(decoder, text, (row,))[0], together[row]), row


def one_neighbour_more(self: Neighbourly, p: Tensor, tokens: Tensor, limit: Tensor) -> Tensor:
    """The sum that first exceeds the limit, in place of the last that does not."""
    assert self.codebook is not None
    sums = p.gather(-1, self.codebook.neighbours(self.neighbours)[tokens]).cumsum(-1)
    before = torch.cat((torch.zeros_like(sums[..., :1]), sums[..., :-1]), dim=-1)
    return (sums * (before <= limit[..., None])).amax(-1)


FAULTS = {
    "one neighbour more": ((Neighbourly, "lent", one_neighbour_more), check_lantern_bounds),
    "p for the residual of a mixture": ((rules, "residual", lambda p, q: p), check_mixture_is_a_mixture),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_noticed(fault: str) -> None:
    (place, name, wrong), check = FAULTS[fault]
    with mock.patch.object(place, name, wrong), pytest.raises(AssertionError):
        check()
