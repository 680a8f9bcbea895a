"""Drafters that name the law of one token after another: in a chain, or several candidates a slot."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mmgen.decoding.drafters.drafter import Context, Drafter, Proposal
from mmgen.rng import race

_NOISE = 8
"""Slots whose noise is made at once: small calls cost as much as large ones."""


@dataclass(frozen=True)
class Path:
    """The tokens before a slot: M alternatives of a row's window, all of the same slot.

    Attributes:
        context: the line they stand on.
        tokens: int64 [B, M, d], tokens of the slots 0 to d - 1 along each path.
    """

    context: Context
    tokens: Tensor

    @property
    def slot(self) -> int:
        """The slot d that is to be drafted."""
        return self.tokens.shape[-1]

    @property
    def positions(self) -> Tensor:
        """Positions of that slot: int64 [B]."""
        return self.context.line.committed + self.slot

    def back(self, distance: int) -> Tensor:
        """The token `distance` positions before the slot, 1 being the one before: int64 [B, M].

        The begin token stands before the first.
        """
        if distance <= self.slot:
            return self.tokens[..., self.slot - distance]
        before = self.context.line.token_at(self.positions[:, None] - distance)
        return before.expand(self.tokens.shape[:2])


@dataclass
class Stepwise(Drafter):
    """Base of drafters that know the law of a slot given the tokens before it."""

    branches = True
    certain: ClassVar[bool] = False
    """Whether the likeliest tokens are proposed, rather than drawn ones; their law is then certain."""

    def begin(self, context: Context) -> Tensor | None:
        """Called before the laws of a window are asked for: the time to learn from what was committed.

        Returns:
            int64 [B], how many empty slots of each row to draft; None for all.
        """
        return None

    @abstractmethod
    def law(self, path: Path) -> Tensor:
        """By which the next token is proposed: weights [B, M, V], at least 0, not necessarily summing to one."""

    def trusts(self, law: Tensor) -> Tensor | None:
        """Whether laws [B, V] are worth a draft: bool [B]; it ends before the first that is not. None where all are."""
        return None

    def propose(self, context: Context) -> Proposal:
        limits, ends = self.begin(context), context.widths
        if limits is not None:
            ends = torch.minimum(context.filled + limits, ends)
        slots = torch.arange(context.line.window, device=ends.device)
        # What stands behind the carried drafts is no draft of this row's, and nobody may see it.
        carried = torch.where(slots < context.filled[:, None], _standing(context), 0)
        size = context.line.session.vocabulary_size
        laws = None if self.certain else torch.zeros(*carried.shape, size, device=ends.device)
        proposal, ends = self.chain(context, Proposal(carried, laws), int(context.filled.min()), ends)
        return proposal._replace(drafted=ends)

    def chain(self, context: Context, proposal: Proposal, first: int, ends: Tensor) -> tuple[Proposal, Tensor]:
        """Drafts the empty slots of each row from `first` up to `ends` [B], each upon the ones before.

        Args:
            proposal: what stands in the other slots; it is written on.

        Returns:
            The proposal, and where it ends: int64 [B].
        """
        positions, last = context.line.positions(), int(ends.max())
        tokens, laws = proposal.tokens, proposal.laws
        known = context.line.known() if context.line.session.constrained else None
        noise = torch.empty(0)
        for slot in range(first, last):
            law = self.law(Path(context, tokens[:, None, :slot]))[:, 0]
            drafted = slot >= context.filled
            trusted = self.trusts(law)
            if trusted is not None:
                ends = torch.where(drafted & ~trusted, ends.clamp(max=slot), ends)
                if slot >= int(ends.max()):
                    break
            drafted &= slot < ends
            if self.certain:
                chosen = law.argmax(-1)
            else:
                law, place = normal(law), (slot - first) % _NOISE
                if place == 0:
                    noise = context.noise(positions[:, slot : min(slot + _NOISE, last)], law.shape[-1])
                chosen = race(law, noise[:, place])
            tokens[:, slot] = torch.where(drafted, chosen, tokens[:, slot])
            if known is not None:
                tokens[:, slot] = torch.where(known[:, slot] >= 0, known[:, slot], tokens[:, slot])
            if laws is not None:
                laws[:, slot] = torch.where(drafted[:, None], law, laws[:, slot])
        return Proposal(tokens, laws), ends


def siblings(context: Context, law: Tensor, positions: Tensor, count: int, certain: bool) -> Tensor:
    """Different candidates for one slot under each of M parents.

    They are drawn without replacement, in order (the first `count` of an exponential race; Kool et al. 2019), or the
    likeliest. Parents share their noise: only one of them can be on the path that is committed.

    Args:
        law: weights [B, M, V].
        positions: int64 [B, 1], of the slot.

    Returns:
        int64 [B, M, count].
    """
    weights = law if certain else law / context.noise(positions, law.shape[-1])
    return several(weights, count)


def several(weights: Tensor, count: int) -> Tensor:
    """The `count` tokens of largest weight [..., V], the largest first: int64 [..., count].

    A vocabulary that has run out repeats its last token: it has no probability left, and is refused.
    """
    if count == 1:
        return weights.argmax(-1, keepdim=True)
    found = weights.topk(min(count, weights.shape[-1])).indices
    missing = count - found.shape[-1]
    return torch.cat((found, found[..., -1:].expand(*found.shape[:-1], missing)), dim=-1) if missing else found


def normal(law: Tensor) -> Tensor:
    """Weights [..., V] made to sum to one; uniform where all are 0."""
    mass = law.sum(-1, keepdim=True)
    return (law / mass).where(mass > 0, 1 / law.shape[-1])


def _standing(context: Context) -> Tensor:
    """What stands in the slots of the windows: int64 [B, L]."""
    return context.line.token_at(context.line.positions())
