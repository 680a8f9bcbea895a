"""Row-parallel decoding: its schedule, what it reads, and autoregression where no row begins early."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from decoding.markov import MarkovSession, least_p_value, markov_tables
from torch import Tensor

from mmgen import decoding
from mmgen.backbones.backbone import Prompt
from mmgen.backbones.raster import RasterTransformer
from mmgen.decoding.decoder import Generation
from mmgen.decoding.row_parallel import schedule
from mmgen.errors import OptionError
from mmgen.layout import RasterLayout
from mmgen.rng import Rng, race
from mmgen.sampling import Sampling
from mmgen.sessions.raster import RasterSession

GUIDED = Sampling(guidance=2.5, temperature=0.9)
GRID = RasterLayout(6, 8)
ROWS = torch.tensor([0, 1, 2, 1, 0, 2])


def known_tokens() -> Tensor:
    """Tokens given to six rows: none, a long beginning, a long middle, the end, scattered ones, all."""
    known = torch.full((6, GRID.length), -1)
    known[1, :20] = torch.arange(20) % 3
    known[2, 10:35] = torch.arange(25) % 2
    known[3, 30:] = 1
    known[4, ::3] = 2
    known[5] = 0
    return known


def decode(window: int | None, order: list[int], known: Tensor | None = None) -> Generation:
    session = MarkovSession(markov_tables(), ROWS[order], GRID, None if known is None else known[order])
    decoder = decoding.make("autoregressive") if window is None else decoding.make("row-parallel", window=window)
    return decoder.generate(session, Rng([5 + row for row in order]))


def raster_session(
    backbone: RasterTransformer,
    sampling: Sampling = GUIDED,
    known: Tensor | None = None,
    kind: type[RasterSession] = RasterSession,
) -> RasterSession:
    generator = torch.Generator().manual_seed(2)
    condition, null_condition = torch.randn(2, 3, 2, 32, generator=generator)
    session = kind(backbone, backbone.layout, Prompt(condition), Prompt(null_condition), sampling, known)
    session.open(1)
    return session


def some_known() -> Tensor:
    """Tokens given to three rows of the tiny grid: a beginning, a middle across rows, some at rows' ends."""
    known = torch.full((3, 12), -1)
    known[0, :5], known[1, 3:9], known[2, [3, 7, 8]] = 3, 1, 2
    return known


class Recorder(RasterSession):
    """Remembers what was said in which evaluation and at which place; all rows are alike."""

    def open(self, window: int) -> None:
        super().open(window)
        self.said: dict[tuple[int, int], Tensor] = {}
        self.evaluations = 0

    def score_at(self, tokens: Tensor, places: Tensor, present: Tensor) -> Tensor:
        probs = super().score_at(tokens, places, present)
        self.said |= {(self.evaluations, place): probs[:, i] for i, place in enumerate(places[0].tolist())}
        self.evaluations += 1
        return probs


class Uncached:
    """In a cache's place: attention reads the tokens of this forward alone, through a mask."""

    def __init__(self, visible: Tensor) -> None:
        self.mask = torch.zeros(visible.shape).masked_fill(~visible, -torch.inf)[:, None]

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        return keys.transpose(1, 2), values.transpose(1, 2)


@pytest.mark.parametrize("window", [1, 2, 3, 5, 7, 8, 256])
def test_evaluations_are_a_row_and_a_window_for_every_further_row(window: int) -> None:
    generation = decode(window, list(range(6)))
    assert generation.evaluations.tolist() == [8 + 5 * min(window, 8)] * 6
    assert generation.committed.tolist() == [48] * 6
    assert bool(((generation.tokens >= 0) & (generation.tokens < 3)).all())


@pytest.mark.parametrize("known", [None, known_tokens()], ids=["free", "known"])
def test_a_window_of_the_width_is_autoregression(known: Tensor | None) -> None:
    reference = decode(None, list(range(6)), known)
    for window in (8, 9, 256):
        generation = decode(window, list(range(6)), known)
        assert torch.equal(generation.tokens, reference.tokens)
        assert torch.equal(generation.evaluations, reference.evaluations)
    assert not torch.equal(decode(7, list(range(6)), known).tokens, reference.tokens)


