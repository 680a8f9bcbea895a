"""One token an evaluation: the reference all others are held to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from mmgen.decoding.decoder import Decoder, Generation
from mmgen.decoding.line import Line, common_known_runs, longest_known_run
from mmgen.rng import Rng, race
from mmgen.sessions.session import Session


@dataclass
class Autoregressive(Decoder):
    """Draws each token from the model's law given all before it.

    The noise of a position is fixed by seed and position, so `jacobi` draws the same picture. Runs of
    known tokens are read together with the token before them and cost nothing of their own.
    """

    name = "autoregressive"
    law = "exact"
    paper = "the chain rule"
    seeded = True

    @property
    def renews(self) -> bool:
        return True

    @torch.no_grad()
    def steps(self, session: Session, rng: Rng) -> Iterator[Generation]:
        window = 1 + longest_known_run(session.known)
        session.open(window)
        line = Line(session, window)
        planned = common_known_runs(session.known)
        position, everyone = 0, rng
        rng = rng.first(session.batch)
        while line.unfinished():
            begun = line.renew()
            if begun is not None:
                rng = rng.renew(begun[0], everyone.select(begun[1]))
                position = 0  # all rows end together, as they have the same known places
            runs = line.known_runs()
            width = 1 + (int(runs.max()) if planned is None else planned[position])
            position += width
            known = line.known(width)
            if width > 1:
                line.draft(known.clamp(min=0))
            probs = session.score(line.inputs(width))
            noise = rng.token_noise(line.positions(width), session.vocabulary_size, session.length)
            line.commit(torch.where(known >= 0, known, race(probs, noise)), runs + 1)
            yield line.generation
