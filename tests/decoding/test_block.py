"""Block verification is exact, never shorter than slot by slot, and refused where it would not be exact."""

from __future__ import annotations

import itertools
from unittest import mock

import pytest
import torch
from decoding.checks import check_law
from decoding.outcomes import kept, lines
from torch import Tensor

from mmgen import decoding
from mmgen.decoding.acceptance import block
from mmgen.decoding.acceptance.rejection import RejectionSampling
from mmgen.decoding.acceptance.rule import AcceptanceRule, Trial, probability
from mmgen.errors import OptionError
from mmgen.layout import RasterLayout


def chain(length: int, size: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Every line of drafts [V^L, L], and the laws p and q of each slot given the drafts before it [V^L, L, V]."""
    generator = torch.Generator().manual_seed(seed)
    lines = torch.tensor(list(itertools.product(range(size), repeat=length)))
    laws = []
    for model in range(2):
        slots = []
        for slot in range(length):
            table = torch.randn(size**slot, size, generator=generator, dtype=torch.float64).mul(2).softmax(-1)
            if seed % 3 == model:
                table = table.scatter(-1, table.argmin(-1, keepdim=True), 0)
            place = (lines[:, :slot] * size ** torch.arange(slot - 1, -1, -1)).sum(1)
            slots.append((table / table.sum(-1, keepdim=True))[place])
        laws.append(torch.stack(slots, dim=1))
    return lines, laws[0], laws[1]


def prefix_chances(rule: AcceptanceRule, tried: Trial) -> Tensor:
    """For a joint rule, the measure of each slot's coins that accept the prefix ending there: [B, L]."""
    columns = []
    for slot in range(tried.tokens.shape[1]):
        low, high = (
            torch.zeros(len(tried.tokens), dtype=torch.float64),
            torch.ones(len(tried.tokens), dtype=torch.float64),
        )
        for _ in range(55):
            middle = (low + high) / 2
            coins = torch.ones_like(tried.coins)  # a coin of 1 accepts nothing
            coins[:, slot] = middle
            keeps = rule.keep(tried._replace(coins=coins))[:, slot]
            low, high = torch.where(keeps, middle, low), torch.where(keeps, high, middle)
        columns.append(high)
    return torch.stack(columns, dim=1)


def block_runs(rule: AcceptanceRule, lines: Tensor, p: Tensor, q: Tensor) -> tuple[Trial, Tensor, Tensor]:
    """A trial of every line, its probability under q [B], and the law of its accepted run: [B, L + 1]."""
    length = lines.shape[1]
    offsets = torch.arange(length).expand_as(lines)
    tried = Trial(p, q, lines, torch.zeros(lines.shape, dtype=p.dtype), offsets, offsets == length - 1)
    chances = prefix_chances(rule, tried)
    # The longest accepted prefix: accepted itself, and none of the longer ones.
    longer_refused = (1 - chances).flip(1).cumprod(1).flip(1)
    none_longer = torch.cat((longer_refused[:, 1:], torch.ones_like(chances[:, :1])), dim=1)
    runs = torch.cat((longer_refused[:, :1], chances * none_longer), dim=1)
    return tried, probability(q, lines).prod(1), runs


def check_block_composes(seeds: range = range(9)) -> None:
    """Lines that block verification begins and the model ends are distributed as the model's."""
    rule = block.Block()
    for seed in seeds:
        lines, p, q = chain(3, 3, seed)
        tried, weight, runs = block_runs(rule, lines, p, q)
        correction, total = rule.correction(tried), torch.zeros(len(lines), dtype=p.dtype)
        for row, run in itertools.product(range(len(lines)), range(4)):
            # What the model writes behind the run, the first token of it by the correction.
            same = (lines[:, :run] == lines[row, :run]).all(1)
            rest = probability(p, lines)[:, run + 1 :].prod(1)
            first = correction[row, run][lines[:, run]] if run < 3 else torch.ones(len(lines), dtype=p.dtype)
            total += weight[row] * runs[row, run] * same * first * rest
        torch.testing.assert_close(total, probability(p, lines).prod(1), rtol=0, atol=1e-12)


def test_block_composes() -> None:
    check_block_composes()


def test_block_runs_are_never_shorter_than_those_of_rejection() -> None:
    gains = []
    for seed in range(12):
        drafts, p, q = chain(3, 3, seed)
        tried, weight, runs = block_runs(block.Block(), drafts, p, q)
        single = kept(RejectionSampling(), tried).cumprod(1).sum(1)
        gains.append(float((weight * ((runs * torch.arange(4)).sum(1) - single)).sum()))
    assert min(gains) > -1e-12 and max(gains) > 0.02, gains


def test_block_looks_no_further_than_the_last_draft_on_trial() -> None:
    drafts, p, q = chain(4, 3, 1)
    offsets = torch.arange(4).expand_as(drafts)
    coins = torch.rand(drafts.shape, generator=torch.Generator().manual_seed(0), dtype=p.dtype)
    for length in (1, 2, 3):
        whole = Trial(p, q, drafts, coins, offsets, offsets == length - 1)
        short = Trial(*(value[:, :length] for value in whole))
        keep = block.Block().keep(whole)
        assert torch.equal(keep[:, :length], block.Block().keep(short)) and not bool(keep[:, length:].any())
    one = Trial(*(value[:, :1] for value in whole))._replace(last=torch.ones(len(drafts), 1, dtype=torch.bool))
    torch.testing.assert_close(prefix_chances(block.Block(), one), kept(RejectionSampling(), one))


def test_block_survives_laws_that_give_nothing() -> None:
    eye = torch.eye(3)
    p, q = eye[[0, 1, 2]][None], eye[[0, 2, 2]][None]
    for tokens in itertools.product(range(3), repeat=3):
        drafts = torch.tensor([tokens])
        offsets = torch.arange(3)[None]
        tried = Trial(p, q, drafts, torch.zeros(1, 3), offsets, offsets == 2)
        law = block.Block().correction(tried)
        assert bool(law.isfinite().all()) and torch.allclose(law.sum(-1), torch.ones(1, 3))
        assert not bool(block.Block().keep(tried)[0, 1]) or tokens[1] == 1


BINARY = {"vocabulary_size": 2, "layout": RasterLayout(2, 4), "rows": 6000}
BLOCKS = [
    *(("speculative-jacobi", {"drafter": drafter, "window": window, "known": known, "rows": 5000})
      for drafter, window, known in itertools.product(
          ("uniform", "vertical-repeat", "horizontal-sample"), (3, 6), (None, (-1, -1, 2, -1, 0, -1)))),
    *(("speculative-jacobi", {**BINARY, "drafter": drafter, "adaptive": True, "buckets": (1, 2, 3, 4, 5, 6, 7)})
      for drafter in ("uniform", "vertical-sample")),
    *(("speculative", {"drafter": drafter, "window": 4, "known": (-1, 1, -1, -1, 0, -1), "rows": 5000})
      for drafter in ("uniform", "n-gram", "token-recycling")),
]  # fmt: skip


@pytest.mark.parametrize(("decoder", "options"), BLOCKS, ids=[f"{name}-{i}" for i, (name, _) in enumerate(BLOCKS)])
def test_block_lines_follow_the_law(decoder: str, options: dict) -> None:
    check_law(decoder, acceptance="block", **options)


@pytest.mark.parametrize("decoder", ["speculative", "speculative-jacobi"])
def test_a_row_alone_is_the_row_in_a_batch(decoder: str) -> None:
    together = lines(decoder, "block")
    for row in range(4):
        assert torch.equal(lines(decoder, "block", (row,))[0], together[row]), row


@pytest.mark.parametrize("decoder", ["coupled-jacobi", "gumbel-jacobi", "reusing-jacobi", "tree", "proactive"])
def test_block_is_refused_where_drafts_are_not_tested_once_in_a_chain(decoder: str) -> None:
    with pytest.raises(OptionError, match=r"acceptance='block': needed is a rule that looks at one slot at a time: .+"):
        decoding.make(decoder, acceptance="block")


SHARED = [("coupled-jacobi", 4, 4000), ("gumbel-jacobi", 5, 25000)]


@pytest.mark.parametrize(("decoder", "window", "rows"), SHARED)
def test_block_would_break_the_law_where_drafts_share_their_noise(decoder: str, window: int, rows: int) -> None:
    options = {"drafter": "vertical-repeat", "window": window, "rows": rows}
    check_law(decoder, **options)
    with (
        mock.patch.object(decoding.decoders()[decoder], "no_joint_rules", None),
        pytest.raises(AssertionError, match="p-value"),
    ):
        check_law(decoder, acceptance="block", **options)


def no_cut(tried: Trial) -> Tensor:
    """A running product that may exceed 1."""
    return (probability(tried.p, tried.tokens) / probability(tried.q, tried.tokens)).cumprod(1)


FAULTS = {
    "the residual of one slot": (block.Block, "correction", RejectionSampling.correction),
    "a product that is not cut at 1": (block, "running", no_cut),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_noticed(fault: str) -> None:
    with mock.patch.object(*FAULTS[fault]), pytest.raises(AssertionError):
        check_block_composes()
