"""Speculative Jacobi decoding: rejection sampling of drafts that the model itself made one evaluation before."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mmgen.decoding.acceptance.rule import AcceptanceRule, Trial
from mmgen.decoding.drafters.drafter import Drafter
from mmgen.decoding.line import leading
from mmgen.decoding.options import LAWS, Law, option
from mmgen.decoding.speculation import Drafts, Slots, Speculation, Verdict, drafter_option
from mmgen.errors import OptionError
from mmgen.rng import Purpose, race
from mmgen.sessions.session import Session


@dataclass
class SpeculativeJacobi(Speculation):
    """Tests drafts by an acceptance rule; slots behind the run are drawn afresh from their new law.

    Teng et al. 2024 (SJD). Deviations: each row of a batch commits its own run, forced
    tokens are drafted as themselves, and the default drafter is uniform with the uniform law
    recorded, which keeps more than the published one.
    """

    name = "speculative-jacobi"
    law: ClassVar[Law] = "exact"
    paper = "Teng et al. 2024, arXiv 2410.01699"

    drafter: Drafter = drafter_option("uniform")
    acceptance: AcceptanceRule = option("rejection", "which drafts stand", part="acceptance")

    no_joint_rules: ClassVar[str | None] = None
    """Why rules that look at several slots are refused; None where they are not."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.acceptance.joint and self.no_joint_rules:
            needed = f"a rule that looks at one slot at a time: {self.no_joint_rules}"
            raise OptionError("acceptance", self.acceptance.name, needed)
        self.law = max(type(self).law, self.acceptance.law, key=LAWS.index)  # type: ignore[misc]

    def bind(self, session: Session) -> SpeculativeJacobi:
        return dataclasses.replace(self, acceptance=self.acceptance.bind(session))

    def judge(self, probs: Tensor, drafts: Drafts, slots: Slots) -> Verdict:
        trial = self.trial(probs, drafts, slots)
        keep = self.acceptance.stands(trial) | (slots.known >= 0)
        # Only the first refusal is answered: what stands behind it is neither committed nor carried.
        first = leading(keep).clamp(max=keep.shape[1] - 1)[:, None]
        noise = slots.rng.exponential(Purpose.CORRECT, slots.positions.gather(1, first), probs.shape[-1], slots.draw)
        if self.acceptance.joint:
            law = self.acceptance.replacement(trial)[torch.arange(len(first))[:, None], first]
        else:
            law = self.acceptance.replacement(trial.at(first))
        corrected = drafts.tokens.scatter(1, first, race(law, noise))
        return Verdict(keep, torch.where(keep, drafts.tokens, corrected), self.carry(trial, slots))

    def carry(self, trial: Trial, slots: Slots) -> Tensor:
        """Drafts for the next evaluation, each distributed as `trial.p` [B, L, V] at its slot: int64 [B, L]."""
        noise = slots.rng.exponential(Purpose.CARRY, slots.positions, trial.p.shape[-1], slots.draw)
        return race(trial.p, noise)

    def trial(self, probs: Tensor, drafts: Drafts, slots: Slots) -> Trial:
        """The drafts of a window, with a coin for each."""
        assert drafts.laws is not None
        coins = slots.rng.uniform(Purpose.ACCEPT, slots.positions, slots.draw)
        offsets = slots.positions - slots.positions[:, :1]
        last = offsets == slots.widths[:, None] - 1
        return Trial(probs, drafts.laws, drafts.tokens, coins, offsets, last)
