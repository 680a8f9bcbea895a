"""Scale after scale, each in one evaluation or a few, by one model or by a large one and then a small one."""

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

    - `passes`: models that have learned it are shown what of a scale is drawn while they write its other codes (STAR,
      Ma et al. 2024, and MaskGIT, Chang et al. 2022, with fixed numbers of codes). Here the surest codes are drawn as
      long as the entropies of all but the least sure of them sum to `entropy` at most: by so many nats the law of what
      is drawn together can differ from independence (Ben-Hamu et al. 2025, arXiv 2505.24857). The last pass draws
      the rest. Scales drawn so have no mixtures. Scales that a model has not learned to write in part, such as the
      last of ours, are drawn at once.

    Scales that are known in all rows cost no evaluation.
    """

    name = "scale-wise"
    law: ClassVar[Law] = "exact"
    paper = "VAR, Tian et al. 2024, arXiv 2404.02905; handover: CoDe, Chen et al. 2025, arXiv 2411.17787"

    handover: int = option(0, "scale from which on the draft model draws; 0 is never", minimum=0, maximum=63)
    unguided: int = option(0, "last scales drawn without guidance", minimum=0, maximum=64)
    skipped: int = option(0, "last scales that are not drawn", minimum=0, maximum=63)
    smooth: bool = option(False, "mix codes instead of choosing one: smoother pictures")
    passes: int = option(1, "evaluations of a scale at most; 1 draws all its codes at once", minimum=1, maximum=64)
    entropy: float = option(0.5, "nats that codes of one pass may depend on each other by", minimum=0.0, maximum=100.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.handover or self.unguided or self.skipped or self.smooth or self.passes > 1:
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
        evaluations = torch.zeros(2, session.batch, dtype=torch.long, device=session.device)
        while not session.finished:
            scale = session.scale
            if session.is_known:
                session.write(session.known_here())
            else:
                evaluations[writers[scale]] += self._draw(session, rng)
            yield self._generation(session, scale, evaluations)

    def _writers(self, session: ScaleSession) -> list[int]:
        """0 or 1, the model that draws each scale."""
        drawn = self.drawn(len(session.layout.sizes))
        if self.handover and len(session.models) < 2:
            raise OptionError("handover", self.handover, "0, or a pipeline with a draft model")
        if self.handover >= drawn:
            raise OptionError("handover", self.handover, f"less than {drawn}, the scales that are drawn")
        if self.passes > 1 and not any(model.stepwise_scales for model in session.models):
            raise OptionError("passes", self.passes, "1, or a pipeline whose model has learned to write scales in part")
        return [int(0 < self.handover <= scale) for scale in range(drawn)]

    def _draw(self, session: ScaleSession, rng: Rng) -> Tensor | int:
        """Draws the next scale; returns the evaluations it took, for all rows or for each."""
        if self.passes > 1 and session.is_stepwise:
            return self._draw_in_passes(session, rng)
        probs, positions = session.score(), session.positions()
        tokens = race(probs, rng.exponential(Purpose.TOKEN, positions, session.vocabulary_size))
        weights = None
        if self.smooth:
            place = session.scale / (len(session.layout.sizes) - 1)
            noise = rng.exponential(Purpose.TOKEN, positions, session.vocabulary_size, draw=1)
            weights = _mixture(probs, noise, place)
        session.write(tokens, weights)
        return 1

    def _draw_in_passes(self, session: ScaleSession, rng: Rng) -> Tensor:
        noise = rng.exponential(Purpose.TOKEN, session.positions(), session.vocabulary_size)
        tokens = shown = session.known_here()
        passes = torch.zeros(session.batch, dtype=torch.long, device=session.device)
        for number in range(1, self.passes + 1):
            free = tokens < 0
            unfinished = free.any(dim=1)
            if not unfinished.any():
                break
            # A finished row is read as it was in its own last pass: a picture does not depend on its neighbours.
            shown = torch.where(unfinished[:, None], tokens, shown)
            probs = session.score(shown)
            chosen = free if number == self.passes else free & _surest(probs, free, self.entropy)
            tokens = torch.where(chosen, race(probs, noise), tokens)
            passes += unfinished
        session.write(tokens)
        return passes

    def _generation(self, session: ScaleSession, scale: int, evaluations: Tensor) -> ScaleGeneration:
        committed = torch.full((session.batch,), session.layout.ends[scale], device=session.device)
        large, small = evaluations.clone()
        return ScaleGeneration(session.tokens, committed, large, small, session.features)


def _surest(probs: Tensor, free: Tensor, bound: float) -> Tensor:
    """Which tokens to draw together, bool [B, L]: the surest, while entropies of those before sum to `bound` at most.

    Args:
        probs: [B, L, V].
        free: bool [B, L], those that may be drawn: where there are any, one is.
        bound: in nats.
    """
    entropies = torch.special.entr(probs).sum(-1).masked_fill(~free, torch.inf)
    ordered, order = entropies.sort(dim=-1, stable=True)
    before = ordered.cumsum(-1).roll(1, -1)
    before[:, 0] = 0
    return torch.zeros_like(free).scatter(-1, order, before <= bound)


def _mixture(probs: Tensor, exponential: Tensor, place: float) -> Tensor:
    """Weights [B, L, V] of the codes, given Gumbel noise as -log of exponential numbers."""
    warmth = max(0.27 * (1 - 0.95 * place), 0.005)
    return ((probs.log() * (1 + place) - exponential.log()) / warmth).softmax(-1)
