"""Block verification: exact, and longer runs than slot by slot, for drafts that are all drawn afresh."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmgen.decoding.acceptance.rule import AcceptanceRule, Trial, probability


@dataclass
class Block(AcceptanceRule):
    """Keeps the longest prefix of a row's drafts that is accepted as a whole.

    Sun et al. 2025 (algorithm 2). Let P be 1 before the first slot, and min(1, P p(x) / q(x)) behind a slot that holds
    x. The prefix that ends there is accepted with probability R / (R + 1 - P), where R is the sum of the positive part
    of P p - q at the next slot; at the last slot on trial with probability P. Behind the longest accepted prefix a
    token is drawn from the positive part of P p - q. The expected run is never shorter than that of `rejection`.

    A later draft may rescue an earlier one. So the run depends on drafts behind it, and this is exact only where
    those are never seen again: each is tested once, and what is carried over was drawn independently of them.
    Deviation: no further token is drawn where all drafts stand; the next evaluation's first slot does it.
    """

    name = "block"
    law = "exact"
    paper = "Sun et al. 2025, arXiv 2403.10444"
    joint = True

    def keep(self, trial: Trial) -> Tensor:
        behind = running(trial)
        rest = _lacking(trial, behind).sum(-1)
        # What the next slot lacks; the column behind the last slot is never asked for.
        next_rest = torch.cat((rest[:, 1:], torch.zeros_like(rest[:, :1])), dim=1)
        chance = (next_rest / (next_rest + 1 - behind)).where(behind < 1, 1.0)
        accepted = trial.coins < chance.where(~trial.last, behind)
        on_trial = trial.last.long().cumsum(1) - trial.last.long() == 0
        whole = trial.drafted.long().cumprod(1) > 0  # a chain ends where a slot holds no draft
        return (accepted & on_trial & whole).flip(1).long().cummax(1).values.flip(1).bool()

    def correction(self, trial: Trial) -> Tensor:
        rest = _lacking(trial, running(trial))
        mass = rest.sum(-1, keepdim=True)
        return (rest / mass).where(mass > 0, trial.p)


def running(trial: Trial) -> Tensor:
    """P behind each slot: the share of the drafts up to there that the model's law has room for, [B, L]."""
    p, q = (probability(law, trial.tokens).double() for law in (trial.p, trial.q))
    # A running product that is cut at 1 is, in logarithms, a running sum less the largest it has been, if above 0.
    sums = (p / q.clamp(min=torch.finfo(torch.float32).tiny)).log().cumsum(1)
    return (sums - sums.cummax(1).values.clamp(min=0)).exp().to(trial.p.dtype)


def _lacking(trial: Trial, behind: Tensor) -> Tensor:
    """The positive part of P p - q at each slot, P being that before it: [B, L, V]."""
    before = torch.cat((torch.ones_like(behind[:, :1]), behind[:, :-1]), dim=1)
    return (before[..., None] * trial.p - trial.q).clamp(min=0)
