"""One plane an evaluation: the reference the other decoders of planes are held to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mmgen.decoding.decoder import Generation
from mmgen.decoding.line import common_known_runs, leading, longest_known_run
from mmgen.decoding.planes.decoder import PlaneDecoder
from mmgen.decoding.planes.line import PlaneLine, whole
from mmgen.rng import Rng, race
from mmgen.sessions.planes import PlaneSession


@dataclass
class PlaneWise(PlaneDecoder):
    """Draws each plane from the model's law given all before it.

    The noise of a token is fixed by seed and place, so `jacobi` draws the same. Runs of planes that are known as a
    whole are read together with the plane before them and cost nothing of their own.
    """

    name = "plane-wise"
    law = "exact"
    paper = "He et al. 2025, arXiv 2503.10696"
    seeded = True

    @torch.no_grad()
    def steps(self, session: PlaneSession, rng: Rng) -> Iterator[Generation]:  # type: ignore[override]
        held = whole(session.known).long() - 1
        window = min(1 + longest_known_run(held), session.layout.count)
        planned = common_known_runs(held)
        session.open(window)
        line = PlaneLine(session, window)
        position = 0
        while line.unfinished():
            # Behind the end everything counts as known: a row that is finished must not widen what others read.
            runs = planned[position] if planned is not None else self._runs(line)
            width = min(1 + int(torch.as_tensor(runs).max()), window)
            position += width
            line.draft(line.known(width).clamp(min=0))
            line.commit(race(session.score(line.inputs(width)), line.noise(rng, width)), runs + 1)
            yield line.generation

    def _runs(self, line: PlaneLine) -> Tensor:
        """Planes that are known as a whole behind those committed, int64 [B]."""
        return leading(whole(line.known())).masked_fill(line.committed >= line.count, 0)
