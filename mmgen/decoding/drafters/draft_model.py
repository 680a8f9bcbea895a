"""A small model of the same vocabulary, which writes ahead of the large one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmgen.decoding.drafters.drafter import Context
from mmgen.decoding.drafters.reader import Reader, ReadingDrafter
from mmgen.decoding.drafters.stepwise import Path
from mmgen.decoding.options import option
from mmgen.errors import OptionError, SizeError
from mmgen.sessions.session import Session

SCHEDULES = ("constant", "adaptive")


@dataclass
class DraftModel(ReadingDrafter):
    """Tokens drawn one by one from a small model, under the same prompt, guidance and temperature.

    Leviathan et al. 2023 (algorithm 1) and Chen et al. 2023 (algorithm 2). `adaptive` is the heuristic of transformers'
    assisted generation, for each row: 2 more after every draft was committed, else 1 fewer, at least 1.

    `fallback` is BiLD's policy of that name (Kim et al. 2023, arXiv 2302.07863): the large model goes on before the
    first slot of whose token the small one is not sure. It looks at the law, never at the token, so it is exact. The
    published BiLD is `fallback` 0.6 and the acceptance rule `cross-entropy`. Deviation: a draft has at most `length`
    tokens.
    """

    name = "draft-model"
    paper = "Leviathan et al. 2023, arXiv 2211.17192; Chen et al. 2023, arXiv 2302.01318"

    length: int = option(6, "tokens drafted for an evaluation; `adaptive` starts with it", minimum=1, maximum=255)
    schedule: str = option("constant", "how the length changes", choices=SCHEDULES)
    fallback: float = option(0.0, "end a draft where no token is this probable", minimum=0.0, maximum=1.0)

    def open(self, session: Session, window: int) -> None:
        draft = session.draft
        if draft is None:
            raise OptionError("drafter", self.name, "a pipeline with a draft model, or another drafter")
        given, needed = (f"{s.length} tokens of {s.vocabulary_size} codes" for s in (draft, session))
        if given != needed:
            raise SizeError(f"a draft model of {given}", needed)
        self._reader, self._window = Reader(draft, window), window
        self._lengths = torch.full((session.batch,), self.length, device=session.device)

    def wanted(self, context: Context) -> Tensor:
        self._read_for = -1
        if self.schedule == "adaptive" and context.probs is not None:
            change = torch.where(context.accepted > self._ends, 2, -1)
            self._lengths = (self._lengths + change).clamp(1, self._window)
        return self._lengths

    def read(self, path: Path) -> Tensor:
        # Behind the first slot of a window every row lacks the token just drafted, and no other.
        width = 1 if 0 <= self._read_for == path.slot - 1 else None
        self._read_for = path.slot
        line = path.context.line
        laid = line.buffer.scatter(1, 1 + line.positions(path.slot), path.tokens[:, 0])
        return self._reader.law(laid, path.positions, width)

    def trusts(self, law: Tensor) -> Tensor | None:
        if self.fallback == 0:
            return None
        trusted = law.amax(-1) >= self.fallback
        self.stop(~trusted)
        return trusted

    def select(self, rows: Tensor) -> None:
        super().select(rows)
        self._reader.select(rows)
        self._lengths = self._lengths[rows]
