"""Drafters that run a model: a smaller one, the first blocks of the same, heads. What they say is what they read."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from decoding.checks import check_law
from decoding.markov import MarkovSession, markov_tables
from torch import Tensor

from mmgen import decoding
from mmgen.backbones.backbone import Prompt
from mmgen.backbones.heads import TokenHeads
from mmgen.backbones.raster import RasterTransformer
from mmgen.decoding.decoder import Generation
from mmgen.decoding.drafters import early_exit
from mmgen.decoding.drafters.draft_model import DraftModel
from mmgen.decoding.drafters.drafter import Context
from mmgen.decoding.drafters.early_exit import EarlyExit, choose
from mmgen.decoding.drafters.heads import Heads
from mmgen.decoding.drafters.stepwise import Path, Stepwise
from mmgen.errors import OptionError, SizeError
from mmgen.layout import RasterLayout
from mmgen.rng import Rng
from mmgen.sampling import Sampling
from mmgen.sessions.raster import RasterSession

DRAFTERS = (
    "draft-model",
    "draft-model/length=2/schedule=adaptive",
    "draft-model/length=5/fallback=0.6",
    "early-exit",
    "early-exit/length=5/schedule=dynamic",
    "heads",
)
DECODERS = ("speculative", "seeded-speculative", "speculative-jacobi", "coupled-jacobi", "jacobi")
KNOWN = (-1, 1, 2, -1, 0, -1)
LAYOUT = RasterLayout(4, 6)
SEEDS = (5, 6, 7, 8, 9, 10)
every_drafter = pytest.mark.parametrize("drafter", DRAFTERS)

CASES = [
    *(("speculative", {"drafter": drafter, "window": 4}) for drafter in DRAFTERS),
    *(("speculative-jacobi", {"drafter": drafter, "window": 5, "known": KNOWN}) for drafter in DRAFTERS[::2]),
    *(("coupled-jacobi", {"drafter": drafter, "window": 4}) for drafter in DRAFTERS[1::2]),
    *(("speculative", {"drafter": drafter, "acceptance": "block", "known": KNOWN}) for drafter in DRAFTERS[1::2]),
    ("seeded-speculative", {"drafter": "draft-model/fallback=0.6", "known": KNOWN}),
    ("jacobi", {"drafter": "heads", "window": 3}),
    ("tree", {"drafter": "heads", "branching": 2, "depth": 2, "window": 5}),
    ("tree", {"drafter": "heads", "branching": 2, "depth": 4, "known": KNOWN}),  # deeper than there are heads
    ("proactive", {"drafter": "early-exit/schedule=dynamic", "window": 4}),
]


@pytest.mark.parametrize(("decoder", "options"), CASES, ids=[f"{name}-{i}" for i, (name, _) in enumerate(CASES)])
def test_lines_follow_the_law(decoder: str, options: dict) -> None:
    check_law(decoder, rows=3000, **options)


def markov_rows(rows: list[int], known: Tensor | None = None) -> MarkovSession:
    session = MarkovSession(markov_tables(), torch.tensor([0, 1, 2, 1, 0, 2])[rows], LAYOUT, known)
    session.layers = 2
    return session


def known_rows() -> Tensor:
    """Tokens given to six rows: none, a long beginning, a long middle, the end, scattered ones, all but one."""
    known = torch.full((6, LAYOUT.length), -1)
    known[1, :10], known[2, 5:17], known[3, 15:], known[4, ::3], known[5, 1:] = 1, 2, 1, 2, 0
    return known


@functools.cache
def decode(decoder: str, drafter: str, order: tuple[int, ...], window: int = 9) -> Generation:
    session = markov_rows(list(order), known_rows()[list(order)])
    options = {} if decoder == "autoregressive" else {"window": window, "drafter": drafter}
    return decoding.make(decoder, **options).generate(session, Rng([SEEDS[row] for row in order]))


ALONE = [*((decoder, drafter) for decoder in DECODERS[::2] for drafter in DRAFTERS), ("tree", "heads")]


@pytest.mark.parametrize(("decoder", "drafter"), ALONE)
def test_row_alone_is_row_in_a_batch(decoder: str, drafter: str) -> None:
    together = decode(decoder, drafter, tuple(range(6)))
    for order in ((4, 2, 5, 0, 3, 1), (0,), (2,)):
        other = decode(decoder, drafter, order)
        for name in ("tokens", "evaluations", "draft_evaluations"):
            assert torch.equal(getattr(other, name), getattr(together, name)[list(order)]), (name, order)
    reference = decode("autoregressive", "", tuple(range(6)))
    assert int(together.evaluations.sum()) < int(reference.evaluations.sum())
    assert bool((together.draft_evaluations[:5] > 0).all()) == (drafter != "heads")


@every_drafter
@pytest.mark.parametrize("decoder", ["seeded-speculative", "jacobi"])
def test_seeded_decoders_write_the_lines_of_autoregression(decoder: str, drafter: str) -> None:
    reference = decode("autoregressive", "", tuple(range(6)))
    for window in (2, 24):
        generation = decode(decoder, drafter, tuple(range(6)), window)
        assert torch.equal(generation.tokens, reference.tokens), window
        assert bool((generation.evaluations <= reference.evaluations).all())


@pytest.mark.parametrize("decoder", ["speculative", "seeded-speculative"])
@pytest.mark.parametrize("length", [1, 4, 6])
def test_a_draft_model_that_is_the_model_is_never_refused(decoder: str, length: int) -> None:
    session = markov_rows([0, 1, 2])
    session.draft = markov_rows([0, 1, 2])
    generation = decoding.make(decoder, drafter=f"draft-model/length={length}").generate(session, Rng([1, 2, 3]))
    windows, rest = divmod(LAYOUT.length, length + 1)
    assert generation.evaluations.tolist() == [windows + (rest > 0)] * 3
    assert generation.draft_evaluations.tolist() == [windows * length + max(rest - 1, 0)] * 3


def test_known_tokens_cost_no_draft_evaluations() -> None:
    known = torch.full((1, LAYOUT.length), -1)
    known[0, :8], known[0, 10:14] = 1, 2
    session = markov_rows([0], known)
    session.draft = markov_rows([0], known)
    generation = decoding.make("speculative", drafter="draft-model/length=3").generate(session, Rng([1]))
    # 8 known, 2 drafts, 4 known, 1 draft and a token more; 3 drafts and 1; 3 drafts and the last.
    assert generation.evaluations.tolist() == [3]
    assert generation.draft_evaluations.tolist() == [9]


def constant_session(model: list[float], draft: list[float], layout: RasterLayout = LAYOUT) -> MarkovSession:
    """Three tokens whose laws are the same everywhere, and those of the draft model."""
    sessions = [
        MarkovSession(torch.tensor(law).expand(1, 4, 4, 3).clone(), torch.zeros(1, dtype=torch.long), layout)
        for law in (model, draft)
    ]
    sessions[0].draft = sessions[1]
    return sessions[0]


def test_the_adaptive_schedule_adds_two_and_takes_one() -> None:
    decoder = decoding.make("speculative", drafter="draft-model/length=1/schedule=adaptive", window=24)
    generation = decoder.generate(constant_session([0.2, 0.5, 0.3], [0.2, 0.5, 0.3]), Rng([3]))
    assert generation.evaluations.tolist() == [5]  # 2, 4, 6, 8 and the 4 that remain
    assert generation.draft_evaluations.tolist() == [1 + 3 + 5 + 7 + 3]
    decoder = decoding.make("speculative", drafter="draft-model/length=5/schedule=adaptive", window=24)
    generation = decoder.generate(constant_session([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], RasterLayout(3, 4)), Rng([3]))
    assert generation.evaluations.tolist() == [12]
    assert generation.draft_evaluations.tolist() == [5 + 4 + 3 + 2 + 1 * 7 + 0]


def test_fallback_ends_a_draft_where_the_small_model_is_unsure(monkeypatch: pytest.MonkeyPatch) -> None:
    table = torch.tensor([0.7, 0.2, 0.1]).repeat(1, 4, 4, 1)
    table[:, :, 1] = torch.tensor([0.5, 0.3, 0.2])  # unsure of what follows token 1
    seen, propose = [], DraftModel.propose

    def watched(self: DraftModel, context: Context):
        before = context.line.draft_evaluations
        proposal = propose(self, context)
        last = context.line.token_at(context.line.committed[:, None] - 1)
        seen.append((last, proposal, context.line.draft_evaluations - before, context.line.committed))
        return proposal

    monkeypatch.setattr(DraftModel, "propose", watched)
    sessions = [MarkovSession(table, torch.zeros(4, dtype=torch.long), LAYOUT) for _ in range(2)]
    sessions[0].draft = sessions[1]
    drafter = "draft-model/length=5/fallback=0.6"
    decoding.make("seeded-speculative", drafter=drafter, window=16).generate(sessions[0], Rng([1, 2, 3, 4]))
    ends = set()
    for last, proposal, evaluations, committed in seen:
        for row in range(len(last)):
            limit = min(5, LAYOUT.length - 1 - int(committed[row])) if committed[row] < LAYOUT.length else 0
            before = [int(last[row]), *proposal.tokens[row].tolist()]
            end = next(slot for slot in range(limit + 1) if slot == limit or before[slot] == 1)
            assert int(proposal.drafted[row]) == end
            assert int(evaluations[row]) == end + (end < limit)
            ends.add(end)
    assert ends == {0, 1, 2, 3, 4, 5}


def test_tokens_per_block_by_hand() -> None:
    kept = torch.tensor([[0.5, 0.9], [0.9, 0.95], [0.1, 0.2], [0.0, 1.0]])
    # 3 blocks. Row 0: exit 1: 1/3, 1.5/4, 1.75/5; exit 2: 1/3, 1.9/5, 2.71/7 = 0.387, the best.
    # Row 1: 2.71/5 = 0.542 behind one block. Row 2: 1.1/4 and 1.2/5 do not reach 1/3. Row 3: 3/7.
    layers, lengths = choose(kept, 3, 2)
    assert layers.tolist() == [2, 1, 1, 2]
    assert lengths.tolist() == [2, 2, 0, 2]


@pytest.mark.parametrize("given", [False, True], ids=["free", "known"])
def test_dynamic_learns_what_the_exit_shares_with_the_model(given: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def watched(kept: Tensor, layers: int, longest: int) -> tuple[Tensor, Tensor]:
        seen.append(kept[0, 0])
        assert (layers, longest) == (2, 3)
        return choose(kept, layers, longest)

    monkeypatch.setattr(early_exit, "choose", watched)
    session = markov_rows([1], known_rows()[4:5] if given else None)
    decoder = decoding.make("speculative", drafter="early-exit/schedule=dynamic/length=3/memory=1", window=9)
    rounds = list(decoder.steps(session, Rng([4])))
    tokens = [3, 3, *rounds[-1].tokens[0].tolist()]
    both = (session._tables[1], session._blurred[1])
    shared = [torch.minimum(*(t[tokens[n], tokens[n + 1]] for t in both)).sum() for n in range(24)]
    free = [n for n in range(24) if not given or n % 3]
    assert len(seen) == len(rounds) - 1 > 5
    for kept, generation in zip(seen, rounds, strict=False):
        committed = int(generation.committed[0])
        if committed < 24:
            torch.testing.assert_close(kept, torch.stack([shared[n] for n in free if n < committed]).mean())


def test_memory_forgets_token_by_token() -> None:
    context = type("Context", (), {})()
    context.line = type("Line", (), {"session": markov_rows([0]), "committed": torch.tensor([3])})()
    context.start = torch.tensor([1])
    drafter = EarlyExit(memory=0.5)
    drafter.open(context.line.session, 4)
    context.line.session.early = lambda layers: torch.tensor([[[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]]])
    drafter._shared, drafter._counted = torch.tensor([[0.8]]), torch.tensor([1.0])
    drafter._learn(context, torch.tensor([[[0.7, 0.3], [1.0, 0.0], [1.0, 0.0]]]))
    torch.testing.assert_close(drafter._shared, torch.tensor([[0.8 / 4 + 0.8 + 1.0]]))  # the third is not committed
    torch.testing.assert_close(drafter._counted, torch.tensor([1 / 4 + 2]))


def test_what_is_missing_is_refused() -> None:
    session = markov_rows([0])
    session.layers = 3
    with pytest.raises(OptionError, match="fewer than the 3 blocks"):
        EarlyExit(layer=3).open(session, 4)
    EarlyExit(layer=2).open(session, 4)
    session.heads = 0
    with pytest.raises(OptionError, match="trained heads"):
        Heads().open(session, 4)
    session.draft = MarkovSession(markov_tables(4), torch.tensor([0]), LAYOUT)
    with pytest.raises(SizeError, match="24 tokens of 4 codes"):
        DraftModel().open(session, 4)
    session.draft = None
    with pytest.raises(OptionError, match="with a draft model"):
        DraftModel().open(session, 4)


# On real transformers.

GUIDED = Sampling(guidance=2.5, temperature=0.9, top_k=8)


def random_backbone(seed: int, layers: int, size: int) -> RasterTransformer:
    model = RasterTransformer(11, 3, 4, 2, size, layers, heads=2, hidden_size=48, condition_size=32)
    generator = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        if weight.ndim > 1:
            weight.data.copy_(torch.randn(weight.shape, generator=generator) * 0.25)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def open_session() -> Callable[..., RasterSession]:
    """Opens rows of a transformer of four blocks, with a draft model of one, and Hydra's heads: random weights all."""
    backbone, draft = random_backbone(7, 4, 32), random_backbone(8, 1, 16)
    heads = TokenHeads(size=32, depths=3, kind="hydra").requires_grad_(False)
    generator = torch.Generator().manual_seed(9)
    for weight in heads.parameters():
        weight.copy_(torch.randn(weight.shape, generator=generator) * 0.2)

    def opened(rows: int = 4, known: Tensor | None = None, sampling: Sampling = GUIDED) -> RasterSession:
        condition = torch.randn(rows, 2, 32, generator=torch.Generator().manual_seed(1))
        prompts = backbone.layout, Prompt(condition), Prompt(torch.zeros(rows, 2, 32)), sampling, known
        return RasterSession(backbone, *prompts, draft=RasterSession(draft, *prompts), heads=heads)

    return opened


