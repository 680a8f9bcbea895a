"""One scale an evaluation, by one model or by a large one and then a small one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mmgen.decoding.options import Law, option
from mmgen.decoding.scales.decoder import ScaleDecoder, ScaleGeneration
from mmgen.errors import OptionError
from mmgen.rng import Purpose, Rng, race
from mmgen.sessions.scales import ScaleSession


@dataclass
class ScaleWise(ScaleDecoder):
    """Draws all codes of a scale at once, given those of smaller scales.

    The noise of a position is fixed by seed and position. So two models with the same weights draw, wherever the
    second takes over, the picture that one of them draws.

    - `handover`: collaborative decoding (CoDe, Chen et al. 2025): a large model draws the small scales, a small one
      the large scales, which hold most of the tokens. Nothing is verified.
    - `unguided`: Switti (Voronov et al. 2024) draws its last scales without guidance, at half their cost.
    - `skipped`: the features so far are full-sized at every scale, so a picture can do without the last details.
    - `smooth`: mixtures of codes (VAR's `more_smooth`). Weights are softmax((log p (1 + r) + gumbel) / t), with
      t = max(0.27 (1 - 0.95 r), 0.005) and r from 0 at the first scale to 1 at the last, p the truncated law.
      Deviation: with a temperature other than 1, p is divided by it, too.

    Scales that are known in all rows cost no evaluation.
    """

    name = "scale-wise"
    law: ClassVar[Law] = "exact"
    paper = "VAR, Tian et al. 2024, arXiv 2404.02905; handover: CoDe, Chen et al. 2025, arXiv 2411.17787"

    handover: int = option(0, "scale from which on the draft model draws; 0 is never", minimum=0, maximum=63)
    unguided: int = option(0, "last scales drawn without guidance", minimum=0, maximum=64)
    skipped: int = option(0, "last scales that are not drawn", minimum=0, maximum=63)
    smooth: bool = option(False, "mix codes instead of choosing one: smoother pictures")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.handover or self.unguided or self.skipped or self.smooth:
            self.law = "heuristic"  # type: ignore[misc]

    def drawn(self, scales: int) -> int:
        """How many of so many scales are drawn, the first ones.

        Raises:
            OptionError: none is.
        """
        if self.skipped >= scales:
            raise OptionError("skipped", self.skipped, f"a whole number from 0 to {scales - 1}")
        return scales - self.skipped

    @torch.no_grad()
    def steps(self, session: ScaleSession, rng: Rng) -> Iterator[ScaleGeneration]:  # type: ignore[override]
        writers = self._writers(session)
        session.open(writers, self.unguided)
        evaluations = [0, 0]
        while not session.finished:
            scale = session.scale
            if session.is_known:
                session.write(session.known_here())
            else:
                evaluations[writers[scale]] += 1
                self._draw(session, rng)
            yield self._generation(session, scale, evaluations)

    def _writers(self, session: ScaleSession) -> list[int]:
        """0 or 1, the model that draws each scale."""
        drawn = self.drawn(len(session.layout.sizes))
        if self.handover and len(session.models) < 2:
            raise OptionError("handover", self.handover, "0, or a pipeline with a draft model")
        if self.handover >= drawn:
            raise OptionError("handover", self.handover, f"less than {drawn}, the scales that are drawn")
        return [int(0 < self.handover <= scale) for scale in range(drawn)]

    def _draw(self, session: ScaleSession, rng: Rng) -> None:
        probs, positions = session.score(), session.positions()
        tokens = race(probs, rng.exponential(Purpose.TOKEN, positions, session.vocabulary_size))
        weights = None
        if self.smooth:
            place = session.scale / (len(session.layout.sizes) - 1)
            noise = rng.exponential(Purpose.TOKEN, positions, session.vocabulary_size, draw=1)
            weights = _mixture(probs, noise, place)
        session.write(tokens, weights)

    def _generation(self, session: ScaleSession, scale: int, evaluations: list[int]) -> ScaleGeneration:
        def for_all_rows(number: int) -> Tensor:
            return torch.full((session.batch,), number, device=session.device)

        committed, large, small = map(for_all_rows, (session.layout.ends[scale], *evaluations))
        return ScaleGeneration(session.tokens, committed, large, small, session.features)


def _mixture(probs: Tensor, exponential: Tensor, place: float) -> Tensor:
    """Weights [B, L, V] of the codes, given Gumbel noise as -log of exponential numbers."""
    warmth = max(0.27 * (1 - 0.95 * place), 0.005)
    return ((probs.log() * (1 + place) - exponential.log()) / warmth).softmax(-1)
