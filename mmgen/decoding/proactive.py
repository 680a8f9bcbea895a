"""Speculative Jacobi decoding with a tree of candidates where a run most often ends: at its start."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmgen.decoding.acceptance.rule import without
from mmgen.decoding.coupled_jacobi import CoupledJacobi
from mmgen.decoding.drafters.drafter import Drafter
from mmgen.decoding.drafters.stepwise import several
from mmgen.decoding.options import option
from mmgen.decoding.speculation import Drafts, Outcome, Slots
from mmgen.decoding.tree import Branches, Topology, nodes_beside_chain, plan, verify_tree
from mmgen.rng import Purpose
from mmgen.sessions.session import Session


@dataclass
class Proactive(CoupledJacobi):
    """Tests several candidates at each of the first slots; all parents share the candidates of a slot.

    Kang et al. 2026 (SJD-PAC), proactive drafting upon adaptive continuation (`coupled-jacobi`).
    Candidates of a slot are drawn without replacement from its law. Deviation: a sibling may be chosen
    only where all before it were refused, and is then tested against what they left over (recursive
    rejection, see `tree`); the released code takes the longest path, which biases it.
    """

    name = "proactive"
    law = "exact"
    paper = "Kang et al. 2026, arXiv 2603.18599"

    branching: int = option(3, "candidates at each of the first slots", minimum=2, maximum=8)
    depth: int = option(2, "slots that have candidates", minimum=1, maximum=3)

    @property
    def extra_nodes(self) -> int:  # type: ignore[override]
        return nodes_beside_chain(self.branching, self.depth)

    @property
    def least_width(self) -> int:  # type: ignore[override]
        return self.depth + 1

    def verify(self, session: Session, drafter: Drafter, drafts: Drafts, inputs: Tensor, slots: Slots) -> Outcome:
        topology = plan(inputs.shape[1], self.branching, self.depth, self.window, session)
        branches = self._share(drafts, topology, slots)
        return verify_tree(self, session, topology, branches, drafts, inputs, slots)

    def _share(self, drafts: Drafts, topology: Topology, slots: Slots) -> Branches:
        """The draft of each of the first slots, and more drawn from its law without replacement, for every parent."""
        assert drafts.laws is not None
        tokens, laws = [], []
        for level in range(topology.depth):
            law, first = drafts.laws[:, level], drafts.tokens[:, level]
            position = slots.positions[:, level : level + 1]
            noise = slots.rng.exponential(Purpose.DRAFT, position, law.shape[-1], slots.draw + 2**32)
            others = several(without(law, first) / noise[:, 0], self.branching - 1)
            parents = self.branching**level
            tokens.append(torch.cat((first[:, None], others), 1).repeat(1, parents)[:, 1:])
            laws.append(law[:, None].expand(-1, parents, -1))
        chain = drafts.tokens[:, :-1]
        return Branches(torch.cat((chain, *tokens), 1), torch.cat(laws, 1) if laws else None)
