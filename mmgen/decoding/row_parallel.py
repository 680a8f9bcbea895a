"""Row-parallel decoding: a row of the grid begins before the one above it has ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from mmgen.decoding.decoder import Decoder, Generation
from mmgen.decoding.options import option
from mmgen.layout import RasterLayout
from mmgen.rng import Rng, race
from mmgen.sessions.session import Session


@dataclass
class RowParallel(Decoder):
    """Draws the next token of several rows at once; a row begins when the one above has `window` tokens.

    He et al. 2025 (ZipAR), section 3: what lies far to the upper right says little of a token, so tokens
    are drawn without it, in about width + (height - 1) * window evaluations. How far that is from the
    model's own law is not bounded.

    The first token of a row follows the last one of the row above, which may not be drawn yet. Then the
    newest token of the row above stands in for it, as in the authors' code for LlamaGen: only the first token of
    the row sees it, and the true one is read as soon as it is drawn. Where the last one is known, such as the end of a
    row, nothing stands in for it.

    Deviations: the window is fixed; the paper also lets it grow row by row, until the law of a row's first
    token changes little (section 3.3). Known tokens are read where they stand and cost no evaluation of
    their own. Each position has the noise of seeded sampling, so that a window of the grid's width or more
    draws the picture that `autoregressive` draws from the same seed.

    `committed` counts tokens up to the first gap, so a preview lags behind what is drawn: it does not show the
    beginnings of rows below the one being written.
    """

    name = "row-parallel"
    law = "heuristic"
    paper = "He et al. 2025, arXiv 2412.04062"

    window: int = option(6, "tokens of a row that are drawn before the next row may begin", minimum=1, maximum=256)

    @torch.no_grad()
    def steps(self, session: Session, rng: Rng) -> Iterator[Generation]:
        batch, length, device = session.batch, session.length, session.device
        session.open(1)
        line = torch.full((batch, length + 2), session.begin_token, device=device)
        line[:, 1:-1] = torch.where(session.known >= 0, session.known, session.begin_token)
        # The schedule asks nothing of what is drawn, so the host plans it ahead of the device, once for all rows.
        known = (session.known if session.constrained else session.known[:1]) >= 0
        for step in schedule(session.layout, self.window, known.cpu()):
            places, sources, present, draws, committed, evaluations = (
                part.to(device, non_blocking=True).expand(batch, *part.shape[1:]) for part in step
            )
            probs = session.score_at(line.gather(1, sources), places, present)
            tokens = race(probs, rng.token_noise(places, session.vocabulary_size, length))
            line.scatter_(1, places + 1, torch.where(draws, tokens, line.gather(1, places + 1)))
            yield Generation(line[:, 1:-1], committed.clone(), evaluations.clone(), torch.zeros_like(committed))


class Step(NamedTuple):
    """One evaluation; R is the batch, or 1 where its rows are alike.

    Attributes:
        places: int64 [R, M], places of the line that are read: 0 is the begin token's, i + 1 that of position
            i. Where a row has nothing more to read, N, which nothing else sees.
        sources: int64 [R, M], places whose tokens are read there: the same, but where one stands in.
        present: bool [R, N + 1], places that were read earlier and may be seen.
        draws: bool [R, M], whether the token that follows is drawn.
        committed: int64 [R], tokens up to the first gap, afterwards.
        evaluations: int64 [R], so far.
    """

    places: Tensor
    sources: Tensor
    present: Tensor
    draws: Tensor
    committed: Tensor
    evaluations: Tensor


def schedule(layout: RasterLayout, window: int, known: Tensor) -> Iterator[Step]:
    """What each evaluation reads and draws; it depends on the grid, the window and which tokens are known.

    Args:
        layout: the grid.
        window: tokens of a row before the next may begin, at least 1.
        known: bool [R, N].
    """
    frontier = _Frontier(layout, min(window, layout.width), known)
    evaluations = torch.zeros(len(known), dtype=torch.long)
    while True:
        evaluations = evaluations + (frontier.writing() | (evaluations == 0))
        places, sources, present, draws = frontier.advance()
        yield Step(places, sources, present, draws, frontier.committed(), evaluations)
        if not bool(frontier.writing().any()):
            return


class _Frontier:
    """How far each row of the grid has come, for R pictures: tensors [R, h] of rows, [R, h, w] of their places.

    Column j of row r stands for the place that position r * w + j follows.
    """

    def __init__(self, layout: RasterLayout, window: int, known: Tensor) -> None:
        self._layout, self._window = layout, window
        shape = (len(known), layout.height, layout.width)
        self._known, self._present = known.view(shape), torch.zeros(shape, dtype=torch.bool)
        self._index = torch.arange(layout.length).view(layout.height, layout.width)
        self._columns = torch.arange(layout.width)
        self._counts = torch.zeros(shape[:2], dtype=torch.long)
        self._pass_known()

    def writing(self) -> Tensor:
        """Pictures that lack tokens: bool [R]."""
        return (self._counts < self._layout.width).any(1)

    def committed(self) -> Tensor:
        """Tokens up to the first gap: int64 [R]."""
        full = (self._counts == self._layout.width).long().cumprod(1)
        return (self._counts * pad(full[:, :-1], (1, 0), value=1)).sum(1)

    def advance(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Plans one evaluation: places, sources, present, draws; and counts what it draws."""
        present = pad(self._present.flatten(1), (0, 1))
        due, draws, sources = self._due()
        due = due.flatten(1)
        places = (~due).long().argsort(dim=1, stable=True)[:, : int(due.sum(1).max())]
        draws = draws.flatten(1).gather(1, places)
        places = places.where(due.gather(1, places), self._layout.length)
        sources = pad(sources.flatten(1), (0, 1), value=self._layout.length).gather(1, places)
        self._counts = self._counts + (self._begun & (self._counts < self._layout.width))
        self._pass_known()
        return places, sources, present, draws

    def _due(self) -> tuple[Tensor, Tensor, Tensor]:
        """What is read now, bool; where it draws, bool; and the places whose tokens are read."""
        counts, begun = self._counts[..., None], self._begun[..., None]
        true = pad((self._counts[:, :-1] == self._layout.width) | self._known[:, :-1, -1], (1, 0), value=True)
        stands_in = ~true & (self._counts == 0)
        due = begun & (self._columns <= counts) & ~self._present
        due[..., 0] &= true | stands_in
        self._present = self._present | due
        self._present[..., 0] &= true
        newest = self._index[:, 0] + self._counts
        sources = self._index.repeat(len(due), 1, 1)
        sources[:, 1:, 0] = newest[:, :-1].where(stands_in[:, 1:], sources[:, 1:, 0])
        return due, begun & (self._columns == counts), sources

    def _pass_known(self) -> None:
        """Counts known tokens behind those of every row that has begun, and begins rows."""
        free = ~self._known & (self._columns >= self._counts[..., None])
        counts = self._columns.where(free, self._layout.width).amin(-1)
        enough = (counts[:, :-1] >= self._window).long().cumprod(1)
        self._begun = pad(enough, (1, 0), value=1).bool()
        self._counts = counts * self._begun
