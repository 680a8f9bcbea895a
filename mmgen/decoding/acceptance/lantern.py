"""Acceptance relaxed by neighbours in the codebook: they lend a draft their probability."""

from __future__ import annotations

import copy
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

from torch import Tensor

from mmgen.codebook import Codebook, Codebooks
from mmgen.decoding.acceptance.rule import AcceptanceRule, Trial, probability
from mmgen.decoding.options import option
from mmgen.errors import OptionError
from mmgen.sessions.planes import PlaneSession
from mmgen.sessions.session import Session


@dataclass
class Neighbourly(AcceptanceRule):
    """Keeps x with probability min(1, (p(x) + S) / q(x)), S being what its nearest codes lend it up to a limit.

    S is the probability of the m nearest codes, m the largest number for which it is within the limit.
    With q the law the draft was drawn from, the token that comes out has the law

        o(x) = min(q(x), p(x) + S(x)) where q(x) > p(x), and o(x) <= p(x) elsewhere.

    What follows from it holds as well where several candidates of a slot are tested one after another.

    Deviations from the published rules: a refusal draws from the positive part of p - q, where they also zero the
    neighbours, more of them than were used; a token of probability zero is refused.
    """

    neighbours: int = option(10, "nearest codes that may lend probability", minimum=1, maximum=4096)

    codebook: ClassVar[Codebook | Codebooks | None] = None

    def bind(self, session: Session | PlaneSession) -> Self:
        bound = copy.copy(self)
        bound.codebook = codebook_of(session, self)  # type: ignore[misc]
        return bound

    def keep(self, trial: Trial) -> Tensor:
        own = probability(trial.p, trial.tokens)
        whole = own + self.lent(trial.p, trial.tokens, self.limit(own))
        return (trial.coins * probability(trial.q, trial.tokens) < whole) & (own > 0)

    @abstractmethod
    def limit(self, own: Tensor) -> Tensor:
        """What tokens of probabilities `own` [...] may borrow: [...]."""

    def lent(self, p: Tensor, tokens: Tensor, limit: Tensor) -> Tensor:
        """S [...] of tokens int64 [...] under laws p [..., V], within `limit` [...]."""
        assert self.codebook is not None, "bind it to a session first"
        near = self.codebook.near(tokens, self.neighbours)
        sums = p.gather(-1, near).cumsum(-1)
        return (sums * (sums <= limit[..., None])).amax(-1)


@dataclass
class Lantern(Neighbourly):
    """Keeps a draft whose neighbours in the codebook are likely: together they lend it a fixed mass at most.

    Jang et al. 2025 (LANTERN): the limit is `mass`, delta in the paper. See `Neighbourly` for the rule and deviations.
    Bound of one slot: o(x) <= p(x) + mass for every token x. This is no bound of the total variation between o and p,
    which may exceed `mass` by far: every token may get so much. (The remark in the paper is about the relaxed p.)
    A mass of 0 makes it `rejection`.
    """

    name = "lantern"
    law = "bounded"
    paper = "Jang et al. 2025, arXiv 2410.03355"

    mass: float = option(0.1, "probability a draft may borrow", minimum=0.0, maximum=1.0)

    def limit(self, own: Tensor) -> Tensor:
        return own.new_full(own.shape, self.mass)


@dataclass
class LanternPlus(Neighbourly):
    """Keeps a draft whose neighbours in the codebook are likely: they lend it a multiple of its own probability.

    Park et al. 2025 (LANTERN++): the limit is (ratio - 1) p(x), ratio being lambda in the paper. See `Neighbourly` for
    the rule and deviations. Bound of one slot: o(x) <= ratio p(x) for every token x; so the total variation
    between o and p is at most 1 - 1 / ratio. A ratio of 1 makes it `rejection`.
    """

    name = "lantern-plus"
    law = "bounded"
    paper = "Park et al. 2025, arXiv 2502.06352"

    ratio: float = option(5.0, "how much more probable a draft may become", minimum=1.0, maximum=1e6)

    def limit(self, own: Tensor) -> Tensor:
        return own * (self.ratio - 1)


def codebook_of(session: Session | PlaneSession, rule: AcceptanceRule) -> Codebook | Codebooks:
    """What the codes of a session stand for.

    Raises:
        OptionError: it does not know, and the rule must.
    """
    codebook = session.codebook
    if codebook is None or codebook.size != session.vocabulary_size:
        size = session.vocabulary_size
        needed = f"a rule that looks at no codebook: this model does not know what its {size} codes stand for"
        raise OptionError("acceptance", str(rule), needed)
    return codebook
