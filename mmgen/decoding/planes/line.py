"""The lines of planes a decoder writes: what is committed, what is drafted, and how far each row has come."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from mmgen.decoding.decoder import Generation
from mmgen.decoding.line import leading
from mmgen.rng import Rng
from mmgen.sessions.planes import PlaneSession


class PlaneLine:
    """Lines of planes of a batch, ragged by nature: what `mmgen.decoding.line.Line` is for single tokens.

    Slot j of row b's window is plane `committed[b] + j`. One plane stands before the first, and `window` known planes
    of nothing stand behind the last, so that every row can always write a whole window.

    Args:
        session: whose lines are written.
        window: most planes of one evaluation, L.
    """

    def __init__(self, session: PlaneSession, window: int) -> None:
        batch, device = session.batch, session.device
        self.session, self.window, self.count = session, window, session.layout.count
        self._known = pad(session.known, (0, 0, 0, window))
        self._planes = pad(self._known.clamp(min=0), (0, 0, 1, 0))
        self._places = pad(session.layout.places, (0, 0, 0, window)).to(device)
        self._folded = session.layout.folded.to(device)
        self._ends = torch.tensor((0, *session.layout.ends), device=device)
        self._slots = torch.arange(window, device=device)
        self.committed = torch.zeros(batch, dtype=torch.long, device=device)
        self.evaluations = torch.zeros(batch, dtype=torch.long, device=device)
        self._common: int | None = 0
        rest = whole(session.known)
        self._all_known_from = self.count - leading(rest.flip(1))
        self._surely_written = self._surely_known = self.count
        if session.constrained:
            self._surely_written, self._surely_known = map(int, self._all_known_from.aminmax())
        self._passes, self._finished = 0, 0
        self._rows = torch.arange(batch, device=device)
        self._all: Generation | None = None

    @property
    def generation(self) -> Generation:
        """The lines as they stand, those of finished rows among them."""
        tokens = self._planes[:, 1 : 1 + self.count].flatten(1)[:, self._folded]
        own = Generation(tokens, self._ends[self.committed], self.evaluations, torch.zeros_like(self.evaluations))
        if self._all is None:
            return own
        for name, value in vars(own).items():
            getattr(self._all, name)[self._rows] = value
        return self._all

    def unfinished(self) -> bool:
        """Whether any row still lacks planes; asks the device only once that could be false."""
        if self._common is not None:
            return self._common < self.count
        if self._passes * self.window < self._surely_written:
            return True
        writing = int((self.committed < self.count).sum())
        self._finished = len(self.committed) - writing
        return writing > 0

    def retire(self) -> Tensor | None:
        """Takes finished rows out of the session, once they are a quarter of it: they would cost as the others do.

        Returns:
            int64 [B'], the rows that stay, by their present index; None where nothing changed.
        """
        if 4 * self._finished < len(self.committed):
            return None
        rows = (self.committed < self.count).nonzero().squeeze(1)
        whole_batch = self.generation
        self._all = Generation(*(value.clone() for value in vars(whole_batch).values()))
        self.session.select(rows)
        self._finished = 0
        for name in ("_rows", "_planes", "_known", "_all_known_from", "committed", "evaluations"):
            setattr(self, name, getattr(self, name)[rows])
        return rows

    def indices(self, slots: int | None = None) -> Tensor:
        """Which planes the window's slots are: int64 [B, slots]; past the end, too."""
        return self.committed[:, None] + self._slots[:slots]

    def cells(self, slots: int) -> Tensor:
        """One number for every slot of the window's planes, for noise: int64 [B, slots * M]."""
        width = self._planes.shape[2]
        return (self.indices(slots)[..., None] * width + torch.arange(width, device=self._planes.device)).flatten(1)

    def known(self, slots: int | None = None) -> Tensor:
        """Tokens the slots' planes must hold, -1 where free: int64 [B, slots, M]."""
        return take(self._known, self.indices(slots))

    def inputs(self, slots: int) -> Tensor:
        """What an evaluation of `slots` planes reads: the last committed plane, then drafts but the last."""
        return take(self._planes, self.indices(slots))

    def draft(self, planes: Tensor) -> None:
        """Lays drafts [B, L, M] on the slots of the window."""
        index = 1 + self.indices(planes.shape[1])
        self._planes.scatter_(1, index[..., None].expand_as(planes), planes)

    def noise(self, rng: Rng, slots: int) -> Tensor:
        """The exponential numbers that the slots' tokens keep for life: float32 [B, slots, M, V]."""
        places = self._places[self.indices(slots)]
        noise = rng.token_noise(places.flatten(1), self.session.vocabulary_size, self.session.layout.length)
        return noise.unflatten(1, places.shape[1:])

    def commit(self, planes: Tensor, counts: Tensor | int) -> Tensor:
        """Makes the first `counts` [B], or one number, of `planes` [B, L, M] final, as far as the line goes.

        Where all that is left of a row is known, it is finished with it, at no cost.

        Returns:
            int64 [B], how many planes were committed from `planes`; 0 for finished rows.
        """
        taken = (self.count - self.committed).clamp(max=counts)
        slots = planes.shape[1]
        kept = self._slots[:slots] < taken[:, None]
        self.draft(torch.where(kept[..., None], planes, take(self._planes, 1 + self.indices(slots))))
        self.evaluations = self.evaluations + (self.committed < self.count)
        self.committed = self.committed + taken
        self._passes += 1
        if not isinstance(counts, int):
            self._common = None
        elif self._common is not None:
            self._common = min(self._common + counts, self.count)
        if self.session.constrained:
            self._finish_known()
        self.session.rewind(self.committed if self._common is None else self._common)
        return taken

    def _finish_known(self) -> None:
        rest_known = self.committed >= self._all_known_from
        self.committed = torch.where(rest_known, self.count, self.committed)
        known, line = self._known[:, : self.count], self._planes[:, 1 : 1 + self.count]
        line.copy_(torch.where(rest_known[:, None, None] & (known >= 0), known, line))
        if self._common is not None and self._common >= self._surely_written:
            self._common = self.count if self._common >= self._surely_known else None


def whole(known: Tensor) -> Tensor:
    """Which planes of `known` [B, P, M], -1 where free, are known as a whole: bool [B, P]."""
    return (known >= 0).all(-1)


def take(planes: Tensor, indices: Tensor) -> Tensor:
    """Planes [B, L, M] of a line [B, P, M] at indices [B, L]."""
    return planes.gather(1, indices[..., None].expand(-1, -1, planes.shape[-1]))
