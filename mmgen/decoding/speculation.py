"""The one speculative loop: draft a window, score it in one evaluation, commit a run, carry the rest over.

Methods differ in the drafter that fills empty slots and in `judge`: what is kept, what replaces the
rest, and what is carried to the next evaluation. Two rules make every exact method exact: the law q
stated for a draft is the one it was drawn from, and whether a position is committed depends on
earlier positions only.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mmgen.decoding.decoder import Decoder, Generation
from mmgen.decoding.drafters.drafter import Context, Drafter
from mmgen.decoding.line import Line, leading, longest_known_run
from mmgen.decoding.options import option
from mmgen.rng import Rng
from mmgen.sessions.session import Session

BUCKETS = (4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Window lengths the adaptive window chooses from, so that few shapes occur."""

_FIRST_AVERAGE = 4.0
"""Tokens a row is taken to commit in an evaluation before it is known."""


class Drafts(NamedTuple):
    """Drafted tokens int64 [B, L] and the laws they were drawn from [B, L, V]; None where no law is needed."""

    tokens: Tensor
    laws: Tensor | None

    def first(self, length: int) -> Drafts:
        """The drafts of the first `length` slots."""
        return Drafts(self.tokens[:, :length], None if self.laws is None else self.laws[:, :length])

    def select(self, rows: Tensor) -> Drafts:
        """The drafts of some rows."""
        return Drafts(self.tokens[rows], None if self.laws is None else self.laws[rows])


class Slots(NamedTuple):
    """What a judgement may use beside p and the drafts.

    Attributes:
        positions: int64 [B, L].
        known: int64 [B, L], tokens the slots must hold, -1 where free.
        widths: int64 [B], slots of each row that are on trial.
        context: what the drafter saw, for candidates beside the drafts.
    """

    positions: Tensor
    known: Tensor
    widths: Tensor
    context: Context

    @property
    def rng(self) -> Rng:
        """The noise of the batch."""
        return self.context.rng

    @property
    def draw(self) -> Tensor:
        """int64 [B, 1], the evaluation's number, for fresh noise."""
        return self.context.draw

    @property
    def length(self) -> int:
        """Tokens N of a line."""
        return self.context.line.length


class Verdict(NamedTuple):
    """What a rule says of a window, slot by slot.

    Attributes:
        keep: bool [B, L], drafts that stand.
        tokens: int64 [B, L], the draft where it stands, else its replacement.
        carried: int64 [B, L], drafts for the next evaluation at slots that are not committed; drawn
            from the evaluation's own p.
    """

    keep: Tensor
    tokens: Tensor
    carried: Tensor


class Outcome(NamedTuple):
    """What an evaluation leads to.

    Attributes:
        probs: the model's probabilities p at the slots of the window [B, L, V].
        tokens: int64 [B, L], of which the first `counts` [B] are committed.
        counts: int64 [B], 1 to L.
        carried: int64 [B, L], drafts for the slots that are not committed.
        node: int64 [B], row of the evaluation that predicted the last committed token; None for a chain,
            where it is `counts - 1`.
    """

    probs: Tensor
    tokens: Tensor
    counts: Tensor
    carried: Tensor
    node: Tensor | None = None


def drafter_option(default: str) -> Drafter:
    """The option every drafting decoder has, with the default that suits it."""
    return option(default, "what fills empty slots of the window", part="drafter")


