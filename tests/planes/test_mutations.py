"""Faults that published code of other decoders has, put into the decoders of planes: each must be noticed."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from unittest import mock

import pytest
import torch
from planes.markov import check_law
from torch import Tensor

from mmgen.decoding.line import leading
from mmgen.decoding.planes import residual, speculative_jacobi
from mmgen.decoding.planes.line import PlaneLine
from mmgen.decoding.planes.speculation import PlaneDrafts, PlaneSpeculation, PlaneVerdict
from mmgen.decoding.planes.speculative_jacobi import PlaneSpeculativeJacobi
from mmgen.rng import Purpose, Rng

MANY = functools.partial(check_law, rows=9000, window=4)
NARROW = functools.partial(check_law, window=2)


def target_for_residual() -> contextlib.AbstractContextManager:
    """After a refusal the plane is drawn from P."""
    draw = residual.draw_residual

    def from_target(p: Tensor, q: Tensor, uniform: residual.Uniform) -> Tensor:
        return draw(p, p, uniform)

    return mock.patch.object(speculative_jacobi, "draw_residual", from_target)


def few_candidates() -> contextlib.AbstractContextManager:
    """Thinning ends with its first candidate."""
    draw = residual.draw_residual

    def once(p: Tensor, q: Tensor, uniform: residual.Uniform) -> Tensor:
        def first(rows: Tensor, number: int, count: int) -> Tensor:
            numbers = uniform(rows, number, count)
            numbers[..., -1] = 0 if number else numbers[..., -1]
            return numbers

        return draw(p, q, first)

    return mock.patch.object(speculative_jacobi, "draw_residual", once)


def residual_token_by_token() -> contextlib.AbstractContextManager:
    """Each token of a refused plane is drawn from its own (p - q)+."""

    def apart(p: Tensor, q: Tensor, uniform: residual.Uniform) -> Tensor:
        rest = (p - q).clamp(min=0)
        rest = torch.where(rest.sum(-1, keepdim=True) > 0, rest, p)
        points = uniform(torch.arange(len(p)), 0, 1)[:, 0, :-1, None] * rest.sum(-1, keepdim=True)
        return torch.searchsorted(rest.double().cumsum(-1), points, right=True)[..., 0].clamp(max=p.shape[-1] - 1)

    return mock.patch.object(speculative_jacobi, "draw_residual", apart)


def stale_law() -> contextlib.AbstractContextManager:
    """Drafts behind the run are kept as they are, and their law is said to be the new p."""

    def keep(self: object, probs: Tensor, drafts: PlaneDrafts, line: PlaneLine, rng: Rng) -> Tensor:
        return drafts.planes

    return mock.patch.object(PlaneSpeculativeJacobi, "carry", keep)


def lasting_coins() -> contextlib.AbstractContextManager:
    """A token is carried by the same coin in every evaluation."""
    uniform = Rng.uniform

    def first(self: Rng, purpose: Purpose, positions: Tensor, draw: Tensor | int = 0) -> Tensor:
        return uniform(self, purpose, positions, 0 if purpose == Purpose.DRAFT else draw)

    return mock.patch.object(Rng, "uniform", first)


def copies_as_if_drawn() -> contextlib.AbstractContextManager:
    """A repeated token is recorded as if it had been drawn uniformly."""
    fill = PlaneSpeculation._fill

    def uniform(self: PlaneSpeculation, line: PlaneLine, *arguments: object) -> PlaneDrafts:
        drafts = fill(self, line, *arguments)
        certain, free = (drafts.laws == 1).any(-1, keepdim=True), (line.known() < 0)[..., None]
        return drafts._replace(laws=torch.where(certain & free, 1 / drafts.laws.shape[-1], drafts.laws))

    return mock.patch.object(PlaneSpeculation, "_fill", uniform)


def one_too_many() -> contextlib.AbstractContextManager:
    """The plane behind the window is committed with it."""
    commit = PlaneLine.commit

    def more(self: PlaneLine, planes: Tensor, counts: Tensor) -> Tensor:
        return commit(self, planes, counts + (counts == planes.shape[1]))

    return mock.patch.object(PlaneLine, "commit", more)


@contextlib.contextmanager
def batch_minimum() -> Iterator[None]:
    """Rows, here three at a time, commit the least run; what was accepted beyond it is carried with its draft law."""
    judge, carry = PlaneSpeculativeJacobi.judge, PlaneSpeculation._carry
    seen: list[tuple[PlaneDrafts, Tensor]] = []

    def together(self, probs: Tensor, drafts: PlaneDrafts, line: PlaneLine, rng: Rng) -> PlaneVerdict:
        verdict = judge(self, probs, drafts, line, rng)
        runs = leading(verdict.keep)
        least = runs.view(-1, 3).amin(1, keepdim=True).expand(-1, 3).flatten()
        slots = torch.arange(probs.shape[1])
        accepted = (slots < runs[:, None]) & (slots >= least[:, None])
        seen[:] = [(drafts, accepted)]
        keep = slots < least[:, None]
        carried = torch.where(accepted[..., None], drafts.planes, verdict.carried)
        return PlaneVerdict(keep, verdict.planes, carried)

    def stale(self, planes: Tensor, probs: Tensor, counts: Tensor) -> PlaneDrafts:
        drafts, accepted = seen[0]
        return carry(self, planes, torch.where(accepted[..., None, None], drafts.laws, probs), counts)

    with (
        mock.patch.object(PlaneSpeculativeJacobi, "judge", together),
        mock.patch.object(PlaneSpeculation, "_carry", stale),
        mock.patch.object(PlaneLine, "retire", lambda self: None),
    ):
        yield


FAULTS: dict[Callable[[], contextlib.AbstractContextManager], Callable[[], None]] = {
    target_for_residual: functools.partial(MANY, "speculative-jacobi"),
    few_candidates: functools.partial(MANY, "speculative-jacobi"),
    residual_token_by_token: functools.partial(MANY, "speculative-jacobi"),
    stale_law: functools.partial(MANY, "speculative-jacobi"),
    lasting_coins: functools.partial(MANY, "coupled-jacobi"),
    copies_as_if_drawn: functools.partial(MANY, "speculative-jacobi"),
    one_too_many: functools.partial(NARROW, "jacobi"),
    batch_minimum: functools.partial(MANY, "speculative-jacobi"),
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_every_fault_is_noticed(fault: Callable[[], contextlib.AbstractContextManager]) -> None:
    with fault(), pytest.raises(AssertionError):
        FAULTS[fault]()


def test_without_a_fault_nothing_is() -> None:
    for decoder in ("speculative-jacobi", "coupled-jacobi"):
        MANY(decoder)
    NARROW("jacobi")