@pytest.mark.parametrize("sampling", [Sampling(), GUIDED, Sampling(guidance=4, top_k=5)], ids=str)
@pytest.mark.parametrize("known", [None, some_known()], ids=["free", "known"])
def test_on_a_transformer_a_window_of_the_width_is_autoregression(
    tiny_backbone: RasterTransformer, sampling: Sampling, known: Tensor | None
) -> None:
    lines = []
    for decoder in (decoding.make("autoregressive"), decoding.make("row-parallel", window=4)):
        session = raster_session(tiny_backbone, sampling, known)
        lines.append(decoder.generate(session, Rng(range(20, 23))))
    assert torch.equal(lines[0].tokens, lines[1].tokens)
    assert torch.equal(lines[0].evaluations, lines[1].evaluations)


def test_scoring_at_places_in_line_order_is_scoring_the_line(tiny_backbone: RasterTransformer) -> None:
    tokens = torch.randint(11, (3, 12), generator=torch.Generator().manual_seed(4))
    tokens[:, 0] = tiny_backbone.begin_token
    for known in (None, some_known()):
        wanted = raster_session(tiny_backbone, known=known).score(tokens)
        for sizes in ([12], [1] * 12, [5, 1, 6]):
            session, start, parts = raster_session(tiny_backbone, known=known), 0, []
            for size in sizes:
                places, present = torch.arange(start, start + size)[None], torch.arange(13)[None] < start
                parts.append(session.score_at(tokens[:, start : start + size], places, present))
                start += size
            torch.testing.assert_close(torch.cat(parts, 1), wanted, rtol=1e-5, atol=1e-5)


