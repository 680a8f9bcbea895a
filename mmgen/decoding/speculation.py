"""The one speculative loop: draft a window, score it in one evaluation, commit a run, carry the rest over.

Methods differ in the drafter that fills empty slots and in `judge`: what is kept, what replaces the
rest, and what is carried to the next evaluation. Two rules make every exact method exact: the law q
stated for a draft is the one it was drawn from, and whether a position is committed depends on
earlier positions only.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from mmgen.decoding.decoder import Decoder, Generation, option
from mmgen.decoding.drafters.drafter import Context, Drafter
from mmgen.decoding.drafters.initial import INITIALISATIONS
from mmgen.decoding.line import Line, leading, longest_known_run
from mmgen.rng import Rng
from mmgen.sessions.session import Session

BUCKETS = (4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Window lengths the adaptive window chooses from, so that few shapes occur."""


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
        draw: int64 [B, 1], the evaluation's number, for fresh noise.
        length: tokens N of a line.
        rng: the noise of the batch.
    """

    positions: Tensor
    draw: Tensor
    length: int
    rng: Rng


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
    """

    probs: Tensor
    tokens: Tensor
    counts: Tensor
    carried: Tensor


def initial_guess(default: str) -> Any:
    """The option every drafting decoder has, with the default that suits it."""
    return option(default, "how empty slots of the window are guessed", choices=tuple(INITIALISATIONS))


@dataclass
class Speculation(Decoder):
    """Base of the decoders that draft and verify a window of tokens."""

    window: int = option(32, "most tokens of one evaluation", minimum=1, maximum=256)
    adaptive: bool = option(False, "choose each row's window from the tokens it committed lately, up to `window`")
    initialisation: str = initial_guess("vertical-repeat")

    needs_laws = True
    """Whether `judge` looks at the laws of the drafts."""

    extra_nodes = 0
    """Nodes an evaluation reads beside the window's own."""

    @abstractmethod
    def judge(self, probs: Tensor, drafts: Drafts, slots: Slots) -> Verdict:
        """Decides slot by slot. What happens at one slot must not depend on another.

        Args:
            probs: the model's probabilities p [B, L, V].
        """

    def verify(self, session: Session, drafts: Drafts, inputs: Tensor, known: Tensor, slots: Slots) -> Outcome:
        """Evaluates a window once and finds the run to commit.

        Args:
            inputs: what the slots' positions follow, int64 [B, L].
            known: tokens the slots must hold, -1 where free: int64 [B, L].
        """
        probs = session.score(inputs)
        verdict = self.judge(probs, drafts, slots)
        keep = verdict.keep | (known >= 0)
        tokens = torch.where(known >= 0, known, verdict.tokens)
        return Outcome(probs, tokens, leading(keep) + 1, verdict.carried)

    @torch.no_grad()
    def steps(self, session: Session, rng: Rng) -> Iterator[Generation]:
        window = min(self.window, session.length)
        reach = max(window, min(1 + longest_known_run(session.known), session.length))
        session.open(reach + self.extra_nodes)
        line, drafter = Line(session, reach), INITIALISATIONS[self.initialisation]()
        widths = _Widths(line, window, self.adaptive)
        filled = torch.zeros_like(line.committed)
        drafts: Drafts | None = None
        probs, start = None, line.committed
        while line.unfinished():
            rows = line.retire()
            if rows is not None and drafts is not None and probs is not None:
                rng, drafts, probs = rng.select(rows), drafts.select(rows), probs[rows]
                filled, start = filled[rows], start[rows]
                drafter.select(rows)
                widths.select(rows)
            draw = line.evaluations[:, None]
            drafts = self._fill(drafter, drafts, Context(line, filled, probs, start, rng, draw))
            line.draft(drafts.tokens)
            length, start = widths.longest(), line.committed
            slots = Slots(line.positions(length), draw, session.length, rng)
            outcome = self.verify(session, drafts.first(length), line.inputs(length), line.known(length), slots)
            counts = line.commit(outcome.tokens, torch.minimum(outcome.counts, widths.widths))
            filled = (widths.widths - counts).clamp(min=0)
            probs = outcome.probs
            drafts = self._carry(outcome.carried, probs, counts, reach)
            widths.update(counts)
            yield line.generation

    def _fill(self, drafter: Drafter, carried: Drafts | None, context: Context) -> Drafts:
        """Carried drafts, the drafter's in the empty slots, and known tokens where they must be."""
        line = context.line
        slots = torch.arange(line.window, device=line.committed.device)
        empty = slots >= context.filled[:, None]
        if carried is not None:
            line.draft(carried.tokens)
        tokens, laws = drafter.propose(context)
        if self.needs_laws and laws is None:
            laws = one_hot(tokens, line.session.vocabulary_size).float()
        if carried is not None:
            tokens = torch.where(empty, tokens, carried.tokens)
            if laws is not None and carried.laws is not None:
                laws = torch.where(empty[..., None], laws, carried.laws)
        known = line.known()
        return Drafts(torch.where(known >= 0, known, tokens), laws if self.needs_laws else None)

    def _carry(self, tokens: Tensor, probs: Tensor, counts: Tensor, window: int) -> Drafts:
        """What stands behind the committed run moves to the front of the window, with p as its law."""
        slots = torch.arange(window, device=tokens.device)
        source = (slots + counts[:, None]).clamp(max=tokens.shape[1] - 1)
        laws = None
        if self.needs_laws:
            laws = probs.gather(1, source[..., None].expand(-1, -1, probs.shape[-1]))
        return Drafts(tokens.gather(1, source), laws)


class _Widths:
    """How many slots each row uses. Only committed counts and known tokens may decide it, or exactness is lost.

    A run of known tokens is read in one evaluation however long it is, together with the slot behind it.
    """

    def __init__(self, line: Line, window: int, adaptive: bool) -> None:
        self._adaptive, self._window = adaptive, window
        buckets = [bucket for bucket in BUCKETS if bucket < window] + [window]
        self._buckets = torch.tensor(buckets, device=line.committed.device)
        self._average = torch.full_like(line.committed, 4, dtype=torch.float32)
        self._line = line
        self.widths = torch.full_like(line.committed, window)
        self._choose()

    def longest(self) -> int:
        """Slots of the next evaluation: the widest row still being written."""
        if not self._adaptive and not self._line.session.constrained:
            return self._window
        writing = self._line.committed < self._line.length
        return int(torch.where(writing, self.widths, self._buckets[0]).max())

    def update(self, counts: Tensor) -> None:
        """Learns how many tokens each row has just committed."""
        self._average = self._average.lerp(counts.float(), 0.3)
        self._choose()

    def select(self, rows: Tensor) -> None:
        """Goes on with `rows` [B'] alone."""
        self._average, self.widths = self._average[rows], self.widths[rows]

    def _choose(self) -> None:
        self.widths = torch.full_like(self._line.committed, self._window)
        if self._adaptive:
            index = torch.searchsorted(self._buckets, 2 * self._average).clamp(max=len(self._buckets) - 1)
            self.widths = self._buckets[index]
        if self._line.session.constrained:
            needed = (1 + self._line.known_runs()).clamp(max=self._line.window)
            self.widths = torch.maximum(self.widths, needed)