def known_tokens() -> Tensor:
    known = torch.full((4, 12), -1)
    known[0, :5], known[1, 4:9], known[2, 7:] = 3, 1, 2
    return known


@pytest.mark.parametrize(
    "drafter", [*DRAFTERS, "early-exit/layer=3/length=3", "early-exit/layer=2/schedule=dynamic/memory=0"]
)
@pytest.mark.parametrize("given", [False, True], ids=["free", "known"])
def test_on_a_transformer_the_seed_draws_its_own_picture(open_session, drafter: str, given: bool) -> None:
    prompts = (4, known_tokens(), GUIDED) if given else (4, None, Sampling())
    reference = decoding.make("autoregressive").generate(open_session(*prompts), Rng(range(4)))
    for decoder, window in (("seeded-speculative", 12), ("jacobi", 5)):
        made = decoding.make(decoder, drafter=drafter, window=window)
        generation = made.generate(open_session(*prompts), Rng(range(4)))
        assert torch.equal(generation.tokens, reference.tokens), decoder
        assert bool((generation.evaluations <= reference.evaluations).all())


class Asked(NamedTuple):
    """What a drafter was asked, and answered, of the rows that drafted.

    Attributes:
        rows: int64 [M], of the batch.
        lines: int64 [M, 1 + N + window], with the drafts laid on them.
        committed: int64 [M].
        positions: int64 [M], where the laws belong.
        laws: [M, V].
        layers: int64 [M], blocks that were run.
    """

    rows: Tensor
    lines: Tensor
    committed: Tensor
    positions: Tensor
    laws: Tensor
    layers: Tensor

    def read_afresh(self, session: RasterSession) -> Tensor:
        """What a session says at the positions that reads the lines from their start: [M, V]."""
        whole = torch.full((session.batch, 13), session.begin_token)
        whole[self.rows] = self.lines[:, :13]
        session.open(1)
        return session.score(whole)[self.rows, self.positions]


