"""Drafters that learn from the picture being drawn: what they propose, and that it is exact wherever they are used."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from decoding.checks import check_law
from decoding.markov import MarkovSession, markov_tables
from torch import Tensor

from mmgen import decoding
from mmgen.decoding import tree
from mmgen.decoding.decoder import Generation
from mmgen.decoding.drafters.drafter import Context, Proposal
from mmgen.decoding.drafters.stepwise import Path, Stepwise
from mmgen.decoding.line import Line
from mmgen.decoding.options import make_part
from mmgen.decoding.speculation import Drafts, Outcome, Slots
from mmgen.decoding.speculative import Speculative
from mmgen.layout import RasterLayout
from mmgen.rng import Rng

CERTAIN = ("n-gram", "grid-n-gram", "token-recycling")
STOCHASTIC = ("stochastic-n-gram", "stochastic-grid-n-gram/remembered=2")
DRAFTERS = (*CERTAIN, *STOCHASTIC)
KNOWN = (-1, 1, 2, -1, 0, -1)
FOUR = {"vocabulary_size": 4, "layout": RasterLayout(2, 2), "window": 4}
NARROW = {"vocabulary_size": 2, "layout": RasterLayout(2, 4), "adaptive": True, "buckets": (4, 5, 6, 7)}
SEEDS, ROWS = (5, 6, 7, 8, 9, 10), torch.tensor([0, 1, 2, 1, 0, 2])
SIZE = 9

CASES = [
    *(("speculative", {"drafter": drafter, "window": 4}) for drafter in DRAFTERS),
    *(("speculative-jacobi", {"drafter": drafter + "/length=2", "known": KNOWN}) for drafter in DRAFTERS),
    *(("coupled-jacobi", {"drafter": drafter, "window": 4}) for drafter in DRAFTERS),
    *(("tree", {"drafter": drafter, "window": 5, "branching": 2, "depth": 2}) for drafter in DRAFTERS),
    *(("tree", {"drafter": drafter, "window": 4, "known": KNOWN}) for drafter in DRAFTERS[::2]),
    *(("tree", {**FOUR, "drafter": drafter, "branching": 6}) for drafter in DRAFTERS[2:]),  # more than there are tokens
    *(("tree", {**FOUR, "drafter": drafter, "depth": 4, "window": 2}) for drafter in DRAFTERS[1::2]),  # nor so deep
    *(("tree", {**NARROW, "drafter": drafter + "/length=1"}) for drafter in DRAFTERS[::2]),
]


@pytest.mark.parametrize(("decoder", "options"), CASES, ids=[f"{name}-{i}" for i, (name, _) in enumerate(CASES)])
def test_lines_follow_the_law(decoder: str, options: dict) -> None:
    check_law(decoder, rows=3000, **options)


def test_an_adaptive_window_has_room_for_the_tree() -> None:
    tables = torch.full((1, 41, 41, 40), 1 / 40)  # hardly a draft stands, so the window shrinks
    session = MarkovSession(tables, torch.zeros(2, dtype=torch.long), RasterLayout(4, 6))
    options = {"window": 16, "adaptive": True, "depth": 4, "branching": 2, "drafter": "stochastic-n-gram"}
    decoding.make("tree", **options).generate(session, Rng([1, 2]))
    assert min(session.widths) - tree.nodes_beside_chain(2, 4) == 8


def decode(decoder: str, drafter: str, order: list[int], known: Tensor | None = None) -> Generation:
    known = None if known is None else known[order]
    session = MarkovSession(markov_tables(), ROWS[order], RasterLayout(5, 6), known)
    options = {} if decoder == "autoregressive" else {"window": 12, "drafter": drafter}
    return decoding.make(decoder, **options).generate(session, Rng([SEEDS[row] for row in order]))


@pytest.mark.parametrize("drafter", DRAFTERS)
@pytest.mark.parametrize("decoder", ["speculative", "coupled-jacobi", "tree"])
def test_row_alone_is_row_in_a_batch(decoder: str, drafter: str) -> None:
    known = torch.full((6, 30), -1)
    known[1, :14], known[2, 4:20], known[5, ::3] = 1, 2, 0  # so that rows finish at very different times
    together = decode(decoder, drafter, list(range(6)), known)
    assert len(together.evaluations.unique()) > 2
    for order in ([4, 2, 5, 0, 3, 1], [0], [2], [5]):
        other = decode(decoder, drafter, order, known)
        assert torch.equal(other.tokens, together.tokens[order]), order
        assert torch.equal(other.evaluations, together.evaluations[order]), order


@pytest.mark.parametrize("drafter", DRAFTERS)
@pytest.mark.parametrize("decoder", ["seeded-speculative", "jacobi"])
def test_seeded_decoders_write_the_lines_of_autoregression(decoder: str, drafter: str) -> None:
    reference, generation = (decode(name, drafter, list(range(6))) for name in ("autoregressive", decoder))
    assert torch.equal(generation.tokens, reference.tokens)
    assert int(generation.evaluations.sum()) < 0.8 * int(reference.evaluations.sum())


class Desk:
    """A drafter beside lines written by hand: every call of `write` is an evaluation that committed some tokens."""

    def __init__(self, drafter: str, width: int = 4, rows: int = 1, window: int = 8) -> None:
        tables = torch.ones(1, SIZE + 1, SIZE + 1, SIZE)
        self.session = MarkovSession(tables, torch.zeros(rows, dtype=torch.long), RasterLayout(6, width))
        self.line, self.window, self._evaluations = Line(self.session, window), window, 0
        part = make_part("drafter", drafter)
        assert isinstance(part, Stepwise)
        self.drafter = part
        self.drafter.open(self.session, window)

    def write(self, tokens: list[list[int]], probs: Tensor | None = None, carried: list[int] | None = None) -> Proposal:
        """Commits tokens [B, M], which the first of `probs` [B, L, V] predicted, carries drafts, and asks for more."""
        start, self.line.committed = self.line.committed, self.line.committed + len(tokens[0])
        self.line.buffer[:, 1 + int(start[0]) : 1 + int(self.line.committed[0])] = torch.tensor(tokens)
        filled = torch.full_like(start, len(carried or []))
        if carried:
            self.line.draft(torch.tensor([carried]))
        self._evaluations += 1
        self.context = Context(
            self.line, filled, torch.full_like(start, self.window), probs, start, torch.full_like(start, -1),
            Rng(range(len(tokens))), torch.full_like(start, self._evaluations)[:, None], False,
        )  # fmt: skip
        return self.drafter.propose(self.context)

    def chain(self, *tokens: int, carried: list[int] | None = None) -> list[int]:
        """The chain drafted behind these tokens of a single row, the carried ones not among it."""
        proposal = self.write([list(tokens)], carried=carried)
        assert proposal.laws is None and proposal.drafted is not None
        return proposal.tokens[0, len(carried or []) : int(proposal.drafted[0])].tolist()

    def law(self, *path: int) -> Tensor:
        """The law behind drafts of a single row: [V]."""
        weights = self.drafter.law(Path(self.context, torch.tensor(path, dtype=torch.long)[None, None]))[0, 0]
        return (weights / weights.sum()).float()


def peaked(*tokens: int) -> Tensor:
    """Laws [1, L, V] that hold the given token likeliest, the one above it next."""
    law = torch.full((1, len(tokens), SIZE), 0.01)
    law.scatter_(2, torch.tensor(tokens)[None, :, None], 1.0)
    law.scatter_(2, (torch.tensor(tokens)[None, :, None] + 1) % SIZE, 0.5)
    return law / law.sum(-1, keepdim=True)


def test_n_gram_copies_what_followed_the_longest_match() -> None:
    # Behind 1 2 stood 3, although behind 2 alone stood 5, later and more often.
    assert Desk("n-gram/length=3").chain(1, 2, 3, 4, 2, 5, 0, 2, 5, 1, 2) == [3, 4, 2]
    assert Desk("n-gram/length=3/longest=1").chain(1, 2, 3, 4, 2, 5, 0, 2, 5, 1, 2) == [5, 1, 2]
    assert Desk("n-gram/length=2").chain(7, 6, 5, 8, 6) == [5, 8]  # the longest there is


def test_n_gram_takes_the_most_frequent_then_the_latest() -> None:
    assert Desk("n-gram/longest=1/length=2").chain(1, 2, 7, 1, 2, 8, 1, 3, 1) == [2, 8]
    assert Desk("n-gram/longest=1/length=2").chain(1, 2, 7, 1, 3, 8, 1) == [3, 8]


def test_n_gram_goes_on_with_its_own_copy_and_repeats_without_a_match() -> None:
    assert Desk("n-gram/length=7").chain(1, 2, 3, 1, 2) == [3, 1, 2, 3, 1, 2, 3]
    assert Desk("n-gram/length=3").chain(1, 2, 3) == [3, 3, 3]
    assert Desk("n-gram").drafter.length == 10 and len(Desk("n-gram").chain(1)) == 8  # no longer than the window


def test_n_gram_goes_on_behind_carried_drafts() -> None:
    assert Desk("n-gram/length=3").chain(1, 2, 3, 4, 5, carried=[1, 2]) == [3, 4, 5]


def test_n_gram_searches_committed_tokens_only() -> None:
    desk = Desk("n-gram/length=2")
    desk.line.draft(torch.tensor([[1, 2, 3, 4, 5, 5]]))  # what stood there before was refused from 3 on
    assert desk.chain(1, 2, 1) == [2, 1]
    assert desk.law(2, 2)[[3, 4]].sum() == 0


def test_grid_n_gram_looks_to_the_left_and_above() -> None:
    picture = [
        1, 2, 3, 4, 5,
        6, 1, 7, 1, 8,
        0, 2, 3, 1, 8,
        0, 1,
    ]  # fmt: skip
    # 1 to the left and 3 above: 7 stood there, although behind 1 alone stood 8, later and more often.
    assert Desk("grid-n-gram/length=2", width=5).chain(*picture) == [7, 1]
    assert Desk("grid-n-gram/length=2/longest=1", width=5).chain(*picture) == [8, 0]


def copied(line: list[int], offsets: list[int], fallbacks: list[int], length: int) -> list[int]:
    """What a lookup drafts behind a line, by its definition."""
    behind = dict(enumerate(line))
    end = len(line)

    def match(place: int) -> int:
        same = [behind.get(place - offset, SIZE) == behind.get(end - offset, SIZE) for offset in offsets]
        return [*same, False].index(False)

    longest = max(match(place) for place in range(end))
    found = [place for place in range(end) if longest and match(place) == longest]
    places: dict[int, list[int]] = {}
    for place in found:
        places.setdefault(line[place], []).append(place)
    if found:
        source = places[max(places, key=lambda token: (len(places[token]), sum(places[token]), -token))][-1]
    else:
        source = next(end - offset for offset in fallbacks if end >= offset)
    for _ in range(length):
        line = [*line, line[source]]
        source += 1
    return line[end:]


@pytest.mark.parametrize("longest", [1, 2, 3, 4])
def test_lookups_do_what_they_say(longest: int) -> None:
    generator = torch.Generator().manual_seed(longest)
    for end in range(1, 25):
        line = torch.randint(0, 4, (end,), generator=generator).tolist()
        drafted = Desk(f"n-gram/longest={longest}/length=5").chain(*line)
        assert drafted == copied(line, list(range(1, 1 + longest)), [1], 5), line
        drafted = Desk(f"grid-n-gram/longest={longest}/length=5").chain(*line)
        assert drafted == copied(line, [1, 4, 3, 5][:longest], [4, 1], 5), line


def test_grid_n_gram_repeats_the_row_above() -> None:
    assert Desk("grid-n-gram/length=3").chain(1, 2, 3, 4, 5) == [2, 3, 4]
    assert Desk("grid-n-gram/length=3").chain(1, 2, 3) == [3, 3, 3]  # there is none
    assert Desk("grid-n-gram", rows=2).write([[1], [2]]).tokens[:, :2].tolist() == [[1, 1], [2, 2]]


def test_candidates_are_the_more_frequent_then_those_of_shorter_matches() -> None:
    desk = Desk("n-gram")
    desk.chain(1, 2, 3, 1, 2, 4, 1, 2, 4, 5, 2, 6, 1, 2)
    assert desk.law().topk(4).indices.tolist() == [4, 3, 6, 2]  # twice, once, behind 2 alone, the last token itself
    assert desk.law(4, 5, 2).argmax() == 6
    assert torch.equal(desk.law(4, 5, 2) > 0, torch.tensor([0, 0, 1, 1, 1, 0, 1, 0, 0]) > 0)


def test_token_recycling_follows_the_likeliest() -> None:
    desk = Desk("token-recycling/length=4/candidates=2")
    assert desk.chain(3) == [3, 3, 3, 3]  # nothing was learnt: itself
    # Behind 3 the model thought 5 likely, behind 4 it thought 6, behind 6 it thought 3.
    proposal = desk.write([[4, 6, 2]], peaked(5, 6, 3, 8))
    assert proposal.drafted.tolist() == [4] and proposal.tokens[0, :4].tolist() == [2, 2, 2, 2]
    assert desk.chain(4) == [6, 3, 5, 5]
    assert desk.law(0, 6).topk(2).indices.tolist() == [3, 4]
    assert int((desk.law(0, 6) > 0).sum()) == 2


def test_token_recycling_keeps_the_latest_and_learns_nothing_from_refused_drafts() -> None:
    desk = Desk("token-recycling/length=1")
    desk.chain(1)
    # 1 is followed three times; the fourth law stands behind a draft that was not committed.
    desk.write([[1, 1, 2]], peaked(4, 5, 6, 7))
    assert desk.law(1).argmax() == 6
    assert desk.law(2).argmax() == 2


def test_stochastic_n_gram_averages_what_was_remembered() -> None:
    desk = Desk("stochastic-n-gram/length=4/longest=2")
    probs = torch.randn(1, 9, SIZE, generator=torch.Generator().manual_seed(0)).softmax(-1)
    assert desk.write([[1, 2, 3, 1, 2, 4, 5, 2]], probs).drafted.tolist() == [4]
    torch.testing.assert_close(desk.law(1, 2), (probs[0, 2] + probs[0, 5]) / 2, rtol=0, atol=3e-3)
    # No 4 2 there was: 2 alone, and the last law stands behind a draft that was not committed.
    torch.testing.assert_close(desk.law(4, 2), (probs[0, 2] + probs[0, 5]) / 2, rtol=0, atol=1e-5)
    torch.testing.assert_close(desk.law(8), torch.eye(SIZE)[8])


def test_stochastic_n_gram_remembers_the_likeliest_of_a_law() -> None:
    desk = Desk("stochastic-grid-n-gram/remembered=2", width=3)
    desk.write([[1, 2, 3, 4, 5, 6, 1]], peaked(1, 2, 3, 4, 5, 6, 1))
    law = desk.law()  # 1 to the left, and there the model held 2 likeliest, then 3
    torch.testing.assert_close(law[[2, 3]], torch.tensor([2 / 3, 1 / 3]), rtol=0, atol=1e-5)
    assert law.topk(3).indices[2] == 5  # the token above, hardly ever


@pytest.mark.parametrize("drafter", STOCHASTIC)
@pytest.mark.parametrize("decoder", ["speculative", "coupled-jacobi"])
def test_drafts_follow_their_stated_laws(decoder: str, drafter: str) -> None:
    seen: list[tuple[Drafts, Slots]] = []
    kind = decoding.decoders()[decoder]
    verify = kind.verify

    def record(self: Speculative, session, drafter, drafts: Drafts, inputs: Tensor, slots: Slots) -> Outcome:  # type: ignore[no-untyped-def]
        seen.append((drafts, slots))
        return verify(self, session, drafter, drafts, inputs, slots)

    session = MarkovSession(markov_tables(), torch.arange(3000) % 2, RasterLayout(2, 4))
    with mock.patch.object(kind, "verify", record):
        decoding.make(decoder, window=5, drafter=drafter).generate(session, Rng(range(3000)))
    several = 0
    for drafts, slots in seen:
        for slot in range(drafts.tokens.shape[1]):
            drawn = (slots.positions[:, slot] < 8) & (drafts.laws[:, slot].sum(-1) > 0)
            assert deviation(drafts.tokens[drawn, slot], drafts.laws[drawn, slot]) < 5
            several += int((drafts.laws[drawn, slot].amax(-1) < 0.9).sum())
    assert several > 3000


@pytest.mark.parametrize("drafter", STOCHASTIC)
def test_candidates_follow_their_stated_laws(drafter: str) -> None:
    seen: list[tuple[tree.Topology, tree.Branches, Slots]] = []

    def record(decoder, session, topology, branches, drafts, inputs, slots) -> Outcome:  # type: ignore[no-untyped-def]
        seen.append((topology, branches, slots))
        return verify(decoder, session, topology, branches, drafts, inputs, slots)

    verify = tree.verify_tree
    session = MarkovSession(markov_tables(), torch.arange(3000) % 2, RasterLayout(2, 4))
    with mock.patch.object(tree, "verify_tree", record):
        decoding.make("tree", window=5, drafter=drafter, branching=2, depth=2).generate(session, Rng(range(3000)))
    for topology, branches, slots in seen:
        for level, parent in enumerate([0, *topology.children[0].tolist()][:2]):
            first, second = (branches.tokens[:, node - 1] for node in topology.children[parent].tolist())
            law = branches.laws[:, topology.parents[parent]]
            drawn = slots.positions[:, level] < 8
            assert deviation(first[drawn], law[drawn]) < 5
            rest = law.scatter(1, first[:, None], 0)
            drawn &= rest.sum(-1) > 0
            assert deviation(second[drawn], (rest / rest.sum(-1, keepdim=True))[drawn]) < 5
            assert bool((first != second)[drawn].all())


def deviation(tokens: Tensor, laws: Tensor) -> float:
    """How far counts of tokens [M] are from those their laws [M, V] expect, in standard deviations; the worst token."""
    drawn = torch.nn.functional.one_hot(tokens, laws.shape[-1]).double()
    variance = (laws * (1 - laws)).double().sum(0)
    return float(((drawn - laws).sum(0).abs() / (variance + 4).sqrt()).amax())