@dataclass
class Speculation(Decoder):
    """Base of the decoders that draft and verify a window of tokens."""

    window: int = option(32, "most tokens of one evaluation", minimum=1, maximum=256)
    adaptive: bool = option(False, "choose each row's window from the tokens it committed lately, up to `window`")
    drafter: Drafter = drafter_option("vertical-repeat")

    needs_laws = True
    """Whether `judge` looks at the laws of the drafts."""

    carries = True
    """Whether drafts that were not committed are tested again; else every window is drafted afresh."""

    extra_nodes = 0
    """Nodes an evaluation reads beside the window's own."""

    least_width = 1
    """Slots of a window that are always on trial."""

    @abstractmethod
    def judge(self, probs: Tensor, drafts: Drafts, slots: Slots) -> Verdict:
        """Decides slot by slot. What happens at one slot must not depend on another.

        Args:
            probs: the model's probabilities p [B, L, V].
        """

    @property
    def renews(self) -> bool:
        return self.seeded and not self.drafter.looks_back

    def bind(self, session: Session) -> Speculation:
        """The decoder with what it needs to know of a session."""
        return self

    def verify(self, session: Session, drafter: Drafter, drafts: Drafts, inputs: Tensor, slots: Slots) -> Outcome:
        """Evaluates a window once and finds the run to commit.

        Args:
            inputs: what the slots' positions follow, int64 [B, L].
        """
        probs = session.score(inputs)
        verdict = self.judge(probs, drafts, slots)
        keep = verdict.keep | (slots.known >= 0)
        tokens = torch.where(slots.known >= 0, slots.known, verdict.tokens)
        return Outcome(probs, tokens, leading(keep) + 1, verdict.carried)

    def steps(self, session: Session, rng: Rng) -> Iterator[Generation]:
        return self.bind(session)._steps(session, rng)

    @torch.no_grad()
    def _steps(self, session: Session, rng: Rng) -> Iterator[Generation]:
        window = min(self.window, session.length)
        reach = max(window, min(1 + longest_known_run(session.known), session.length))
        drafter = dataclasses.replace(self.drafter)
        drafter.open(session, reach)
        session.open(reach + self.extra_nodes)
        line = Line(session, reach)
        widths = _Widths(line, window, self.adaptive, self.least_width)
        filled, node = torch.zeros_like(line.committed), torch.full_like(line.committed, -1)
        drafts: Drafts | None = None
        probs, start = None, line.committed
        everyone, rng = rng, rng.first(session.batch)
        while line.unfinished():
            begun = line.renew()
            if begun is not None:
                rng = rng.renew(begun[0], everyone.select(begun[1]))
                filled, node = filled.index_fill(0, begun[0], 0), node.index_fill(0, begun[0], -1)
                widths.renew(begun[0])
            rows = line.retire()
            if rows is not None and probs is not None:
                rng, drafts, probs = rng.select(rows), drafts and drafts.select(rows), probs[rows]
                filled, start, node = filled[rows], start[rows], node[rows]
                drafter.select(rows)
                widths.select(rows)
            draw = line.evaluations[:, None]
            context = Context(line, filled, widths.widths, probs, start, node, rng, draw, self.seeded)
            drafts, drafted = self._fill(drafter, drafts, context)
            line.draft(drafts.tokens)
            widths.limit(drafted, self.least_width)
            length, start = widths.longest(), line.committed
            slots = Slots(line.positions(length), line.known(length), widths.widths, context)
            outcome = self.verify(session, drafter, drafts.first(length), line.inputs(length), slots)
            counts = line.commit(outcome.tokens, torch.minimum(outcome.counts, widths.widths))
            probs, node = outcome.probs, counts - 1
            if self.carries:
                filled = (widths.widths - counts).clamp(min=0)
                drafts = self._carry(outcome.carried, probs, counts, reach)
                node = node + filled
            else:
                drafts = None
                node = node if outcome.node is None else outcome.node
            node = node.clamp(min=0)
            widths.update(counts)
            yield line.generation

    def _fill(self, drafter: Drafter, carried: Drafts | None, context: Context) -> tuple[Drafts, Tensor | None]:
        """Carried drafts, the drafter's in the empty slots, known tokens where they must be; and how many they are.

        A slot without a draft has a law of zeros.
        """
        line = context.line
        if carried is not None:
            line.draft(carried.tokens)
        tokens, laws, drafted = drafter.propose(context)
        if self.needs_laws and laws is None:
            laws = _certain(tokens, line.session.vocabulary_size)
        slots = torch.arange(line.window, device=line.committed.device)
        if carried is not None:
            empty = slots >= context.filled[:, None]
            tokens = torch.where(empty, tokens, carried.tokens)
            if laws is not None and carried.laws is not None:
                laws = torch.where(empty[..., None], laws, carried.laws)
        if laws is not None and drafted is not None:
            laws = torch.where((slots < drafted[:, None])[..., None], laws, 0)
        if line.session.constrained:
            known = line.known()
            tokens = torch.where(known >= 0, known, tokens)
            if laws is not None:
                laws = torch.where((known >= 0)[..., None], _certain(tokens, laws.shape[-1]), laws)
        return Drafts(tokens, laws if self.needs_laws else None), drafted

    def _carry(self, tokens: Tensor, probs: Tensor, counts: Tensor, window: int) -> Drafts:
        """What stands behind the committed run moves to the front of the window, with p as its law."""
        slots = torch.arange(window, device=tokens.device)
        source = (slots + counts[:, None]).clamp(max=tokens.shape[1] - 1)
        laws = None
        if self.needs_laws:
            laws = probs.gather(1, source[..., None].expand(-1, -1, probs.shape[-1]))
        return Drafts(tokens.gather(1, source), laws)


