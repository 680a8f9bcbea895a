"""The loop of the decoders that draft planes: score a window in one evaluation, commit a run, carry the rest over.

What `mmgen.decoding.speculation` is for tokens. A plane stands or falls as a whole, since the next one sees all of it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from mmgen.decoding.decoder import Generation
from mmgen.decoding.line import leading, longest_known_run
from mmgen.decoding.options import option
from mmgen.decoding.planes.decoder import PlaneDecoder
from mmgen.decoding.planes.line import PlaneLine, take, whole
from mmgen.errors import OptionError
from mmgen.layout import PlaneLayout
from mmgen.rng import Rng
from mmgen.sessions.planes import PlaneSession


class PlaneDrafts(NamedTuple):
    """Drafted planes int64 [B, L, M] and the laws of their tokens [B, L, M, V]; None where no law is needed."""

    planes: Tensor
    laws: Tensor | None

    def select(self, rows: Tensor) -> PlaneDrafts:
        """The drafts of some rows."""
        return PlaneDrafts(self.planes[rows], None if self.laws is None else self.laws[rows])


class PlaneVerdict(NamedTuple):
    """What a decoder says of a window.

    Attributes:
        keep: bool [B, L], drafted planes that stand.
        planes: int64 [B, L, M], the draft where it stands; the first plane behind those is its replacement.
        carried: int64 [B, L, M], drafts for the next evaluation of planes that are not committed, drawn from the
            evaluation's own p.
    """

    keep: Tensor
    planes: Tensor
    carried: Tensor


@dataclass
class PlaneSpeculation(PlaneDecoder):
    """Base of the decoders that draft and verify a window of planes.

    Planes that were never evaluated are drafted as the token one step back along an axis, plane by plane: the token
    above in a picture, that of the frame before in a video. Their law says that they are certain.
    """

    window: int = option(4, "most planes of one evaluation", minimum=1, maximum=64)
    axis: int = option(0, "axis of the grid along which fresh drafts repeat the token before", minimum=0, maximum=3)

    needs_laws = True
    """Whether `judge` looks at the laws of the drafts."""

    @abstractmethod
    def judge(self, probs: Tensor, drafts: PlaneDrafts, line: PlaneLine, rng: Rng) -> PlaneVerdict:
        """Decides plane by plane. What happens to one must not depend on a later one.

        Args:
            probs: the model's probabilities p [B, L, M, V].
        """

    @torch.no_grad()
    def steps(self, session: PlaneSession, rng: Rng) -> Iterator[Generation]:  # type: ignore[override]
        bound = self.bind(session)
        sources = self._sources(session.layout).to(session.device)
        longest = longest_known_run(whole(session.known).long() - 1) if session.constrained else 0
        most = min(max(self.window, 1 + longest), session.layout.count)
        session.open(most)
        line = PlaneLine(session, most)
        sources = pad(sources, (0, 0, 0, most))
        filled, drafts = torch.zeros_like(line.committed), None
        while line.unfinished():
            rows = line.retire()
            if rows is not None and drafts is not None:
                rng, filled, drafts = rng.select(rows), filled[rows], drafts.select(rows)
            widths = self._widths(line)
            window = widths if isinstance(widths, int) else int(widths.max())
            drafts = self._fill(line, window, sources, drafts, filled)
            probs = session.score(line.inputs(window))
            verdict = bound.judge(probs, drafts, line, rng)
            counts = line.commit(verdict.planes, (leading(verdict.keep) + 1).clamp(max=widths))
            drafts, filled = self._carry(verdict.carried, probs, counts), widths - counts
            yield line.generation

    def bind(self, session: PlaneSession) -> PlaneSpeculation:
        """The decoder with what it needs to know of a session.

        Raises:
            OptionError: the session has not got it.
        """
        return self

    def _widths(self, line: PlaneLine) -> Tensor | int:
        """Planes of the next evaluation that count, int64 [B] or the same for all rows: known ones are read at once.

        What a row drafts hangs on its own width alone, however wide those beside it make the evaluation.
        """
        window = min(self.window, line.window)
        if not line.session.constrained:
            return window
        runs = leading(whole(line.known())).masked_fill(line.committed >= line.count, 0)
        return (1 + runs).clamp(min=window, max=line.window)

    def _sources(self, layout: PlaneLayout) -> Tensor:
        """Which slot of the plane before each slot repeats: int64 [P, M]; other axes step in at the grid's edge."""
        back = layout.slots_before
        if self.axis >= len(back):
            raise OptionError("axis", self.axis, f"one of the grid's {len(back)} axes: 0 to {len(back) - 1}")
        sources = back[self.axis]
        for other in back:
            sources = torch.where(sources < 0, other, sources)
        return sources.clamp(min=0)

    def _fill(
        self, line: PlaneLine, window: int, sources: Tensor, carried: PlaneDrafts | None, filled: Tensor
    ) -> PlaneDrafts:
        """Carried drafts, repeated tokens in the planes behind them, known tokens where they must be; lays them out."""
        known, repeats = line.known(window), sources[line.indices(window)]
        plane, planes = line.inputs(1)[:, 0], []
        held = 0 if carried is None else min(window, carried.planes.shape[1])
        for slot in range(window):
            plane = plane.gather(1, repeats[:, slot])
            if carried is not None and slot < held:
                plane = carried.planes[:, slot].where((slot < filled)[:, None], plane)
            plane = torch.where(known[:, slot] >= 0, known[:, slot], plane)
            planes.append(plane)
        drafts = torch.stack(planes, dim=1)
        line.draft(drafts)
        if not self.needs_laws:
            return PlaneDrafts(drafts, None)
        shape = (*drafts.shape, line.session.vocabulary_size)
        laws = torch.zeros(shape, device=drafts.device).scatter_(-1, drafts[..., None], 1)
        if carried is not None and carried.laws is not None:
            empty = torch.arange(held, device=drafts.device) >= filled[:, None]
            laws[:, :held] = torch.where(empty[..., None, None], laws[:, :held], carried.laws[:, :held])
        return PlaneDrafts(drafts, laws)

    def _carry(self, planes: Tensor, probs: Tensor, counts: Tensor) -> PlaneDrafts:
        """What stands behind the committed run moves to the front of the window, with p as its law."""
        slots = torch.arange(planes.shape[1], device=planes.device)
        source = (slots + counts[:, None]).clamp(max=planes.shape[1] - 1)
        laws = take(probs.flatten(2), source).unflatten(2, probs.shape[2:]) if self.needs_laws else None
        return PlaneDrafts(take(planes, source), laws)
