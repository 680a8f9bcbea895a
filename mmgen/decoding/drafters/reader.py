"""Drafters that evaluate a model for every slot, and how a second model reads along with the lines."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from mmgen.decoding.drafters.drafter import Context
from mmgen.decoding.drafters.stepwise import Path, Stepwise
from mmgen.decoding.line import leading
from mmgen.sessions.session import Session


class Reader:
    """Lets a session read along with lines that are written, and rewritten, elsewhere.

    It remembers what each row has read. Asked for a law, it rewinds every row to where what it read differs
    from what stands on the line now, and reads on from there.

    Args:
        session: reads; it is opened here, with room for windows of up to `window` slots.
    """

    def __init__(self, session: Session, window: int) -> None:
        session.open(window)
        shape = session.batch, 1 + session.length + window
        self._session = session
        self._read = torch.full(shape, -1, device=session.device)
        self._columns = torch.arange(shape[1], device=session.device)

    def law(self, line: Tensor, positions: Tensor, width: int | None = None) -> Tensor:
        """What the session says of one position of every row: probabilities [B, V]. One evaluation.

        All rows read equally many tokens, as many as the one that lacks most. The others start earlier, or, at the
        start of the line, read on behind their position: what stands there is read again once it has changed.

        Args:
            line: the begin token and the tokens behind it, int64 [B, 1 + N + window].
            positions: int64 [B], from 0, with a token on the line before each.
            width: how many tokens to read; None finds out, which waits for the device.
        """
        if width is None:
            start = torch.minimum(leading(self._read == line), positions)
            width = 1 + int((positions - start).max())
        start = (positions + 1 - width).clamp(min=0)
        self._session.rewind(start)
        probs = self._session.score(line.gather(1, start[:, None] + self._columns[:width]))
        self._read = line.where(self._columns < start[:, None] + width, -1)
        return probs[torch.arange(len(probs), device=probs.device), positions - start]

    def select(self, rows: Tensor) -> None:
        """Goes on with `rows` [B'] alone."""
        self._session.select(rows)
        self._read = self._read[rows]


@dataclass
class ReadingDrafter(Stepwise):
    """Base of drafters that evaluate a model, or a part of it, for every slot they draft.

    They draft one chain, and count for each row the evaluations it needed, as if it were alone. Known tokens need none.
    """

    branches = False
    looks_back = True

    @abstractmethod
    def wanted(self, context: Context) -> Tensor:
        """How many free slots of each row to draft at most: int64 [B]."""

    @abstractmethod
    def read(self, path: Path) -> Tensor:
        """Evaluates the model once: probabilities [B, V] of the slot behind a single path."""

    def begin(self, context: Context) -> Tensor:
        self._known = context.line.known()
        slots = torch.arange(context.line.window, device=self._known.device)
        self._free = (self._known < 0) & (slots >= context.filled[:, None])
        limits = (self._free.cumsum(1) <= self.wanted(context)[:, None]).sum(1) - context.filled
        limits = torch.minimum(limits, free_slots(context))
        self._ends = torch.minimum(context.filled + limits, context.widths)
        self._needed = (self._free & (slots < self._ends[:, None])).any(0).tolist()
        return limits

    def law(self, path: Path) -> Tensor:
        line, self._slot = path.context.line, path.slot
        self._drafting = self._free[:, path.slot] & (path.slot < self._ends)
        line.draft_evaluations = line.draft_evaluations + self._drafting
        size, known = line.session.vocabulary_size, self._known[:, path.slot, None]
        law = self.read(path) if self._needed[path.slot] else torch.zeros(len(known), size, device=known.device)
        certain = known == torch.arange(size, device=known.device)
        return torch.where(known < 0, law, certain.to(law.dtype))[:, None]

    def stop(self, rows: Tensor) -> None:
        """Ends the drafts of some rows, bool [B], before the slot whose law was asked for last."""
        self._ends = self._ends.masked_fill(rows & self._drafting, self._slot)

    def select(self, rows: Tensor) -> None:
        self._ends = self._ends[rows]


def free_slots(context: Context) -> Tensor:
    """Empty slots of each row that are worth a draft: those before the last token of the line, int64 [B].

    Behind the drafts one slot more is tested, so a draft of the last token would save nothing.
    """
    line = context.line
    return (line.length - 1 - line.committed - context.filled).clamp(min=0)
