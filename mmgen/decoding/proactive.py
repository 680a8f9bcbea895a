"""Speculative Jacobi decoding with a tree of candidates where a run most often ends: at its start."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mmgen.decoding.acceptance.rejection import without
from mmgen.decoding.coupled_jacobi import CoupledJacobi
from mmgen.decoding.decoder import option
from mmgen.decoding.line import leading
from mmgen.decoding.speculation import Drafts, Outcome, Slots
from mmgen.layout import Tree
from mmgen.rng import Purpose, race
from mmgen.sessions.session import Session


@dataclass
class Proactive(CoupledJacobi):
    """Tests several candidates at each of the first slots; all parents share the candidates of a slot.

    Kang et al. 2026 (SJD-PAC), proactive drafting upon adaptive continuation (`coupled-jacobi`).
    Candidates of a slot are drawn without replacement from its law. Deviation: a sibling may be chosen
    only where all before it were refused, and is then tested against what they left over (recursive
    rejection, Miao et al. 2024, algorithm 2); the released code takes the longest path, which biases it.
    """

    name = "proactive"
    law = "exact"
    paper = "Kang et al. 2026, arXiv 2603.18599"

    branching: int = option(3, "candidates at each of the first slots", minimum=2, maximum=8)
    depth: int = option(2, "slots that have candidates", minimum=1, maximum=3)

    @property
    def extra_nodes(self) -> int:  # type: ignore[override]
        return sum(self.branching**level for level in range(1, self.depth + 1)) - self.depth

    def verify(self, session: Session, drafts: Drafts, inputs: Tensor, known: Tensor, slots: Slots) -> Outcome:
        length = inputs.shape[1]
        # Never from `length`, which depends on other rows; the narrowest adaptive window has room for every depth.
        depth = min(self.depth, self.window - 1, session.length - 1)
        topology = _topology(length, self.branching, depth, inputs.device)
        candidates = self._candidates(drafts, topology.depth, slots)
        extra = candidates[:, topology.extra_slots, topology.extra_choices]
        scored = session.score(torch.cat((inputs, extra), dim=1), topology.tree)
        probs = scored[:, :length]
        verdict = self.judge(probs, drafts, slots)
        keep = verdict.keep | (known >= 0)
        tokens = torch.where(known >= 0, known, verdict.tokens)
        # The tree part: down from the last committed token to the first accepted child, level by level.
        node = torch.zeros_like(slots.positions[:, 0])
        alive = torch.ones_like(node, dtype=torch.bool)
        counts, path = torch.ones_like(node), []
        for level in range(topology.depth):
            here = scored[torch.arange(len(node), device=node.device), node]
            choice, token = self._choose(here, drafts, candidates, level, slots, known[:, level])
            tokens[:, level] = torch.where(alive, token, tokens[:, level])
            alive = alive & (choice >= 0)
            child = topology.children[node, choice.clamp(min=0)]
            node = torch.where(alive, child, node)
            path.append(torch.where(alive, child, level + 1))
            counts = counts + alive
        # Behind the tree: the chain where the path is the chain, one token of the leaf's own law elsewhere.
        if length > topology.depth:
            on_chain = alive & (node == topology.depth)
            tail = leading(keep[:, topology.depth :])
            counts = counts + torch.where(on_chain, tail, 0)
            leaf = self._draw_leaf(scored, node, topology.depth, slots)
            leaf = torch.where(known[:, topology.depth] >= 0, known[:, topology.depth], leaf)
            off_chain = alive & (node != topology.depth)
            tokens[:, topology.depth] = torch.where(off_chain, leaf, tokens[:, topology.depth])
        if path:
            session.follow(torch.stack(path, dim=1))
        return Outcome(probs, tokens, counts, verdict.carried)

    def _candidates(self, drafts: Drafts, depth: int, slots: Slots) -> Tensor:
        """The draft of each of the first slots, and more drawn from its law without replacement: [B, depth, K]."""
        assert drafts.laws is not None
        law, chosen = drafts.laws[:, :depth], [drafts.tokens[:, :depth]]
        for index in range(1, self.branching):
            law = without(law, chosen[-1])
            draw = slots.draw * self.branching + index
            noise = slots.rng.exponential(Purpose.DRAFT, slots.positions[:, :depth], law.shape[-1], draw + 2**32)
            chosen.append(race(law, noise))
        return torch.stack(chosen, dim=-1)

    def _choose(
        self, p: Tensor, drafts: Drafts, candidates: Tensor, level: int, slots: Slots, known: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The first accepted sibling at one level, -1 for none, and the token there: int64 [B] each."""
        assert drafts.laws is not None
        q, position = drafts.laws[:, level], slots.positions[:, level : level + 1]
        choice = torch.where(known >= 0, 0, -1)
        for index in range(self.branching):
            token = candidates[:, level, index]
            draw = slots.draw if index == 0 else slots.draw * self.branching + index + 2**32
            coins = slots.rng.uniform(Purpose.ACCEPT, position, draw)[:, 0]
            # A law that ran out of tokens proposes none.
            accepted = self.rule.keep(p, q, token, coins) & (q.sum(-1) > 0) & (choice < 0)
            choice = torch.where(accepted, index, choice)
            p, q = self.rule.correction(p, q), without(q, token)
        noise = slots.rng.exponential(Purpose.CORRECT, position, p.shape[-1], slots.draw + 2**33)[:, 0]
        picked = candidates[:, level].gather(1, choice.clamp(min=0)[:, None])[:, 0]
        token = torch.where(choice >= 0, picked, race(p, noise))
        return choice, torch.where(known >= 0, known, token)

    def _draw_leaf(self, scored: Tensor, node: Tensor, depth: int, slots: Slots) -> Tensor:
        law = scored[torch.arange(len(node), device=node.device), node]
        position = slots.positions[:, depth : depth + 1]
        noise = slots.rng.exponential(Purpose.CORRECT, position, law.shape[-1], slots.draw + 2**33)[:, 0]
        return race(law, noise)


class _Topology(NamedTuple):
    """A chain of `length` nodes whose first levels branch.

    Attributes:
        tree: the nodes: the chain first, then the others.
        depth: levels that branch.
        children: int64 [nodes, K], the node each choice leads to; 0 where there is none.
        extra_slots: level of the candidate each further node holds.
        extra_choices: which of that level's candidates it is.
    """

    tree: Tree
    depth: int
    children: Tensor
    extra_slots: Tensor
    extra_choices: Tensor


@functools.lru_cache(maxsize=64)
def _topology(length: int, branching: int, depth: int, device: torch.device) -> _Topology:
    nodes = {(0,) * level: level for level in range(depth + 1)}
    parents = list(range(-1, length - 1))
    slots, choices = [], []
    for level in range(1, depth + 1):
        for path in itertools.product(range(branching), repeat=level):
            if any(path):
                nodes[path] = len(parents)
                parents.append(nodes[path[:-1]])
                slots.append(level - 1)
                choices.append(path[-1])
    children = torch.zeros(len(parents), branching, dtype=torch.long)
    for path, node in nodes.items():
        if path:
            children[nodes[path[:-1]], path[-1]] = node
    slots_tensor, choices_tensor = (
        torch.tensor(values, dtype=torch.long, device=device) for values in (slots, choices)
    )
    return _Topology(Tree(parents).to(device), depth, children.to(device), slots_tensor, choices_tensor)