def test_places_may_differ_by_row_and_what_is_absent_is_not_seen(tiny_backbone: RasterTransformer) -> None:
    generator = torch.Generator().manual_seed(8)
    tokens = torch.randint(11, (3, 4), generator=generator)
    places = torch.tensor([[2, 3, 9, 12], [0, 4, 5, 7], [1, 6, 8, 10]])
    nothing = torch.zeros(1, 13, dtype=torch.bool)
    together, stale = raster_session(tiny_backbone), raster_session(tiny_backbone)
    probs = together.score_at(tokens, places, nothing)
    stale.score_at(torch.randint(11, (3, 13), generator=generator), torch.arange(13)[None], nothing)
    assert torch.equal(stale.score_at(tokens, places, nothing), probs)
    backwards = together.score_at(tokens.flip(1), places.flip(1), nothing)
    torch.testing.assert_close(backwards.flip(1), probs, rtol=1e-5, atol=1e-5)
    first = together.score_at(tokens[:, :1], places[:, :1], nothing)
    torch.testing.assert_close(first, probs[:, :1], rtol=1e-5, atol=1e-5)
    present = nothing.expand(3, -1).scatter(1, places[:, :3], True)
    last = together.score_at(tokens[:, 3:], places[:, 3:], present)
    torch.testing.assert_close(last, probs[:, 3:], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(together.score_at(tokens[:, 3:], places[:, 3:], nothing), last, atol=1e-3)


@pytest.mark.parametrize("sampling", [GUIDED, Sampling(temperature=1.2)], ids=str)
@pytest.mark.parametrize("window", [1, 2, 3, 4])
def test_every_law_is_the_models_under_the_mask_of_what_was_drawn(
    tiny_backbone: RasterTransformer, window: int, sampling: Sampling
) -> None:
    """The lines are recomputed without a cache, from the rule alone: when each token is drawn, read and seen."""
    session = raster_session(tiny_backbone, sampling, kind=Recorder)
    assert isinstance(session, Recorder)
    generation = decoding.make("row-parallel", window=window).generate(session, Rng(range(20, 23)))
    line = torch.cat((torch.full((3, 1), tiny_backbone.begin_token), generation.tokens), 1)
    readings = expected_readings(3, 4, window)
    probs = recompute(session, line, readings)
    assert set(session.said) == {reading[:2] for reading in readings}
    for law, reading in zip(probs.unbind(1), readings, strict=True):
        torch.testing.assert_close(session.said[reading.evaluation, reading.place], law, rtol=1e-4, atol=1e-5)
    # Each position's token is drawn from the first law of its place.
    first = [next(i for i, reading in enumerate(readings) if reading.place == place) for place in range(12)]
    noise = Rng(range(20, 23)).token_noise(torch.arange(12).expand(3, -1), 11, 12)
    assert torch.equal(race(probs[:, first], noise), generation.tokens)


class Reading(NamedTuple):
    """When a place is read, which place's token is taken for it, and whether later readings see it."""

    evaluation: int
    place: int
    source: int
    lasts: bool


def expected_readings(height: int, width: int, window: int) -> list[Reading]:
    """Row r begins in evaluation r * window, and the true end of the row above is read when that has `width`."""
    readings = []
    for evaluation in range(width + (height - 1) * window):
        for row in range(height):
            step, start = evaluation - row * window, row * width
            early = row > 0 and window < width
            if 0 <= step < width:
                stands_in = early and step == 0
                source = start - width + window if stands_in else start + step
                readings.append(Reading(evaluation, start + step, source, not stands_in))
            if early and step == width - window:
                readings.append(Reading(evaluation, start, start, True))
    return readings


@torch.no_grad()
def recompute(session: RasterSession, line: Tensor, readings: list[Reading]) -> Tensor:
    """Laws [B, readings, V] from one forward of the prompt and all readings."""
    backbone = session.backbone
    prompt = backbone.condition_length
    visible = torch.zeros(prompt + len(readings), prompt + len(readings), dtype=torch.bool)
    visible[:prompt, :prompt] = torch.ones(prompt, prompt).tril().bool()
    visible[prompt:, :prompt] = True
    for i, (now, own, _, _) in enumerate(readings):
        for j, (then, place, _, lasts) in enumerate(readings):
            latest = not any(other.place == place and then < other.evaluation <= now for other in readings)
            visible[prompt + i, prompt + j] = i == j or (then <= now and place <= own and latest and lasts)
    places = torch.tensor([reading.place for reading in readings])
    tokens = session._for_all_rows(line[:, [reading.source for reading in readings]])
    positions = torch.cat((torch.arange(prompt), prompt + places)).expand(len(tokens), -1)
    embedded = backbone._embed(tokens, positions[:, prompt:])
    stream = torch.cat((backbone.condition_projection(session._prompt.embeddings), embedded), 1)
    stream = backbone._run(stream, positions, Uncached(visible[None]))[-1]  # type: ignore[arg-type]
    return session._probabilities(backbone.head(backbone.norm(stream[:, prompt:])))


def test_lines_follow_the_law_the_docstring_states() -> None:
    """Every line of a 2 x 3 grid, enumerated: the second token of row 0 stands in for the third."""
    layout, batch, tables = RasterLayout(2, 3), 24000, markov_tables()
    session = MarkovSession(tables, torch.arange(batch) % 3, layout)
    generation = decoding.make("row-parallel", window=2).generate(session, Rng(range(batch)))
    for index, table in enumerate(tables.double()):
        a, b, c, d, e, f = torch.cartesian_prod(*[torch.arange(3)] * 6).unbind(1)
        nothing = torch.full_like(a, 3)
        # d is drawn together with c: b stands in for it, behind b itself. e and f see c.
        pairs = [(nothing, nothing, a), (nothing, a, b), (a, b, c), (b, b, d), (c, d, e), (d, e, f)]
        law = torch.stack([table[before, token, drawn] for before, token, drawn in pairs]).prod(0)
        assert abs(float(law.sum()) - 1) < 1e-6
        assert least_p_value(generation.tokens[index::3], law, 3) > 1e-7


@pytest.mark.parametrize("window", [1, 3, 8])
@pytest.mark.parametrize("given", [False, True], ids=["free", "known"])
def test_row_alone_is_row_in_a_batch_is_row_in_a_shuffled_batch(window: int, given: bool) -> None:
    known = known_tokens() if given else None
    together, order = decode(window, list(range(6)), known), [4, 2, 5, 0, 3, 1]
    shuffled = decode(window, order, known)
    assert torch.equal(shuffled.tokens, together.tokens[order])
    assert torch.equal(shuffled.evaluations, together.evaluations[order])
    for row in (0, 2, 3, 5):
        alone = decode(window, [row], known)
        assert torch.equal(alone.tokens[0], together.tokens[row])
        assert torch.equal(alone.evaluations[0], together.evaluations[row])


@pytest.mark.parametrize("known", [None, some_known()], ids=["free", "known"])
def test_on_a_transformer_row_alone_is_row_in_a_batch(tiny_backbone: RasterTransformer, known: Tensor | None) -> None:
    session = raster_session(tiny_backbone, known=known)
    prompt = session._prompt
    together = decoding.make("row-parallel", window=2).generate(session, Rng(range(20, 23)))
    for row in range(3):
        given = None if known is None else known[row : row + 1]
        prompts = prompt.select(torch.tensor([row])), prompt.select(torch.tensor([row + 3]))
        alone = RasterSession(tiny_backbone, session.layout, *prompts, GUIDED, given)
        generation = decoding.make("row-parallel", window=2).generate(alone, Rng([20 + row]))
        assert torch.equal(generation.tokens[0], together.tokens[row])
        assert torch.equal(generation.evaluations[0], together.evaluations[row])


@pytest.mark.parametrize("window", [1, 3, 6, 8])
def test_known_tokens_are_kept_and_cost_no_evaluations(window: int) -> None:
    known = known_tokens()
    generation = decode(window, list(range(6)), known)
    assert bool((generation.tokens[known >= 0] == known[known >= 0]).all())
    assert bool((generation.committed == GRID.length).all())
    assert bool((generation.evaluations <= (known < 0).sum(1).clamp(min=1)).all())
    assert bool((generation.evaluations <= decode(window, list(range(6))).evaluations).all())


@pytest.mark.parametrize("window", [1, 3, 8])
def test_committed_tokens_never_change_and_have_no_gap(window: int) -> None:
    session = MarkovSession(markov_tables(), ROWS, GRID, known_tokens())
    last = decode(window, list(range(6)), known_tokens())
    steps, behind = 0, torch.zeros(6, dtype=torch.long)
    for generation in decoding.make("row-parallel", window=window).steps(session, Rng(range(5, 11))):
        final = torch.arange(GRID.length) < generation.committed[:, None]
        assert torch.equal(generation.tokens[final], last.tokens[final])
        assert bool((generation.committed > behind)[behind < GRID.length].all())
        behind, steps = generation.committed, steps + 1
    assert steps == int(generation.evaluations.max()) == len(session.widths)


@pytest.mark.parametrize("window", [1, 2, 5, 8])
def test_a_schedule_reads_each_true_token_once_and_draws_each_free_one_once(window: int) -> None:
    known = known_tokens() >= 0
    read, drawn = torch.zeros(6, 49, dtype=torch.long), torch.zeros(6, 49, dtype=torch.long)
    for step in schedule(GRID, window, known):
        seen = step.present.long()
        assert torch.equal(seen[:, :48], read[:, :48]) and not bool(seen[:, 48].any())
        true = step.places == step.sources
        read.scatter_add_(1, step.places, true.long())
        drawn.scatter_add_(1, step.places, step.draws.long())
        assert bool(((step.sources > step.places - GRID.width) & (step.sources <= step.places)).all())
        assert bool((true | (step.places % GRID.width == 0)).all())
    assert torch.equal(drawn[:, :48], (~known).long())
    assert int(read[:, :48].max()) == 1


def test_windows_out_of_range_are_refused() -> None:
    for window in (0, 257, 2.5):
        with pytest.raises(OptionError, match="window"):
            decoding.make("row-parallel", window=window)


def test_nothing_stands_in_for_a_known_end_of_a_row() -> None:
    layout = RasterLayout(3, 4, row_end=9)
    for step in schedule(layout, 2, layout.known() >= 0):
        assert torch.equal(step.sources, step.places)