def watch(
    monkeypatch: pytest.MonkeyPatch, kind: type[Stepwise], session: RasterSession, decoder: str, **options: object
) -> list[Asked]:
    """Draws pictures; all laws that a drafter was asked for, along the first of a tree's paths and the last."""
    seen, law = [], kind.law

    def watched(self: Stepwise, path: Path) -> Tensor:
        found, line = law(self, path), path.context.line
        drafting = getattr(self, "_drafting", path.positions < line.length)
        layers = getattr(self, "_layers", torch.zeros_like(line.committed))
        for index in {0, path.tokens.shape[1] - 1}:
            laid = line.buffer.scatter(1, 1 + line.positions(path.slot), path.tokens[:, index])
            values = line._rows, laid, line.committed, path.positions, found[:, index], layers
            seen.append(Asked(*(value[drafting] for value in values)))
        return found

    monkeypatch.setattr(kind, "law", watched)
    decoding.make(decoder, **options).generate(session, Rng(range(4)))
    assert sum(len(asked.rows) for asked in seen) > 20
    return seen


@pytest.mark.parametrize("decoder", ["speculative", "coupled-jacobi", "jacobi"])
@pytest.mark.parametrize("given", [False, True], ids=["free", "known"])
def test_the_draft_model_has_read_the_line(
    open_session, decoder: str, given: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = known_tokens() if given else None
    session, fresh = open_session(4, known), open_session(4, known).draft
    for asked in watch(monkeypatch, DraftModel, session, decoder, drafter="draft-model/length=3", window=6):
        torch.testing.assert_close(asked.laws, asked.read_afresh(fresh), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("decoder", ["speculative", "coupled-jacobi", "jacobi"])
@pytest.mark.parametrize("given", [False, True], ids=["free", "known"])
def test_rows_exit_at_layers_of_their_own(
    open_session, decoder: str, given: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spread(kept: Tensor, layers: int, longest: int) -> tuple[Tensor, Tensor]:
        rows = torch.arange(len(kept))
        return 1 + rows % 3, 1 + (rows + 1) % 3

    monkeypatch.setattr(early_exit, "choose", spread)
    known = known_tokens() if given else None
    session, fresh = open_session(4, known), open_session(4, known)
    at_once = set()
    drafter = "early-exit/layer=2/schedule=dynamic"
    for asked in watch(monkeypatch, EarlyExit, session, decoder, drafter=drafter, window=6):
        at_once.add(tuple(asked.layers.unique().tolist()))
        asked.read_afresh(fresh)
        for layer in (1, 2, 3):
            chosen = asked.layers == layer
            wanted = fresh.early(layer)[asked.rows, asked.positions]
            torch.testing.assert_close(asked.laws[chosen], wanted[chosen], rtol=1e-4, atol=1e-5)
    assert set().union(*at_once) == {1, 2, 3}
    assert decoder != "speculative" or (1, 2, 3) in at_once


@pytest.mark.parametrize("decoder", ["speculative", "tree"])
@pytest.mark.parametrize("given", [False, True], ids=["free", "known"])
def test_heads_see_the_feature_behind_the_last_committed_token(
    open_session, decoder: str, given: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = known_tokens() if given else None
    session, fresh, depths = open_session(4, known), open_session(4, known), set()
    for asked in watch(monkeypatch, Heads, session, decoder, drafter="heads", window=6):
        if not len(asked.rows) or not int(asked.committed.min()):  # a tree asks before the first evaluation, too
            continue
        depth = 1 + int((asked.positions - asked.committed)[0])
        depths.add(depth)
        since = asked.lines.gather(1, asked.committed[:, None] + torch.arange(depth))[:, None]
        above = asked.lines.gather(1, (asked.positions[:, None] + 1 - 4).clamp(min=0))
        asked.read_afresh(fresh)
        given_to_heads = (asked.committed - 1, since, asked.positions, above)
        wanted = fresh.foresee(*(of_whole_batch(asked.rows, value) for value in given_to_heads))
        torch.testing.assert_close(asked.laws, wanted[asked.rows, 0], rtol=1e-4, atol=1e-5)
    assert depths == {1, 2, 3}


def of_whole_batch(rows: Tensor, values: Tensor) -> Tensor:
    """Values [M, ...] of some rows of four, zeros in the others."""
    whole = torch.zeros(4, *values.shape[1:], dtype=values.dtype)
    whole[rows] = values
    return whole


@pytest.mark.parametrize("decoder", ["speculative", *DECODERS[2:]])
def test_heads_go_on_where_the_drafts_end(decoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    carried, begin = set(), Heads.begin

    def watched(self: Heads, context: Context) -> Tensor:
        writing = (context.line.committed < LAYOUT.length) & (context.node >= 0)
        predicted = context.start + context.node
        assert torch.equal(predicted[writing], (context.line.committed + context.filled - 1)[writing])
        carried.update(context.filled[writing].tolist())
        return begin(self, context)

    monkeypatch.setattr(Heads, "begin", watched)
    decoding.make(decoder, drafter="heads", window=9).generate(markov_rows([0, 1, 2, 3]), Rng([1, 2, 3, 4]))
    assert (carried == {0}) == (decoder == "speculative")
