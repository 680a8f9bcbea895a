"""Speculative decoding with a tree of candidates: several at each of the first slots, the first accepted one taken."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from mmgen import layout
from mmgen.decoding.acceptance.rule import AcceptanceRule, Trial, without
from mmgen.decoding.drafters.drafter import Drafter
from mmgen.decoding.drafters.stepwise import Path, Stepwise, normal, siblings
from mmgen.decoding.line import leading
from mmgen.decoding.options import option
from mmgen.decoding.speculation import Drafts, Outcome, Slots, drafter_option
from mmgen.decoding.speculative import Speculative
from mmgen.decoding.speculative_jacobi import SpeculativeJacobi
from mmgen.errors import OptionError
from mmgen.rng import Purpose, race
from mmgen.sessions.session import Session


@dataclass
class Tree(Speculative):
    """Drafts several candidates at each of the first slots, each parent its own, and goes down the accepted ones.

    Recursive rejection (Miao et al. 2024, SpecInfer, algorithm 2; Jeon et al. 2024 for sampling without replacement):
    a sibling may be chosen only where all before it were refused, and is tested against what they left over. Certain
    candidates are accepted with p(x) and taken out of p, as EAGLE does (Li et al. 2024). Under a relaxed rule each
    test is the rule's own. Behind the tree the first candidates go on as a chain.
    """

    name = "tree"
    law = "exact"
    paper = "Miao et al. 2024, arXiv 2305.09781"
    no_joint_rules = "it tests siblings one by one, and a joint rule needs a chain"

    drafter: Drafter = drafter_option("grid-n-gram")
    branching: int = option(2, "candidates at each of the first slots", minimum=2, maximum=8)
    depth: int = option(2, "slots that have candidates", minimum=1, maximum=4)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.drafter.branches:
            raise OptionError("drafter", self.drafter.name, "a drafter that names several candidates for a slot")

    @property
    def extra_nodes(self) -> int:  # type: ignore[override]
        return nodes_beside_chain(self.branching, self.depth)

    @property
    def least_width(self) -> int:  # type: ignore[override]
        return self.depth + 1

    def verify(self, session: Session, drafter: Drafter, drafts: Drafts, inputs: Tensor, slots: Slots) -> Outcome:
        topology = plan(inputs.shape[1], self.branching, self.depth, self.window, session)
        assert isinstance(drafter, Stepwise)
        drafts, branches = self._grow(drafter, drafts, slots, topology)
        inputs = torch.cat((inputs[:, :1], drafts.tokens[:, :-1]), dim=1)
        return verify_tree(self, session, topology, branches, drafts, inputs, slots)

    def _grow(self, drafter: Stepwise, drafts: Drafts, slots: Slots, topology: Topology) -> tuple[Drafts, Branches]:
        """Candidates of every parent, level by level; the chain's first slots become the first of them."""
        assert drafts.laws is not None
        context, batch = slots.context, len(slots.positions)
        paths = torch.zeros(batch, 1, 0, dtype=torch.long, device=slots.positions.device)
        levels, laws, chain_tokens, chain_laws = [], [], drafts.tokens.clone(), drafts.laws.clone()
        for level in range(topology.depth):
            law = drafter.law(Path(context, paths))
            law = law if drafter.certain else normal(law)
            found = siblings(context, law, slots.positions[:, level : level + 1], self.branching, drafter.certain)
            known = slots.known[:, level, None]
            found[..., 0] = torch.where(known >= 0, known, found[..., 0])
            before = paths[:, :, None].expand(-1, -1, self.branching, -1)
            paths = torch.cat((before, found[..., None]), dim=-1).flatten(1, 2)
            levels.append(found.flatten(1))
            laws.append(law)
            first = levels[-1][:, 0]
            chain_tokens[:, level] = first
            first_law = one_hot(first, law.shape[-1]).float() if drafter.certain else laws[-1][:, 0]
            chain_laws[:, level] = torch.where(known >= 0, one_hot(first, law.shape[-1]).float(), first_law)
        extra = [level[:, 1:] for level in levels]
        whole = None if drafter.certain or not laws else torch.cat(laws, dim=1)
        return Drafts(chain_tokens, chain_laws), Branches(torch.cat((chain_tokens[:, :-1], *extra), 1), whole)


class Topology(NamedTuple):
    """A chain whose first levels branch: the chain's nodes first, then the others, level by level.

    Attributes:
        tree: the nodes; node 0 is the last committed token.
        depth: levels that branch.
        children: int64 [nodes, K], the node each choice leads to; 0 where there is none.
        parents: int64 [nodes], for a node of level `d`, its place among the nodes of all levels up to
            `depth - 1`, in order: the row of `Branches.laws` its children were drawn from.
    """

    tree: layout.Tree
    depth: int
    children: Tensor
    parents: Tensor


class Branches(NamedTuple):
    """Candidates on a topology.

    Attributes:
        tokens: int64 [B, nodes - 1], of every node but the first.
        laws: [B, P, V], what the children of parent P were drawn from without replacement; None where
            candidates are certain.
    """

    tokens: Tensor
    laws: Tensor | None


def nodes_beside_chain(branching: int, depth: int) -> int:
    """Nodes of the levels that branch, those of the chain apart."""
    return sum(branching**level for level in range(1, depth + 1)) - depth


def plan(length: int, branching: int, depth: int, window: int, session: Session) -> Topology:
    """The topology for a chain of `length` nodes.

    Its depth never depends on `length`, which depends on other rows: the narrowest window has room for every depth.
    """
    return _topology(length, branching, min(depth, window - 1, session.length - 1), session.device)


