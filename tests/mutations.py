"""Faults of published code, put into ours one at a time: each must turn the checks it is listed with red.

`python tests/mutations.py` prints a table of them; `decoding/test_mutations.py` asserts it.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from unittest import mock

import torch
from decoding.checks import (
    check_coin_of_zero,
    check_corrections_have_no_leak,
    check_law,
    check_lines_are_possible,
    check_rejection_composes,
    check_siblings_compose,
    trial,
)
from decoding.markov import MarkovSession
from torch import Tensor

from mmgen.decoding import proactive, speculation, tree
from mmgen.decoding.acceptance.rejection import RejectionSampling
from mmgen.decoding.acceptance.rule import AcceptanceRule, Trial, probability, without
from mmgen.decoding.drafters import initial
from mmgen.decoding.drafters.drafter import Drafter, Proposal
from mmgen.decoding.line import Line
from mmgen.decoding.proactive import Proactive
from mmgen.decoding.speculation import Drafts, Outcome, Slots, Speculation
from mmgen.layout import RasterLayout
from mmgen.rng import Purpose, Rng

Check = Callable[[], None]

SPECULATIVE = functools.partial(check_law, "speculative-jacobi")
COUPLED = functools.partial(check_law, "coupled-jacobi")
COPIED = functools.partial(check_law, "coupled-jacobi", drafter="vertical-repeat")
MANY = functools.partial(check_law, "speculative-jacobi", rows=16000)
TREE = functools.partial(
    check_law, "proactive", rows=10000, vocabulary_size=5, layout=RasterLayout(2, 2), branching=3, depth=2, window=4
)
NARROW = functools.partial(
    check_law, "coupled-jacobi", rows=12000, vocabulary_size=2, layout=RasterLayout(2, 4),
    adaptive=True, buckets=tuple(range(1, 8)),
)  # fmt: skip


@dataclass(frozen=True)
class Mutation:
    """A fault, where it was published, and the checks that must notice it.

    Attributes:
        name: the fault.
        source: who released it, or what tempts people into it.
        apply: puts it into our code while its context lasts.
        checks: each must fail under it.
    """

    name: str
    source: str
    apply: Callable[[], AbstractContextManager]
    checks: tuple[Check, ...]

    def reddens(self, check: Check) -> bool:
        """Whether a check fails under the fault."""
        with self.apply():
            return not holds(check)


def holds(check: Check) -> bool:
    """Whether a check passes."""
    try:
        check()
    except AssertionError:
        return False
    return True


def _around_verify(change: Callable[[Drafts, Outcome], Outcome]) -> AbstractContextManager:
    """Changes what an evaluation of the chain decoders leads to."""
    verify = Speculation.verify

    def changed(
        self: Speculation, session: MarkovSession, drafter: Drafter, drafts: Drafts, inputs: Tensor, slots: Slots
    ) -> Outcome:
        return change(drafts, verify(self, session, drafter, drafts, inputs, slots))

    return mock.patch.object(Speculation, "verify", changed)


def stale_law() -> AbstractContextManager:
    """A draft that was kept but not committed is carried with the law it had, not with the new p."""

    def change(drafts: Drafts, outcome: Outcome) -> Outcome:
        # A correction never equals the draft it replaces, so equality means "kept".
        kept = (outcome.carried == drafts.tokens)[..., None]
        return outcome._replace(probs=torch.where(kept, drafts.laws, outcome.probs))

    return _around_verify(change)


def batch_minimum() -> AbstractContextManager:
    """Rows, here three at a time, commit the least run; what was accepted beyond it is carried with its draft law."""

    def change(drafts: Drafts, outcome: Outcome) -> Outcome:
        slots = torch.arange(outcome.tokens.shape[1])
        accepted = slots < outcome.counts[:, None] - 1
        return outcome._replace(
            counts=outcome.counts.view(-1, 3).amin(1, keepdim=True).expand(-1, 3).flatten(),
            carried=torch.where(accepted, drafts.tokens, outcome.carried),
            probs=torch.where(accepted[..., None], drafts.laws, outcome.probs),
        )

    return _around_verify(change)


def reuse_of_good_drafts() -> AbstractContextManager:
    """Behind the run, a draft is carried on where its ratio p / q is high."""

    def change(drafts: Drafts, outcome: Outcome) -> Outcome:
        index = drafts.tokens[..., None]
        ratio = outcome.probs.gather(-1, index) / drafts.laws.gather(-1, index)
        return outcome._replace(carried=torch.where(ratio[..., 0] > 0.5, drafts.tokens, outcome.carried))

    return _around_verify(change)


def target_for_residual() -> AbstractContextManager:
    """After a refusal the token is drawn from p."""
    return mock.patch.object(RejectionSampling, "correction", lambda self, trial: trial.p)


def gated_residual() -> AbstractContextManager:
    """The residual is used only where its mass exceeds 1, which never happens."""

    def correction(self: RejectionSampling, trial: Trial) -> Tensor:
        residual = (trial.p - trial.q).clamp(min=0)
        return torch.where(residual.sum(-1, keepdim=True) + 1e-7 > 1, residual, trial.p)

    return mock.patch.object(RejectionSampling, "correction", correction)


@contextlib.contextmanager
def epsilon_smoothing(epsilon: float = 1e-10) -> Iterator[None]:
    """A small number is added to q in the ratio and to every token of the residual."""

    def keep(self: RejectionSampling, trial: Trial) -> Tensor:
        p, q, tokens, coins = trial[:4]
        return coins < probability(p, tokens) / (probability(q, tokens) + epsilon)

    def correction(self: RejectionSampling, trial: Trial) -> Tensor:
        residual = (trial.p - trial.q).clamp(min=0) + epsilon
        return residual / residual.sum(-1, keepdim=True)

    with mock.patch.object(RejectionSampling, "keep", keep), mock.patch.object(
        RejectionSampling, "correction", correction
    ):  # fmt: skip
        yield


def weak_inequality() -> AbstractContextManager:
    """A draft is kept where coin * q <= p."""

    def keep(self: RejectionSampling, trial: Trial) -> Tensor:
        p, q, tokens, coins = trial[:4]
        return coins * probability(q, tokens) <= probability(p, tokens)

    return mock.patch.object(RejectionSampling, "keep", keep)


@contextlib.contextmanager
def longest_path() -> Iterator[None]:
    """Of the accepted siblings at the first level, the one whose branch goes on longest is taken."""
    scored: list[Tensor] = []
    seen: list[tuple[tree.Topology, tree.Branches]] = []
    choose, verify, score = tree._choose, tree.verify_tree, MarkovSession.score

    def remember_tree(decoder: Proactive, session: MarkovSession, *arguments: object) -> Outcome:
        seen[:] = [arguments[:2]]
        return verify(decoder, session, *arguments)

    def remember_probs(self: MarkovSession, *arguments: object, **options: object) -> Tensor:
        scored[:] = [score(self, *arguments, **options)]
        return scored[0]

    def longest(
        rule: AcceptanceRule, p: Tensor, law: Tensor, candidates: Tensor, level: int, slots: Slots
    ) -> tuple[Tensor, Tensor]:
        choice, token = choose(rule, p, law, candidates, level, slots)
        topology, branches = seen[0]
        if level > 0 or topology.depth < 2:
            return choice, token
        best = torch.full_like(choice, -1)
        for index in range(candidates.shape[1] - 1, -1, -1):
            accepted = _accepted(rule, p, law, candidates, slots, index)
            child = int(topology.children[0, index])
            below = branches.tokens[:, topology.children[child] - 1]
            here = branches.laws[:, topology.parents[child]]
            goes_on = choose(rule, scored[0][:, child], here, below, 1, slots)[0] >= 0
            length = torch.where(accepted, 1 + goes_on.long(), 0)
            choice = torch.where((length > 0) & (length >= best), index, choice)
            best = torch.where(accepted, torch.maximum(best, length), best)
        picked = candidates.gather(1, choice.clamp(min=0)[:, None])[:, 0]
        return choice, torch.where(choice >= 0, picked, token)

    with (
        mock.patch.object(proactive, "verify_tree", remember_tree),
        mock.patch.object(MarkovSession, "score", remember_probs),
        mock.patch.object(tree, "_choose", longest),
    ):
        yield


def _accepted(rule: AcceptanceRule, p: Tensor, q: Tensor, candidates: Tensor, slots: Slots, index: int) -> Tensor:
    """Whether a sibling of the first level passes its test, whether or not one before it did."""
    for token in candidates[:, :index].unbind(1):
        p, q = rule.correction(trial(p, q)), without(q, token)
    draw = slots.draw if index == 0 else slots.draw * 16 + index + 2**32
    coins = slots.rng.uniform(Purpose.ACCEPT, slots.positions[:, :1], draw)[:, 0]
    return rule.keep(trial(p, q, candidates[:, index], coins)) & (q.sum(-1) > 0)


@contextlib.contextmanager
def confident_window() -> Iterator[None]:
    """The next window ends before the first carried draft of low probability."""
    confident: list[Tensor] = []
    carry, choose = Speculation._carry, speculation._Widths._choose

    def remember(self: Speculation, tokens: Tensor, probs: Tensor, counts: Tensor, window: int) -> Drafts:
        drafts = carry(self, tokens, probs, counts, window)
        chance = drafts.laws.gather(-1, drafts.tokens[..., None])[..., 0]
        confident[:] = [(chance > 0.5).long().cumprod(1).sum(1).clamp(min=1)]
        return drafts

    def by_confidence(self: speculation._Widths) -> None:
        choose(self)
        if confident and len(confident[0]) == len(self.widths):
            self.widths = torch.minimum(self.widths, confident[0])

    with (
        mock.patch.object(Speculation, "_carry", remember),
        mock.patch.object(speculation._Widths, "_choose", by_confidence),
    ):
        yield


def copies_as_if_drawn() -> AbstractContextManager:
    """A copied token is recorded as if it had been drawn uniformly."""
    copy = initial._copy

    def uniform(context: initial.Context, sources: Tensor) -> Proposal:
        tokens, size = copy(context, sources).tokens, context.line.session.vocabulary_size
        return Proposal(tokens, torch.full((*tokens.shape, size), 1 / size))

    return mock.patch.object(initial, "_copy", uniform)


def lasting_coins() -> AbstractContextManager:
    """A position is tested by the same coin in every evaluation."""
    uniform = Rng.uniform

    def first(self: Rng, purpose: Purpose, positions: Tensor, draw: Tensor | int = 0) -> Tensor:
        return uniform(self, purpose, positions, 0 if purpose == Purpose.ACCEPT else draw)

    return mock.patch.object(Rng, "uniform", first)


def one_commit_for_all() -> AbstractContextManager:
    """All rows advance by the run of the first."""
    commit = Line.commit

    def first_row(self: Line, tokens: Tensor, counts: Tensor) -> Tensor:
        return commit(self, tokens, counts[:1].expand_as(counts))

    return mock.patch.object(Line, "commit", first_row)


def path_not_followed() -> AbstractContextManager:
    """After a tree the cache is left as the forward wrote it."""
    return mock.patch.object(MarkovSession, "follow", lambda self, nodes: None)


MUTATIONS = (
    Mutation("stale q", "SCD, Lumina and Janus: the law of a kept draft stays the old one", stale_law, (COUPLED,)),
    Mutation(
        "p instead of the residual", "Cosmos SJD baseline", target_for_residual,
        (check_rejection_composes, check_siblings_compose, SPECULATIVE, TREE),
    ),
    Mutation("residual only above mass 1", "Lumina-mGPT-2.0", gated_residual, (check_rejection_composes, SPECULATIVE)),
    Mutation(
        "epsilon smoothing", "SCD, Cosmos: 1e-10 as released", epsilon_smoothing,
        (check_rejection_composes, check_siblings_compose, check_corrections_have_no_leak),
    ),
    Mutation(
        "epsilon smoothing, enlarged", "the same, in proportion to a toy vocabulary",
        functools.partial(epsilon_smoothing, 3e-2), (SPECULATIVE, COUPLED),
    ),
    Mutation("batch-minimum commit", "SJD, batches above 1: q stays the draft's law", batch_minimum, (MANY,)),
    Mutation("<= for <", "transformers, EAGLE", weak_inequality, (check_coin_of_zero, check_lines_are_possible)),
    Mutation("longest path of the tree", "SJD-PAC", longest_path, (TREE,)),
    Mutation("window by draft confidence", "adaptive speculation lengths", confident_window, (NARROW,)),
    Mutation("reuse of likely drafts", "SJD++", reuse_of_good_drafts, (SPECULATIVE,)),
    Mutation("copies recorded as drawn", "a q that is not the law of the draft", copies_as_if_drawn, (COPIED,)),
    Mutation("one coin for life", "noise keyed by position alone", lasting_coins, (COUPLED,)),
    Mutation("the first row decides for all", "batch 1 code run on a batch", one_commit_for_all, (SPECULATIVE,)),
    Mutation("tree path not followed", "stale keys and values after a tree", path_not_followed, (TREE,)),
)  # fmt: skip


def title(check: Check) -> str:
    """A check in a few words."""
    if isinstance(check, functools.partial):
        options = ", ".join(f"{key}={value}" for key, value in check.keywords.items() if key != "layout")
        return f"law of {check.args[0]}" + (f" ({options})" if options else "")
    return check.__name__.removeprefix("check_").replace("_", " ")


def main() -> int:
    """Prints every mutation with the checks it must break; 1 where one stays green, or is red without a fault."""
    wrong = 0
    checks = {title(check): check for mutation in MUTATIONS for check in mutation.checks}
    for name, check in checks.items():
        green = holds(check)
        wrong += not green
        print(f"{'green' if green else 'RED: NOT EXPECTED':<20}no fault{'':<24}{name}", flush=True)
    for mutation in MUTATIONS:
        for check in mutation.checks:
            red = mutation.reddens(check)
            wrong += not red
            print(f"{'red' if red else 'GREEN: NOT NOTICED':<20}{mutation.name:<32}{title(check)}", flush=True)
    verdict = "all are noticed" if not wrong else f"{wrong} results are not as they should be"
    print(f"{len(MUTATIONS)} mutations; {verdict}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
