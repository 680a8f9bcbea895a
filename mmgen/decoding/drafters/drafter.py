"""What every drafter is: a source of tokens for empty slots, with the law they were drawn from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from mmgen.decoding.line import Line
from mmgen.decoding.options import Part
from mmgen.rng import Purpose, Rng, race
from mmgen.sessions.session import Session


@dataclass(frozen=True)
class Context:
    """What a drafter may look at when it fills the empty end of the windows.

    Attributes:
        line: committed tokens, with the carried drafts laid on them.
        filled: int64 [B], slots of each window that hold carried drafts; the rest are empty.
        widths: int64 [B], slots of each window that will be on trial at most.
        probs: the model's probabilities of the last evaluation [B, L, V]; None before the first. A row
            may look at those of the positions before `committed + filled` only: what was evaluated
            further on depends on the widths of other rows.
        start: int64 [B], position of the first row of `probs`.
        node: int64 [B], which token of the last evaluation was followed by the last committed token, or by
            the last carried draft; for the session's `foresee`. -1 before the first evaluation.
        rng: the noise of the batch.
        draw: int64 [B, 1], numbers the evaluation, for fresh noise.
        seeded: whether drafts are best drawn by the noise that a position keeps for its life, because the
            decoder commits what that noise draws.
    """

    line: Line
    filled: Tensor
    widths: Tensor
    probs: Tensor | None
    start: Tensor
    node: Tensor
    rng: Rng
    draw: Tensor
    seeded: bool

    @property
    def accepted(self) -> Tensor:
        """How many tokens each row committed last, which the first rows of `probs` predicted: int64 [B]."""
        return self.line.committed - self.start

    def noise(self, positions: Tensor, size: int) -> Tensor:
        """Exponential numbers for a race at positions [B, L]: float32 [B, L, size]."""
        if self.seeded:
            return self.rng.token_noise(positions, size, self.line.length)
        return self.rng.exponential(Purpose.DRAFT, positions, size, self.draw)

    def choose(self, law: Tensor, positions: Tensor) -> Tensor:
        """Draws tokens int64 [B, L] at positions [B, L] from weights [B, L, V]."""
        return race(law, self.noise(positions, law.shape[-1]))


class Proposal(NamedTuple):
    """Drafts for every slot, of which those of the empty ones are used.

    Attributes:
        tokens: int64 [B, L].
        laws: the laws they were drawn from [B, L, V]; None stands for certain tokens.
        drafted: int64 [B], slots of each row that hold drafts, carried ones included, 0 to L; None for all. The slot
            behind them is drawn from the model's own law. Whether a slot is worth a draft may depend on earlier
            positions and on its law, never on its token.
    """

    tokens: Tensor
    laws: Tensor | None
    drafted: Tensor | None = None


@dataclass
class Drafter(Part, ABC):
    """Proposes tokens for every slot; those of the empty ones are used.

    The law of a drafted token must be stated as it is, given everything at earlier positions: a token
    that is certain has all its mass at itself. Everything learnt is a row's own.

    A decoder makes a fresh drafter of the same options for every generation, and opens it.
    """

    part = "drafter"
    looks_back: ClassVar[bool] = False
    """Whether drafts of a row depend on what was evaluated before, whoever keeps it."""
    branches: ClassVar[bool] = False
    """Whether it can propose several candidates a slot; see `stepwise.Stepwise`."""

    def open(self, session: Session, window: int) -> None:
        """Prepares for the lines of a session and windows of up to `window` slots.

        Raises:
            OptionError: the session has not got what it needs.
        """

    @abstractmethod
    def propose(self, context: Context) -> Proposal:
        """Drafts for the slots of every row's window."""

    def select(self, rows: Tensor) -> None:
        """Goes on with `rows` [B'] of the batch alone; for drafters that remember something."""
