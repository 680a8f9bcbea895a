"""Annealed acceptance: generous at the start of a window, strict towards its end."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mmgen.decoding.acceptance.rule import AcceptanceRule, Trial, probability
from mmgen.decoding.options import option


@dataclass
class Annealed(AcceptanceRule):
    """Keeps x with probability min(1, w p(x) / q(x)), where w decays along the window.

    Li et al. 2026 (COOL-SD): w = weight exp(-decay i) at the i-th slot behind the last committed token, 0 being
    the first. A refusal draws from what the kept drafts lack of p, the positive part of p - min(q, w p), as the
    paper shows to be best; for w >= 1 that is the positive part of p - q.

    Bound of one slot: o(x) = min(q(x), w p(x)) where q(x) > p(x), so o(x) <= w p(x) for every token x, and the total
    variation between o and p is at most 1 - 1 / w. A weight of 1 makes it `rejection`.

    Deviations: w is never below 1, which would be stricter than exactness asks for; the paper's two constant
    factors are one.
    """

    name = "annealed"
    law = "bounded"
    paper = "Li et al. 2026, arXiv 2601.09212"

    weight: float = option(2.0, "how much more probable the first draft may become", minimum=1.0, maximum=1e6)
    decay: float = option(0.1, "how fast the weight falls from slot to slot", minimum=0.0, maximum=100.0)

    def keep(self, trial: Trial) -> Tensor:
        weights = (self.weight * (-self.decay * trial.offsets.to(trial.p.dtype)).exp()).clamp(min=1)
        return trial.coins * probability(trial.q, trial.tokens) < weights * probability(trial.p, trial.tokens)
