"""What every drafter is: a source of tokens for empty slots, with the law they were drawn from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from mmgen.decoding.line import Line
from mmgen.rng import Rng


@dataclass(frozen=True)
class Context:
    """What a drafter may look at when it fills the empty end of the windows.

    Attributes:
        line: committed tokens, with the carried drafts laid on them.
        filled: int64 [B], slots of each window that hold carried drafts; the rest are empty.
        probs: the model's probabilities of the last evaluation [B, L, V]; None before the first. A row
            may look at those of the positions before `committed + filled` only: what was evaluated
            further on depends on the widths of other rows.
        start: int64 [B], position of the first row of `probs`.
        rng: the noise of the batch.
        draw: int64 [B, 1], numbers the evaluation, for fresh noise.
    """

    line: Line
    filled: Tensor
    probs: Tensor | None
    start: Tensor
    rng: Rng
    draw: Tensor


class Drafter(ABC):
    """Proposes tokens for every slot; those of the empty ones are used.

    The law of a drafted token must be stated as it is, given everything at earlier positions: a token
    that is certain has all its mass at itself.
    """

    @abstractmethod
    def propose(self, context: Context) -> tuple[Tensor, Tensor | None]:
        """Tokens int64 [B, L] and their laws [B, L, V]; None stands for certain tokens."""

    def select(self, rows: Tensor) -> None:  # noqa: B027  (most remember nothing)
        """Goes on with `rows` [B'] of the batch alone; for drafters that remember something."""
