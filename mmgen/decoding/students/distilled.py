"""All scales in one evaluation or a few, by a student that was trained for it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mmgen.decoding.options import Law, option
from mmgen.decoding.scales.decoder import ScaleDecoder, ScaleGeneration
from mmgen.errors import OptionError
from mmgen.rng import Purpose, Rng, race
from mmgen.sessions.distilled import DistilledSession


@dataclass
class Distilled(ScaleDecoder):
    """Noise to tokens through a student of Distilled Decoding; its teacher may draw some scales in between.

    A step of the student says of each token what its noise becomes. The next step starts from the scales before it as
    they were said, and from the same noise for all others. The first scales are the student's likeliest codes; vectors
    of scales from `split` on are taken as it says them, and the codes returned are the nearest.

    Of the authors' students of VAR: `starts="0"` is one step, `starts="0, 5"` (of d20 and d24 "0, 4") two, with `split`
    5 (4). With the teacher for 1, 2 or 5 scales and `split` 5, 8 or 9 it is 3, 4 or 6 evaluations. What the teacher is
    given are codes; steps whose scales it all draws are left out. Students of ours say codes alone: of all scales.

    Deviations: the authors' teacher reads the given scales without a mask, so that small ones see large ones, unlike in
    its training; ours sees what it was trained to. A student's step evaluates no scales that the next step replaces.
    """

    name = "distilled"
    law: ClassVar[Law] = "heuristic"
    paper = "Distilled Decoding 1, Liu et al. 2024, arXiv 2412.17153"

    starts: str = option("0", "scales that the student's steps start from, the first of them 0")
    split: int = option(5, "scales whose codes are chosen, the first ones", minimum=0, maximum=64)
    teacher: int = option(0, "scales before the last step that the teacher draws", minimum=0, maximum=63)

    def __post_init__(self) -> None:
        super().__post_init__()
        starts = self._starts()
        if self.teacher > starts[-1]:
            raise OptionError("teacher", self.teacher, f"0 to {starts[-1]}, the scales before the last step")

    def turns(self, scales: int) -> list[tuple[int, bool]]:
        """Who writes so many scales: for each turn the scale behind its last, and whether it is the teacher's.

        Raises:
            OptionError: a step starts behind them.
        """
        starts = self._starts()
        if starts[-1] >= scales:
            raise OptionError("starts", self.starts, f"whole numbers below {scales}, the scales of this model")
        taught = starts[-1] - self.teacher
        turns = [(stop, False) for stop in sorted({min(start, taught) for start in starts})]
        return [*turns, (starts[-1], True), (scales, False)]

    @torch.no_grad()
    def steps(self, session: DistilledSession, rng: Rng) -> Iterator[ScaleGeneration]:  # type: ignore[override]
        if not isinstance(session, DistilledSession):
            raise OptionError("decoder", self.name, "one of the pipeline's own family, or a pipeline with a student")
        if self.teacher and session.teacher is None:
            raise OptionError("teacher", self.teacher, "0, or a pipeline with a teacher")
        turns = self.turns(len(session.layout.sizes))
        session.open(normal_noise(rng, session.positions(), session.channels))
        evaluations = 0
        if session.scale:
            yield _generation(session, evaluations)
        for stop, taught in turns:
            for cost in self._teach(session, stop, rng) if taught else self._predict(session, stop):
                evaluations += cost
                yield _generation(session, evaluations)

    def _predict(self, session: DistilledSession, stop: int) -> Iterator[int]:
        """A turn of the student; yields its evaluations."""
        if session.scale < stop:
            session.write(session.predict(stop, self.split))
            yield 1

    def _teach(self, session: DistilledSession, stop: int, rng: Rng) -> Iterator[int]:
        """A turn of the teacher; yields the evaluations of each scale."""
        if session.scale >= stop:
            return
        session.snap()
        teacher = session.taught(stop)
        while not teacher.finished:
            known = teacher.is_known
            tokens = teacher.known_here() if known else _drawn(teacher.score(), teacher.positions(), rng)
            teacher.write(tokens)
            session.adopt(teacher)
            yield int(not known)

    def _starts(self) -> list[int]:
        words = self.starts.replace(",", " ").split()
        starts = [int(word) if word.isascii() and word.isdigit() else -1 for word in words]
        if starts[:1] != [0] or starts != sorted(set(starts)):
            raise OptionError("starts", self.starts, 'growing whole numbers, the first of them 0, such as "0, 5"')
        return starts


def normal_noise(rng: Rng, positions: Tensor, channels: int) -> Tensor:
    """Independent standard normal numbers that belong to seed and position: float32 [B, L, channels].

    By Box and Muller (1958), of two exponential numbers: half the squared radius, and -log of the share of a turn.
    """
    radius = (2 * rng.exponential(Purpose.DRAFT, positions, channels)).sqrt()
    turn = rng.exponential(Purpose.DRAFT, positions, channels, draw=1).neg().exp()
    return radius * (2 * math.pi * turn).cos()


def _drawn(probs: Tensor, positions: Tensor, rng: Rng) -> Tensor:
    """Tokens of a law [B, L, V], with the noise that `scale-wise` draws them with."""
    return race(probs, rng.exponential(Purpose.TOKEN, positions, probs.shape[-1]))


def _generation(session: DistilledSession, evaluations: int) -> ScaleGeneration:
    def for_all_rows(number: int) -> Tensor:
        return torch.full((session.batch,), number, device=session.device)

    committed, student, draft = map(for_all_rows, (session.layout.ends[session.scale - 1], evaluations, 0))
    return ScaleGeneration(session.tokens, committed, student, draft, session.features)
