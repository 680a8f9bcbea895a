"""Masked spans: the release's masks and outputs, known codes, seeds, and lengths that are no multiple of a span."""

from __future__ import annotations

import itertools
import json

import pytest
import torch
from torch import Tensor

from mmgen.codebook_layout import CodebookLayout
from mmgen.decoding import spans
from mmgen.decoding.spans.masked_spans import hidden_share
from mmgen.errors import OptionError, SizeError
from mmgen.rng import Rng
from mmgen.sampling import Sampling
from mmgen.sessions.masked_codebooks import MaskedCodebookSession


class Told:
    """What a `Table` hears: which rows have a prompt."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def select(self, rows: Tensor) -> Told:
        return Told(self.rows[rows])


class Table:
    """A backbone whose logits are sums of numbers from tables, as those of the goldens are; it keeps what it was shown.

    Args:
        sizes: codebooks, frames of the tables, and codes.
        first_seed: of the first codebook's tables.
    """

    def __init__(self, codebooks: int, frames: int, size: int, first_seed: int = 123) -> None:
        self.codebooks, self.vocabulary_size, self.shown = codebooks, size, []
        self.tables = []
        for book in range(codebooks):
            generator = torch.Generator().manual_seed(first_seed + book)
            words = torch.randn(codebooks, size + 1, size, generator=generator)
            self.tables.append((words, torch.randn(codebooks, frames, size, generator=generator) * 2))

    def remember(self, features: Tensor, mask: Tensor) -> Told:
        return Told(mask.any(1))

    def masked_logits(self, codes: Tensor, book: int, told: Told) -> Tensor:
        shown = torch.where(codes < 0, self.vocabulary_size, codes)
        self.shown.append((book, shown[told.rows]))
        words, own = self.tables[book]
        logits = own[book, : codes.shape[2]] + 0.5 * sum(table[shown[:, number]] for number, table in enumerate(words))
        return torch.where(told.rows[:, None, None], logits, 0.3 * logits)


def session_of(table: Table, frames: int, rows: int = 2, known: Tensor | None = None, **sampling):
    layout = CodebookLayout.grouped(frames, table.codebooks, 1)
    prompts = torch.ones(rows, 1, 1), torch.ones(rows, 1, dtype=torch.bool)
    given = None if known is None else layout.known(known)
    return MaskedCodebookSession(table, layout, *prompts, Sampling(**sampling), given)


def drawn(session: MaskedCodebookSession, seeds: list[int], **options) -> Tensor:
    generation = spans.make("masked-spans", **options).generate(session, Rng(seeds))
    assert (generation.committed == session.layout.length).all()
    return session.layout.unflatten(generation.tokens)


@pytest.mark.parametrize("case", ["nonoverlap_free", "nonoverlap_prompt"])
def test_masks_and_codes_are_those_of_audiocraft(sound_goldens, case):
    golden = json.loads((sound_goldens / "audiocraft_magnet.json").read_text())
    expected = golden["results"][case]
    out = torch.tensor(expected["out"])
    table = Table(golden["K"], out.shape[2], golden["V"])
    known = torch.full_like(out, -1)
    if "prompt" in case:
        prompt = torch.tensor(golden["prompt"])
        known[..., : prompt.shape[2]] = prompt
    # The likeliest codes, judged at the temperature of the pass, are what the golden's `use_sampling` false means.
    settings = {"guidance": golden["max_cfg"], "temperature": golden["temp"], "top_k": 1}
    session = session_of(table, out.shape[2], known=known, **settings)
    codes = drawn(session, [0, 1], passes=golden["steps"][0], fine_passes=golden["steps"][1])
    assert torch.equal(codes, out)
    assert len(table.shown) == len(expected["trace"]) == sum(golden["steps"])
    for (book, shown), step in zip(table.shown, expected["trace"], strict=True):
        assert book == step["stage"] and torch.equal(shown, torch.tensor(step["input"]))


@pytest.fixture
def table() -> Table:
    return Table(3, 12, 9, first_seed=5)


SETTINGS = {"guidance": 3.0, "temperature": 1.5, "top_p": 0.9}
PASSES = {"passes": 4, "fine_passes": 3}


def some_known(rows: int, frames: int) -> Tensor:
    known = torch.full((rows, 3, frames), -1)
    known[0, :, 4:6] = torch.tensor([[1, 2], [3, 4], [5, 6]])
    known[-1, 1] = 7
    return known


@pytest.mark.parametrize("frames", [2, 10, 12])
def test_a_row_alone_is_as_it_is_beside_others(table, frames):
    known = some_known(3, frames) if frames > 5 else torch.full((3, 3, frames), -1)
    together = drawn(session_of(table, frames, 3, known, **SETTINGS), [4, 9, 5], **PASSES)
    for row, seed in enumerate([4, 9, 5]):
        alone = drawn(session_of(table, frames, 1, known[[row]], **SETTINGS), [seed], **PASSES)
        assert torch.equal(alone[0], together[row])
    assert len({tuple(codes.flatten().tolist()) for codes in together}) == 3 or frames == 2


def test_known_codes_stay_and_are_seen_from_the_beginning(table):
    known = some_known(2, 12)
    codes = drawn(session_of(table, 12, known=known, **SETTINGS), [4, 9], **PASSES)
    assert torch.equal(codes[known >= 0], known[known >= 0])
    assert bool((codes >= 0).all()) and bool((codes < 9).all())
    first = table.shown[0][1]
    assert torch.equal(first, torch.where(known < 0, 9, known))


def test_a_codebook_that_is_known_costs_nothing(table):
    known = some_known(2, 12)
    known[:, 1] = 7
    session = session_of(table, 12, known=known, **SETTINGS)
    generations = list(spans.make("masked-spans", **PASSES).steps(session, Rng([4, 9])))
    assert {book for book, _ in table.shown} == {0, 2}
    assert generations[-1].evaluations.tolist() == [7, 7]
    known[:] = 3
    finished = spans.make("masked-spans").generate(session_of(table, 12, known=known), Rng([4, 9]))
    assert finished.evaluations.tolist() == [0, 0] and bool((finished.tokens == 3).all())


def test_a_row_is_charged_for_the_codebooks_it_lacks(table):
    session = session_of(table, 12, known=some_known(2, 12), **SETTINGS)
    generation = spans.make("masked-spans", **PASSES).generate(session, Rng([4, 9]))
    assert generation.evaluations.tolist() == [4 + 3 + 3, 4 + 3]


def test_what_is_kept_stays_and_the_schedule_is_kept(table):
    session = session_of(table, 12, rows=1, **SETTINGS)
    steps = spans.make("masked-spans", passes=5, fine_passes=2).steps(session, Rng([4]))
    lines = [session.layout.unflatten(next(steps).tokens)[0, 0] for _ in range(5)]
    for before, after in itertools.pairwise(lines):
        assert torch.equal(after[before >= 0], before[before >= 0])
    hidden = [(line < 0).view(4, 3) for line in lines]
    assert all(torch.equal(own.all(1), own.any(1)) for own in hidden)  # spans are hidden as a whole
    # Of 4 spans, int(4 cos(pi / 2 i / 4)) for i = 1, 2, 3, at least one for the last pass, and none behind it.
    assert [int(own.any(1).sum()) for own in hidden] == [3, 2, 1, 1, 0]


def test_a_companion_says_which_spans_are_kept(table):
    class Opinion:
        """Finds the third span likeliest, then the first."""

        evaluations = torch.zeros(2, dtype=torch.long)

        def probabilities(self, codes: Tensor, book: int) -> Tensor:
            assert bool((codes[:, : book + 1] >= 0).all()) and bool((codes[:, book + 1 :] < 0).all())
            self.evaluations = self.evaluations + 1
            return torch.tensor([0.8, 0.1, 0.9, 0.2]).repeat_interleave(3).expand(2, -1)

    session = session_of(table, 12, **SETTINGS)
    session.companion = Opinion()
    steps = spans.make("masked-spans", passes=4, fine_passes=3, rescoring=1.0).steps(session, Rng([4, 9]))
    kept = [(session.layout.unflatten(next(steps).tokens)[:, 0] >= 0).view(2, 4, 3).all(2) for _ in range(2)]
    assert kept[0].tolist() == [[False, False, True, False]] * 2
    assert kept[1].tolist() == [[True, False, True, False]] * 2
    *_, last = steps
    assert last.draft_evaluations.tolist() == [3 + 2 + 2] * 2  # nothing is judged in the last pass


def test_a_last_span_that_is_not_full_is_drawn(table):
    codes = drawn(session_of(table, 11, **SETTINGS), [4, 9], **PASSES)
    assert tuple(codes.shape) == (2, 3, 11) and bool((codes >= 0).all())


def test_guidance_and_temperature_fall_over_the_passes(table, monkeypatch):
    session = session_of(table, 12, guidance=5.0, temperature=2.0)
    asked = []
    score = session.score
    monkeypatch.setattr(session, "score", lambda codes, book, own: asked.append(own) or score(codes, book, own))
    drawn(session, [4, 9], passes=4, fine_passes=1, least_guidance=2.0)
    shares = [float(hidden_share(number, 4)) for number in range(4)]
    assert shares == pytest.approx([1, 0.75**0.5, 0.5, 0], abs=1e-6)
    assert [own.guidance for own in asked[:4]] == pytest.approx([2 + 3 * share for share in shares])
    assert [own.temperature for own in asked[:4]] == pytest.approx([1.5, 1.0, 0.5, 0.01])
    assert [(own.guidance, own.temperature) for own in asked[4:]] == [(5.0, 0.01)] * 2


def test_rows_without_a_prompt_are_left_out_where_there_is_no_guidance(table):
    rows = []
    plain = table.masked_logits
    table.masked_logits = lambda codes, book, told: rows.append(len(codes)) or plain(codes, book, told)
    drawn(session_of(table, 12, **SETTINGS), [4, 9], passes=3, fine_passes=2)
    assert rows == [4, 4, 2, 4, 2, 4, 2]


def test_temperature_zero_draws_the_likeliest_codes_whatever_the_seed(table):
    expected = drawn(session_of(table, 12, temperature=0), [4, 9], **PASSES)
    assert torch.equal(drawn(session_of(table, 12, temperature=0), [1, 2], **PASSES), expected)
    assert torch.equal(expected[0], expected[1])
    assert not torch.equal(drawn(session_of(table, 12), [1, 2], **PASSES), expected)


def test_codes_follow_the_law_of_one_pass():
    """In the only pass of a codebook the temperature is 0.01; so logits are made small."""
    table = Table(1, 4, 5)
    words, own = table.tables[0]
    table.tables[0] = (words * 0, own * 0.01)
    rows = 4000
    codes = drawn(session_of(table, 4, rows), list(range(rows)), passes=1)
    law = own[0].softmax(-1)
    seen = torch.stack([torch.bincount(column, minlength=5) for column in codes[:, 0].T]) / rows
    assert float((seen - law).abs().max()) < 4 * (0.25 / rows) ** 0.5


def test_truncation_leaves_the_likeliest_codes():
    table = Table(1, 6, 9)
    likely = table.tables[0][1][0] + 0.5 * table.tables[0][0][0][9]
    best = likely.topk(2, dim=-1).indices
    session = session_of(table, 6, 50, top_k=2, temperature=10.0)
    generation = next(spans.make("masked-spans", passes=2).steps(session, Rng(list(range(50)))))
    codes = session.layout.unflatten(generation.tokens)[:, 0]
    assert bool(((codes[..., None] == best) | (codes[..., None] < 0)).any(-1).all())
    assert len(codes[codes >= 0].unique()) > 2


def test_what_does_not_fit_is_refused(table):
    with pytest.raises(SizeError, match=r"\[2, 36\]"):
        MaskedCodebookSession(
            table, CodebookLayout.grouped(12, 3, 1), torch.ones(2, 1, 1), torch.ones(2, 1, dtype=torch.bool),
            Sampling(), torch.zeros(2, 35, dtype=torch.long),
        )  # fmt: skip
    with pytest.raises(SizeError, match="3, those of the model"):
        MaskedCodebookSession(
            table, CodebookLayout.grouped(12, 2, 1), torch.ones(2, 1, 1), torch.ones(2, 1, dtype=torch.bool), Sampling()
        )
    with pytest.raises(OptionError, match="no companion"):
        drawn(session_of(table, 12), [1, 2], rescoring=0.5)
    with pytest.raises(OptionError, match="passes"):
        spans.make("masked-spans", passes=0)
    assert list(spans.decoders()) == ["masked-spans"] and spans.make("masked-spans").law == "heuristic"
