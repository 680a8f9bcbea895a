"""What every acceptance rule is: pure functions of one slot each, with a declared law."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

from torch import Tensor

from mmgen.decoding.options import Law, Part
from mmgen.sessions.planes import PlaneSession
from mmgen.sessions.session import Session


class Trial(NamedTuple):
    """Drafts on trial. Leading dimensions are any, but [B, L] where the rule is joint.

    Attributes:
        p: the model's probabilities [..., V].
        q: the laws the drafts were drawn from [..., V]; zeros where there is no draft.
        tokens: the drafts, int64 [...].
        coins: uniform numbers in [0, 1) [...].
        offsets: int64 [...], slots between the last committed token and the draft: 0 at the first.
        last: bool [...], whether the draft is the last of its row that is on trial.
    """

    p: Tensor
    q: Tensor
    tokens: Tensor
    coins: Tensor
    offsets: Tensor
    last: Tensor

    @property
    def drafted(self) -> Tensor:
        """Which slots hold a draft: bool [...]."""
        return self.q.sum(-1) > 0

    def at(self, slots: Tensor) -> Trial:
        """The trial of one slot a row: slots int64 [B, 1] of a trial [B, L]."""
        wide = slots[..., None].expand(-1, -1, self.p.shape[-1])
        laws = (law.gather(1, wide) for law in (self.p, self.q))
        return Trial(*laws, *(value.gather(1, slots) for value in self[2:]))


@dataclass
class AcceptanceRule(Part, ABC):
    """Whether a drafted token stands, and the law of what replaces it.

    Attributes:
        law: what the rule promises of the tokens that come out, for drafts whose laws are as stated.
        joint: whether it looks at several slots of a row at once. Such a rule needs drafts that are
            drawn afresh and tested once, and their chain whole.
    """

    part = "acceptance"
    law: ClassVar[Law]
    joint: ClassVar[bool] = False

    def bind(self, session: Session | PlaneSession) -> Self:
        """The rule with what it needs to know of a session.

        Raises:
            OptionError: the session has not got it.
        """
        return self

    @abstractmethod
    def keep(self, trial: Trial) -> Tensor:
        """Which drafts stand: bool [...]; of a slot without a draft it may say anything, unless the rule is joint."""

    def correction(self, trial: Trial) -> Tensor:
        """The laws of the replacements after a refusal [..., V]: the positive part of p - q unless a rule says more."""
        return residual(trial.p, trial.q)

    def stands(self, trial: Trial) -> Tensor:
        """Which slots hold a draft that stands: bool [...]."""
        return self.keep(trial) & trial.drafted

    def replacement(self, trial: Trial) -> Tensor:
        """What the other slots are drawn from: the model's own law where there was no draft."""
        return self.correction(trial).where(trial.drafted[..., None], trial.p)

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """Name, law, paper, summary and options, as `mmgen decoders --json` prints them."""
        return {"law": cls.law, **super().describe()}


@dataclass
class RatioRule(AcceptanceRule):
    """Keeps x with probability min(1, P / Q), P and Q being what counts for it under p and under q.

    Where tokens stand or fall together, as those of a plane do, P and Q are products over them.
    """

    @abstractmethod
    def masses(self, trial: Trial) -> tuple[Tensor, Tensor]:
        """P and Q of every draft, each [...]; of the trial only laws and tokens are looked at."""

    def keep(self, trial: Trial) -> Tensor:
        mass, drafted = self.masses(trial)
        # Strictly less: a token of probability zero is refused even by a coin of zero.
        return (trial.coins * drafted < mass) & (probability(trial.p, trial.tokens) > 0)


def probability(p: Tensor, tokens: Tensor) -> Tensor:
    """Probabilities [...] of tokens [...] under laws [..., V]."""
    return p.gather(-1, tokens[..., None]).squeeze(-1)


def residual(p: Tensor, q: Tensor) -> Tensor:
    """The positive part of p - q [..., V], made to sum to one.

    Where nothing is left, p: nothing is refused there, but rounding may still ask.
    """
    rest = (p - q).clamp(min=0)
    mass = rest.sum(-1, keepdim=True)
    return (rest / mass).where(mass > 0, p)


def without(q: Tensor, tokens: Tensor) -> Tensor:
    """q [..., V] once `tokens` [...] are taken out of it, as drawing without replacement does."""
    rest = q.scatter(-1, tokens[..., None], 0)
    mass = rest.sum(-1, keepdim=True)
    return (rest / mass).where(mass > 0, rest)
