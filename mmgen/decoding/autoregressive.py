"""One token an evaluation: the reference all others are held to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from mmgen.decoding.decoder import Decoder, Generation
from mmgen.decoding.line import Line, leading
from mmgen.rng import Rng, race
from mmgen.sessions.session import Session

_LONGEST_KNOWN_RUN = 64


@dataclass
class Autoregressive(Decoder):
    """Draws each token from the model's law given all before it.

    The noise of a position is fixed by seed and position, so `jacobi` draws the same picture. Runs of
    known tokens are read together with the token before them and cost nothing of their own.
    """

    name = "autoregressive"
    law = "exact"
    paper = "the chain rule"

    @torch.no_grad()
    def steps(self, session: Session, rng: Rng) -> Iterator[Generation]:
        window = 1 + _longest_known_run(session)
        session.open(window)
        line = Line(session, window)
        while line.unfinished():
            known = line.known()
            if window > 1:
                line.draft(known.clamp(min=0))
            probs = session.score(line.inputs(window))
            noise = rng.token_noise(line.positions(), session.vocabulary_size, session.length)
            tokens = torch.where(known >= 0, known, race(probs, noise))
            line.commit(tokens, leading(known >= 0) + 1)
            yield line.generation


def _longest_known_run(session: Session) -> int:
    longest = run = torch.zeros(session.batch, dtype=torch.long, device=session.known.device)
    for known in (session.known >= 0).unbind(1):
        run = (run + 1) * known
        longest = torch.maximum(longest, run)
    return min(int(longest.max()), _LONGEST_KNOWN_RUN)