@functools.lru_cache(maxsize=64)
def _topology(length: int, branching: int, depth: int, device: torch.device) -> Topology:
    nodes = {(0,) * level: level for level in range(depth + 1)}
    parents = list(range(-1, length - 1))
    for level in range(1, depth + 1):
        for path in itertools.product(range(branching), repeat=level):
            if any(path):
                nodes[path] = len(parents)
                parents.append(nodes[path[:-1]])
    children = torch.zeros(len(parents), branching, dtype=torch.long)
    rows = torch.zeros(len(parents), dtype=torch.long)
    for row, path in enumerate(sorted(nodes, key=lambda path: (len(path), path))):
        rows[nodes[path]] = row
        if path:
            children[nodes[path[:-1]], path[-1]] = nodes[path]
    return Topology(layout.Tree(parents).to(device), depth, children.to(device), rows.to(device))


def verify_tree(
    decoder: SpeculativeJacobi, session: Session, topology: Topology, branches: Branches,
    drafts: Drafts, inputs: Tensor, slots: Slots,
) -> Outcome:  # fmt: skip
    """Evaluates a tree once and finds the run to commit.

    Args:
        decoder: whose rule tests the candidates, and whose `judge` the chain.
        drafts: the chain's.
        inputs: what the chain's positions follow, int64 [B, L].
    """
    length = inputs.shape[1]
    scored = session.score(torch.cat((inputs, branches.tokens[:, length - 1 :]), dim=1), topology.tree)
    verdict = decoder.judge(scored[:, :length], drafts, slots)
    keep = verdict.keep | (slots.known >= 0)
    tokens = torch.where(slots.known >= 0, slots.known, verdict.tokens)
    row = torch.arange(len(tokens), device=tokens.device)
    node, alive = torch.zeros_like(row), torch.ones_like(row, dtype=torch.bool)
    counts, path = torch.ones_like(row), []
    for level in range(topology.depth):
        children = topology.children[node]
        candidates = branches.tokens.gather(1, (children - 1).clamp(min=0))
        law = None if branches.laws is None else branches.laws[row, topology.parents[node]]
        choice, token = _choose(decoder.acceptance, scored[row, node], law, candidates, level, slots)
        tokens[:, level] = torch.where(alive, token, tokens[:, level])
        alive = alive & (choice >= 0)
        node = torch.where(alive, _pick(children, choice), node)
        path.append(torch.where(alive, node, level + 1))
        counts = counts + alive
    # Behind the tree: the chain where the path is the chain, one token of the leaf's own law elsewhere.
    if length > topology.depth:
        place = topology.depth
        on_chain = alive & (node == place)
        counts = counts + torch.where(on_chain, leading(keep[:, place:]), 0)
        leaf = race(scored[row, node], _replacements(slots, place, scored.shape[-1]))
        leaf = torch.where(slots.known[:, place] >= 0, slots.known[:, place], leaf)
        tokens[:, place] = torch.where(alive & ~on_chain, leaf, tokens[:, place])
        node = torch.where(on_chain, torch.minimum(counts, slots.widths) - 1, node)
    if not path:
        return Outcome(scored, tokens, counts, verdict.carried, node)
    nodes = torch.stack(path, dim=1)
    session.follow(nodes)
    probs = scored[:, :length]
    if not decoder.carries:  # what drafters learn from: the laws along the path
        probs = torch.cat((scored[:, :1], scored[row[:, None], nodes], scored[:, topology.depth + 1 : length]), dim=1)
    return Outcome(probs, tokens, counts, verdict.carried, node)


def _choose(
    rule: AcceptanceRule, p: Tensor, law: Tensor | None, candidates: Tensor, level: int, slots: Slots
) -> tuple[Tensor, Tensor]:
    """The first accepted sibling at one level, -1 for none, and the token there: int64 [B] each.

    Args:
        p: the model's probabilities there [B, V].
        law: what the candidates [B, K] were drawn from without replacement [B, V]; None where they are certain.
    """
    known, coins = slots.known[:, level], _coins(slots, level, candidates.shape[1])
    choice = torch.where(known >= 0, 0, -1)
    offsets, last = torch.full_like(choice, level), torch.zeros_like(choice, dtype=torch.bool)
    for index, token in enumerate(candidates.unbind(1)):
        q = torch.zeros_like(p).scatter_(1, token[:, None], 1) if law is None else law
        trial = Trial(p, q, token, coins[:, index], offsets, last)
        # A law that ran out of tokens proposes none.
        accepted = rule.keep(trial) & (q.sum(-1) > 0) & (choice < 0)
        choice = torch.where(accepted, index, choice)
        p = rule.correction(trial)
        law = None if law is None else without(law, token)
    token = race(p, _replacements(slots, level, p.shape[-1]))
    token = torch.where(choice >= 0, _pick(candidates, choice), token)
    return choice, torch.where(known >= 0, known, token)


def _pick(values: Tensor, choice: Tensor) -> Tensor:
    """The chosen of values [B, K], the first where none is: [B]."""
    return values.gather(1, choice.clamp(min=0)[:, None])[:, 0]


def _coins(slots: Slots, level: int, count: int) -> Tensor:
    """A coin for each candidate of a level, the first the chain's own: [B, K]."""
    index = torch.arange(count, device=slots.positions.device)
    numbers = torch.where(index == 0, slots.draw, slots.draw * 16 + index + 2**32)
    return slots.rng.uniform(Purpose.ACCEPT, slots.positions[:, level, None].expand(-1, count), numbers)


def _replacements(slots: Slots, level: int, size: int) -> Tensor:
    """Noise for what stands at a level where no candidate does: [B, V]."""
    position = slots.positions[:, level, None]
    return slots.rng.exponential(Purpose.CORRECT, position, size, slots.draw + 2**33)[:, 0]
