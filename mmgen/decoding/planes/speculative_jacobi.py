"""Speculative Jacobi decoding of planes: rejection sampling of planes the model itself drew one evaluation before."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mmgen.decoding.acceptance.rule import RatioRule, Trial, probability
from mmgen.decoding.line import leading
from mmgen.decoding.options import LAWS, Law, option, parts
from mmgen.decoding.planes.line import PlaneLine
from mmgen.decoding.planes.residual import draw_residual, log_ratio
from mmgen.decoding.planes.speculation import PlaneDrafts, PlaneSpeculation, PlaneVerdict
from mmgen.errors import OptionError
from mmgen.rng import Purpose, Rng, race
from mmgen.sessions.planes import PlaneSession


@dataclass
class PlaneSpeculativeJacobi(PlaneSpeculation):
    """Tests planes against their law as one token each; those behind the run are drawn afresh from their new law.

    Teng et al. 2024 (SJD), there for single tokens. The tokens of a plane are independent given all planes before it,
    so its law is a product, and it stands with probability min(1, P / Q): no rule keeps more. The first plane that
    falls is replaced by a draw from (P - Q)+. Another acceptance rule has what counts for it in the place of each
    token's probability.
    """

    name = "speculative-jacobi"
    law: ClassVar[Law] = "exact"
    paper = "Teng et al. 2024, arXiv 2410.01699, of planes"

    acceptance: RatioRule = option("rejection", "which planes stand", part="acceptance")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.acceptance, RatioRule):
            rules = [name for name, rule in parts("acceptance").items() if issubclass(rule, RatioRule)]
            needed = f"a rule that is made for planes, one of {', '.join(rules)}"
            raise OptionError("acceptance", self.acceptance.name, needed)
        self.law = max(type(self).law, self.acceptance.law, key=LAWS.index)  # type: ignore[misc]

    def bind(self, session: PlaneSession) -> PlaneSpeculativeJacobi:
        return dataclasses.replace(self, acceptance=self.acceptance.bind(session))

    def judge(self, probs: Tensor, drafts: PlaneDrafts, line: PlaneLine, rng: Rng) -> PlaneVerdict:
        assert drafts.laws is not None
        slots, draw = probs.shape[1], line.evaluations[:, None]
        coins = rng.uniform(Purpose.ACCEPT, line.indices(slots), draw).double()
        keep = coins < self._ratio(probs, drafts).exp()
        run = leading(keep)
        refused = (run < slots).nonzero().squeeze(1)
        planes = drafts.planes.clone()
        if len(refused):
            first = run[refused]
            numbers = _Numbers(rng.select(refused), line.indices(slots)[refused, first], draw[refused], planes.shape[2])
            planes[refused, first] = draw_residual(probs[refused, first], drafts.laws[refused, first], numbers)
        return PlaneVerdict(keep, planes, self.carry(probs, drafts, line, rng))

    def _ratio(self, probs: Tensor, drafts: PlaneDrafts) -> Tensor:
        """Logarithm of what counts for each drafted plane over what counted when it was drawn: float64 [B, L]."""
        assert drafts.laws is not None
        nowhere = torch.zeros_like(drafts.planes)
        trial = Trial(probs, drafts.laws, drafts.planes, nowhere, nowhere, nowhere > 0)
        ratio = log_ratio(probs, drafts.laws, *self.acceptance.masses(trial))
        return ratio.masked_fill((probability(probs, drafts.planes) == 0).any(-1), -torch.inf)

    def carry(self, probs: Tensor, drafts: PlaneDrafts, line: PlaneLine, rng: Rng) -> Tensor:
        """Drafts for the next evaluation, each distributed as `probs` [B, L, M, V] at its slot: int64 [B, L, M]."""
        noise = rng.exponential(Purpose.CARRY, line.cells(probs.shape[1]), probs.shape[-1], line.evaluations[:, None])
        return race(probs, noise.view_as(probs))


class _Numbers:
    """Uniform numbers for the candidates of some planes, in steps of 2**-48: tokens may be that unlikely.

    Args:
        rng: the noise of as many rows.
        planes: int64 [R], which they are.
        draw: int64 [R, 1], the evaluation.
        width: slots M of a plane.
    """

    def __init__(self, rng: Rng, planes: Tensor, draw: Tensor, width: int) -> None:
        self._rng, self._planes, self._draw, self._width = rng, planes, 2 * draw, width + 1

    def __call__(self, rows: Tensor, first: int, number: int) -> Tensor:
        """Float64 [r, number, M + 1] in [0, 1): of candidates from the `first` on, for `rows` [r]."""
        candidates = torch.arange(first, first + number, device=rows.device)[:, None]
        numbers = torch.arange(self._width, device=rows.device)
        # Planes of a line are fewer than 2**20, and so no two numbers have one position.
        positions = (candidates * 2**20 + self._planes[rows, None, None]) * self._width + numbers
        rng, draw = self._rng.select(rows), self._draw[rows]
        coarse, fine = (rng.uniform(Purpose.CORRECT, positions.flatten(1), draw + part).double() for part in (0, 1))
        return (coarse + fine * 2.0**-24).view_as(positions)