def _certain(tokens: Tensor, size: int) -> Tensor:
    """The laws [..., V] of tokens [...] that were bound to be drawn."""
    return torch.zeros(*tokens.shape, size, device=tokens.device).scatter_(-1, tokens[..., None], 1)


class _Widths:
    """How many slots each row uses. Only committed counts and known tokens may decide it, or exactness is lost.

    A run of known tokens is read in one evaluation however long it is, together with the slot behind it.
    """

    def __init__(self, line: Line, window: int, adaptive: bool, least: int = 1) -> None:
        self._adaptive, self._window, self._limited = adaptive, window, False
        buckets = [bucket for bucket in BUCKETS if least <= bucket < window] + [window]
        self._buckets = torch.tensor(buckets, device=line.committed.device)
        self._average = torch.full_like(line.committed, _FIRST_AVERAGE, dtype=torch.float32)
        self._line = line
        self.widths = torch.full_like(line.committed, window)
        self._choose()

    def longest(self) -> int:
        """Slots of the next evaluation: the widest row still being written."""
        if not self._adaptive and not self._limited and self._line.window == self._window:
            return self._window  # no run of known tokens is longer: the device need not be asked
        writing = self._line.committed < self._line.length
        return int(torch.where(writing, self.widths, self._buckets[0]).max())

    def limit(self, drafted: Tensor | None, least: int) -> None:
        """Tries no more than the `drafted` [B] slots and the one behind, and runs of known tokens all the same."""
        if drafted is not None:
            self._limited = True
            self.widths = torch.minimum(self.widths, (drafted + 1).clamp(min=min(least, self._window)))
            self._make_room_for_known()

    def update(self, counts: Tensor) -> None:
        """Learns how many tokens each row has just committed."""
        self._average = self._average.lerp(counts.float(), 0.3)
        self._choose()

    def select(self, rows: Tensor) -> None:
        """Goes on with `rows` [B'] alone."""
        self._average, self.widths = self._average[rows], self.widths[rows]

    def renew(self, rows: Tensor) -> None:
        """Knows nothing of `rows` [B'] any more."""
        self._average = self._average.index_fill(0, rows, _FIRST_AVERAGE)
        self._choose()

    def _choose(self) -> None:
        self.widths = torch.full_like(self._line.committed, self._window)
        if self._adaptive:
            index = torch.searchsorted(self._buckets, 2 * self._average).clamp(max=len(self._buckets) - 1)
            self.widths = self._buckets[index]
        self._make_room_for_known()

    def _make_room_for_known(self) -> None:
        if self._line.session.constrained:
            needed = (1 + self._line.known_runs()).clamp(max=self._line.window)
            self.widths = torch.maximum(self.widths, needed)
