"""Each frame in a few evaluations: all its hidden tokens are drawn, and the surest are kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mmgen.decoding.decoder import Generation
from mmgen.decoding.frames.decoder import FrameDecoder
from mmgen.decoding.options import Law, option
from mmgen.decoding.refinement import confidence, hidden_after, surest
from mmgen.rng import Purpose, Rng, race
from mmgen.sessions.frames import FrameSession


@dataclass
class MaskedRefinement(FrameDecoder):
    """Draws all hidden tokens of a frame at once, keeps the surest, and draws the others again.

    As Lumos-1 writes frames, with MaskGIT's choice of what to keep: log p + t * gumbel, where t falls from
    `choice_temperature` to 0 in a straight line over the passes of every frame. Lumos-1's released code never resets t,
    so that its later frames are chosen without noise; here all frames are alike. What is kept stays, and known tokens
    count as sure. A token's noise is fixed by seed, place and pass.

    Tokens of one pass are drawn independently, so the law is heuristic. Even one token a pass is, where the choice
    looks at what was drawn: likely tokens are kept more often than they should. With `passes=0`, `order="random"` and
    `history=0` the law is exact: autoregression in an order that chance alone decides.
    """

    name = "masked-refinement"
    law: ClassVar[Law] = "heuristic"
    paper = "Lumos-1, Yuan et al. 2025, arXiv 2507.08801; MaskGIT, Chang et al. 2022, arXiv 2202.04200"

    passes: int = option(8, "evaluations of a frame at most; 0 is one for every token", minimum=0, maximum=4096)
    order: str = option("confidence", "which tokens are kept first", choices=("confidence", "random"))
    choice_temperature: float = option(1.0, "noise in the order by confidence", minimum=0.0, maximum=100.0)
    history: float = option(0.0, "share of a frame's tokens that later frames do not see", minimum=0.0, maximum=1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.passes == 0 and self.order == "random" and self.history == 0:
            self.law = "exact"  # type: ignore[misc]

    @torch.no_grad()
    def steps(self, session: FrameSession, rng: Rng) -> Iterator[Generation]:  # type: ignore[override]
        session.open()
        evaluations = torch.zeros(session.batch, dtype=torch.long, device=session.device)
        while not session.finished:
            tokens, hidden, number = session.known_here(), session.free_here(), 0
            while bool(hidden.any()):
                evaluations = evaluations + (hidden > 0).to(session.device, non_blocking=True)
                left = self._hidden_after(number, hidden, tokens.shape[1])
                tokens = self._refine(session, rng, tokens, left, number)
                hidden, number = left, number + 1
                if bool(hidden.any()):
                    yield _generation(session, evaluations)
            session.write(tokens, self.history)
            yield _generation(session, evaluations)

    def _hidden_after(self, number: int, hidden: Tensor, length: int) -> Tensor:
        """How many tokens of each row are left, int64 [B] on the host."""
        if self.passes:
            return hidden_after(number, self.passes, length, hidden)
        return (hidden - 1).clamp(min=0)

    def _refine(self, session: FrameSession, rng: Rng, tokens: Tensor, hidden: Tensor, number: int) -> Tensor:
        """The frame's tokens [B, L] after one more pass, with -1 where hidden."""
        free, places = tokens < 0, session.positions()
        probs = session.score(tokens)
        drawn = race(probs, rng.exponential(Purpose.TOKEN, places, session.vocabulary_size, number))
        gumbel = -rng.exponential(Purpose.ACCEPT, places, 1, number).squeeze(-1).log()
        if self.order == "confidence":
            part = (number + 1) / (self.passes or tokens.shape[1])
            gumbel = confidence(probs, drawn, gumbel, self.choice_temperature * (1 - part))
        return torch.where(free & surest(gumbel, free, hidden), drawn, tokens)


def _generation(session: FrameSession, evaluations: Tensor) -> Generation:
    committed = torch.full_like(evaluations, session.frame * session.layout.frame_length)
    return Generation(session.tokens, committed, evaluations, torch.zeros_like(evaluations))
