"""The lines a decoder writes: what is committed, what is drafted, and how far each row has come."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgen.decoding.decoder import Generation
from mmgen.sessions.session import Session


class Line:
    """Token lines of a batch, ragged by nature.

    Slot j of row b's window is position `committed[b] + j`. One column stands before the tokens for
    the begin token, and `window` columns after them, so that every row can always write a whole window.

    Args:
        session: whose lines are written.
        window: most tokens of one evaluation, L.
    """

    def __init__(self, session: Session, window: int) -> None:
        batch, length, device = session.batch, session.length, session.device
        self.session, self.length, self.window = session, length, window
        self.buffer = torch.full((batch, 1 + length + window), session.begin_token, device=device)
        self.committed = torch.zeros(batch, dtype=torch.long, device=device)
        self.evaluations = torch.zeros(batch, dtype=torch.long, device=device)
        self.draft_evaluations = torch.zeros(batch, dtype=torch.long, device=device)
        padding = torch.full((batch, window), -1, device=device)
        self._known = torch.cat((session.known, padding), dim=1)
        self._all_known_from = _all_known_from(session.known)
        self._surely_written = int(self._all_known_from.min()) if session.constrained else length
        self._passes = 0
        self._rows = torch.arange(batch, device=device)
        self._finished = 0
        self._whole = _nothing_written(batch + session.waiting, length, device) if session.waiting else None
        self._slots = torch.arange(window, device=device)

    @property
    def generation(self) -> Generation:
        """The lines as they stand, finished and waiting ones among them."""
        tokens = self.buffer[:, 1 : 1 + self.length]
        own = Generation(tokens, self.committed, self.evaluations, self.draft_evaluations)
        if self._whole is None:
            return own
        for name, value in vars(own).items():
            getattr(self._whole, name)[self._rows] = value
        return self._whole

    def unfinished(self) -> bool:
        """Whether any row still lacks tokens; asks the device only once that could be false."""
        if self._passes * self.window < self._surely_written:
            return True
        writing = int((self.committed < self.length).sum())
        self._finished = len(self.committed) - writing
        return writing + self.session.waiting > 0

    def renew(self) -> tuple[Tensor, Tensor] | None:
        """Begins waiting lines where rows are finished.

        Returns:
            int64 [B'], rows that begin anew, and which lines of the session they are; None where none does.
        """
        if not (self._finished and self.session.waiting):
            return None
        self._whole = self.generation
        finished = (self.committed >= self.length).nonzero().squeeze(1)
        lines = self.session.renew(finished)
        rows = finished[: len(lines)]
        self._rows = self._rows.index_copy(0, rows, lines)
        self.buffer.index_fill_(0, rows, self.session.begin_token)
        for count in (self.committed, self.evaluations, self.draft_evaluations):
            count.index_fill_(0, rows, 0)
        self._known[rows, : self.length] = self.session.known[rows]
        self._all_known_from = _all_known_from(self.session.known)
        together = self._finished == len(self.committed)
        self._passes, self._surely_written = 0, self._surely_written if together else 0
        self._finished -= len(rows)
        self.session.rewind(self.committed)
        return rows, lines

    def retire(self) -> Tensor | None:
        """Takes finished rows out of the session, once they are a quarter of it: they would cost as the others do.

        Returns:
            int64 [B'], the rows that stay, by their present index; None where nothing changed.
        """
        if 4 * self._finished < len(self.committed) or self.session.waiting:
            return None
        rows = (self.committed < self.length).nonzero().squeeze(1)
        whole = self.generation
        self._whole = Generation(*(value.clone() for value in vars(whole).values()))
        self.session.select(rows)
        self._rows, self._finished = self._rows[rows], 0
        self.buffer, self.committed = self.buffer[rows], self.committed[rows]
        self.evaluations, self.draft_evaluations = self.evaluations[rows], self.draft_evaluations[rows]
        self._known, self._all_known_from = self._known[rows], self._all_known_from[rows]
        return rows

    def positions(self, slots: int | None = None) -> Tensor:
        """Positions of the window's slots: int64 [B, slots]."""
        return self.committed[:, None] + self._slots[:slots]

    def known(self, slots: int | None = None) -> Tensor:
        """Tokens the slots must hold, -1 where free: int64 [B, slots]."""
        return self._known.gather(1, self.positions(slots).clamp(max=self._known.shape[1] - 1))

    def known_runs(self) -> Tensor:
        """How many known tokens each row's window starts with: int64 [B]."""
        return leading(self.known() >= 0)

    def inputs(self, slots: int) -> Tensor:
        """What an evaluation of `slots` positions reads: the last committed token, then drafts but the last."""
        return self.buffer.gather(1, self.positions(slots))

    def draft(self, tokens: Tensor) -> None:
        """Lays drafts [B, L] on the slots of the window."""
        self.buffer.scatter_(1, 1 + self.positions(tokens.shape[1]), tokens)

    def token_at(self, positions: Tensor) -> Tensor:
        """Tokens, committed or drafted, at positions [B, M]; the begin token before the first."""
        return self.buffer.gather(1, 1 + positions.clamp(min=-1))

    def commit(self, tokens: Tensor, counts: Tensor) -> Tensor:
        """Makes the first `counts` [B] of `tokens` [B, L] final, as far as the line goes.

        Where all that is left of a row is known, it is finished with it, at no cost.

        Returns:
            int64 [B], how many tokens were committed from `tokens`; 0 for finished rows.
        """
        counts = torch.minimum(counts, self.length - self.committed)
        slots = self._slots[: tokens.shape[1]]
        index = 1 + self.positions(tokens.shape[1])
        kept = torch.where(slots < counts[:, None], tokens, self.buffer.gather(1, index))
        self.buffer.scatter_(1, index, kept)
        self.evaluations = self.evaluations + (self.committed < self.length)
        self.committed = self.committed + counts
        if self.session.constrained:
            self._finish_known()
        self._passes += 1
        self.session.rewind(self.committed)
        return counts

    def _finish_known(self) -> None:
        rest_known = self.committed >= self._all_known_from
        self.committed = torch.where(rest_known, self.length, self.committed)
        known, line = self.session.known, self.buffer[:, 1 : 1 + self.length]
        line.copy_(torch.where(rest_known[:, None] & (known >= 0), known, line))


def _nothing_written(lines: int, length: int, device: torch.device) -> Generation:
    """Lines of which nothing is written."""
    counts = [torch.zeros(lines, dtype=torch.long, device=device) for _ in range(3)]
    return Generation(torch.zeros(lines, length, dtype=torch.long, device=device), *counts)


def _all_known_from(known: Tensor) -> Tensor:
    """int64 [B]: the first position from which on every token of a row is known."""
    trailing = (known >= 0).flip(1).long().cumprod(1).sum(1)
    return known.shape[1] - trailing


def longest_known_run(known: Tensor) -> int:
    """Length of the longest run of known tokens in any row of `known` [B, N], -1 where free."""
    longest = run = torch.zeros_like(known[:, 0])
    for held in (known >= 0).unbind(1):
        run = (run + 1) * held
        longest = torch.maximum(longest, run)
    return int(longest.max())


def common_known_runs(known: Tensor) -> list[int] | None:
    """How many known tokens follow from each position on, where that is the same in every row of `known` [B, N]."""
    held = (known >= 0).cpu()
    if not bool((held == held[:1]).all()):
        return None
    runs = [0]
    for token_held in reversed(held[0].tolist()):
        runs.append((runs[-1] + 1) if token_held else 0)
    return runs[:0:-1]


def leading(keep: Tensor) -> Tensor:
    """Length of the run of true values each row of `keep` [B, L] starts with: int64 [B]."""
    return keep.long().cumprod(1).sum(1)
