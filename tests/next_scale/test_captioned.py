"""The transformer of captions, and scales that are drawn in several passes."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
import torch
from next_scale.conftest import random_transformer
from next_scale.scenes import COLOURS, SIZES, captioned, pyramid

from mmgen.backbones.captioned_scales import _coordinates
from mmgen.decoding.scales.scale_wise import ScaleWise, _surest
from mmgen.errors import OptionError
from mmgen.layout import ScaleLayout
from mmgen.rng import Purpose, Rng, race
from mmgen.sampling import Sampling
from mmgen.sessions.scales import ScaleSession
from mmgen.tokenizers.multi_scale_vq import MultiScaleVQ

SAMPLING = Sampling(guidance=2.0, temperature=0.9)


@pytest.fixture(scope="module")
def tokenizer():
    return pyramid()


@pytest.fixture(scope="module")
def model():
    return captioned(1)


@pytest.fixture(scope="module")
def captions():
    """Embeddings of three captions, and three times of none."""
    given = torch.randn(4, 7, 32, generator=torch.Generator().manual_seed(2))
    return given[:3], given[3:].expand(3, -1, -1)


def lines(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    coarse = torch.randint(COLOURS, (count, 5), generator=generator)
    return torch.cat((coarse, torch.randint(COLOURS, COLOURS + 20, (count, 16), generator=generator)), dim=1)


@pytest.mark.parametrize("cuts", [(0, 1, 2, 3), (0, 2, 3), (0, 1, 3)])
def test_scale_by_scale_is_all_at_once(tokenizer, model, captions, cuts):
    line = lines(3)
    shown = torch.where(torch.arange(21) % 2 == 0, line, -1)
    shown[:, 5:] = -1
    inputs, condition, cache = tokenizer.next_inputs(line), model.condition(captions[0]), model.new_cache(3, 21)
    parts = []
    for first, last in pairwise(cuts):
        span = model.layout.span(range(first, last))
        given = inputs[:, max(span.start - 1, 0) : span.stop - 1] if span.stop > 1 else None
        stream = model(given, condition, range(first, last), cache, shown[:, span])
        parts.append(model.logits(stream, condition))
    expected = model.teacher_forced(captions[0], inputs, shown)
    torch.testing.assert_close(torch.cat(parts, dim=1), expected, rtol=0, atol=2e-5)
    assert expected.std() > 0.5


def test_what_each_token_depends_on(tokenizer, model, captions):
    line, (given, null) = lines(3), captions
    inputs = tokenizer.next_inputs(line)
    plain = model.teacher_forced(given, inputs)

    def moved(other):
        return (other - plain).abs().amax(-1).amin(0) > 1e-4  # in every row

    assert moved(model.teacher_forced(null, inputs)).all()
    hidden = torch.full_like(line, -1)
    torch.testing.assert_close(model.teacher_forced(given, inputs, hidden), plain)
    hidden[:, 2] = line[:, 2]
    assert moved(model.teacher_forced(given, inputs, hidden)).tolist() == [False] + [True] * 20
    changed = inputs.clone()
    changed[:, 4:] += 1  # what the last scale reads
    assert moved(model.teacher_forced(given, changed)).tolist() == [False] * 5 + [True] * 16


def test_a_scale_may_be_evaluated_again(tokenizer, model, captions):
    line, condition = lines(3), model.condition(captions[0])
    inputs = tokenizer.next_inputs(line)
    shown = torch.where(torch.tensor([True, False, True, False]), line[:, 1:5], -1)

    def rest(*scored):
        cache = model.new_cache(3, 21)
        model(None, condition, range(1), cache)
        for codes in scored:
            stream = model(inputs[:, :4], condition, range(1, 2), cache, codes)
        return stream, model(inputs[:, 4:], condition, range(2, 3), cache)

    for first, second in zip(rest(None, shown), rest(shown), strict=True):
        torch.testing.assert_close(first, second)
    assert not torch.allclose(rest(None)[1], rest(shown)[1], atol=1e-3)


def session(tokenizer, models, captions, rows=slice(None), sampling=SAMPLING, **given) -> ScaleSession:
    return ScaleSession(tokenizer, models, captions[0][rows], sampling, nulls=captions[1][rows], **given)


def law(model, tokenizer, captions, line, shown, scale) -> torch.Tensor:
    """By the definition, without a cache: probabilities of a scale's own codes."""
    inputs, span, codes = (
        tokenizer.next_inputs(line),
        model.layout.span(range(scale, scale + 1)),
        tokenizer.codes_of(scale),
    )
    both = [model.teacher_forced(given, inputs, shown)[:, span, codes.start : codes.stop] for given in captions]
    weight = 1 + (SAMPLING.guidance - 1) * scale / (len(SIZES) - 1)
    return (torch.lerp(both[1], both[0], weight) / SAMPLING.temperature).softmax(-1)


def noise(tokenizer, seeds, scale) -> torch.Tensor:
    span, codes = tokenizer.layout.span(range(scale, scale + 1)), tokenizer.codes_of(scale)
    places = torch.arange(span.start, span.stop).expand(len(seeds), -1)
    drawn = Rng(seeds).exponential(Purpose.TOKEN, places, len(tokenizer.codebook))
    return drawn[..., codes.start : codes.stop]


def naive(model, tokenizer, captions, seeds, one_by_one: bool) -> torch.Tensor:
    """Whole scales at once, or the surest code of a coarse scale, and again."""
    line, shown = lines(3).mul(0) + torch.tensor([0] * 5 + [COLOURS] * 16), torch.full((3, 21), -1)
    for scale, size in enumerate(SIZES):
        span, start = model.layout.span(range(scale, scale + 1)), tokenizer.codes_of(scale).start
        if not one_by_one or scale == 2:
            line[:, span] = (
                race(law(model, tokenizer, captions, line, shown, scale), noise(tokenizer, seeds, scale)) + start
            )
            continue
        done = torch.zeros(3, size * size, dtype=torch.bool)
        while not done.all():
            shown[:, span] = torch.where(done, line[:, span], -1)
            probs = law(model, tokenizer, captions, line, shown, scale)
            entropies = torch.special.entr(probs).sum(-1).masked_fill(done, torch.inf)
            drawn, place = race(probs, noise(tokenizer, seeds, scale)) + start, entropies.argmin(-1)
            for row in range(3):
                line[row, span.start + place[row]] = drawn[row, place[row]]
                done[row, place[row]] = True
    return line


@pytest.mark.parametrize("one_by_one", [False, True])
def test_drawn_codes_by_their_definition(tokenizer, model, captions, one_by_one):
    decoder = ScaleWise(passes=64, entropy=0.0) if one_by_one else ScaleWise()
    drawn = decoder.generate(session(tokenizer, [model], captions), Rng([1, 2, 3]))
    assert torch.equal(drawn.tokens, naive(model, tokenizer, captions, [1, 2, 3], one_by_one))
    assert drawn.evaluations.tolist() == [6 if one_by_one else 3] * 3  # 1 + 4 + 1
    assert decoder.law == ("heuristic" if one_by_one else "exact")
    for scale, codes in enumerate(tokenizer.layout.unflatten(drawn.tokens)):
        assert set(codes.flatten().tolist()) <= set(tokenizer.codes_of(scale))


def test_passes_end_when_they_are_not_needed_or_not_allowed(tokenizer, model, captions):
    def draw(**options):
        return ScaleWise(**options).generate(session(tokenizer, [model], captions), Rng([1, 2, 3]))

    plain, free, short = draw(), draw(passes=8, entropy=100.0), draw(passes=2, entropy=0.0)
    assert torch.equal(free.tokens, plain.tokens) and free.evaluations.tolist() == [3] * 3
    assert short.evaluations.tolist() == [4] * 3 and not torch.equal(short.tokens, plain.tokens)


def test_a_row_in_passes_depends_on_itself_alone(tokenizer, model, captions):
    ragged = 0
    for first, entropy in product((5, 11, 21, 31), (1.0, 1.8, 2.5)):
        decoder, seeds = ScaleWise(passes=4, entropy=entropy), [first, first + 1, first + 2]
        together = decoder.generate(session(tokenizer, [model], captions), Rng(seeds))
        ragged += len(set(together.evaluations.tolist())) > 1
        for row, seed in enumerate(seeds):
            alone = decoder.generate(session(tokenizer, [model], captions, slice(row, row + 1)), Rng([seed]))
            assert torch.equal(alone.tokens[0], together.tokens[row])
            assert alone.evaluations[0] == together.evaluations[row]
    assert ragged > 2  # some rows finish a scale before others


def test_the_last_pass_leaves_what_is_drawn(tokenizer, model, captions):
    for seeds in ([1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12]):
        opened = session(tokenizer, [model], captions)
        drawn = ScaleWise(passes=2, entropy=0.0).generate(session(tokenizer, [model], captions), Rng(seeds)).tokens
        opened.open([0] * 3)
        opened.write(drawn[:, :1])
        probs = opened.score()
        surest = torch.special.entr(probs).sum(-1).argmin(-1, keepdim=True)
        first = race(probs, Rng(seeds).exponential(Purpose.TOKEN, opened.positions(), 32))
        assert torch.equal(drawn[:, 1:5].gather(1, surest), first.gather(1, surest))


def test_cells_of_all_scales_have_their_centres_on_one_square():
    places = _coordinates(ScaleLayout((1, 2, 4)), 2)
    assert places[:3].tolist() == [[-2, -2], [-1, -1], [1.5, 1.5]]
    assert places[3:7].tolist() == [[0.5, 0.5], [0.5, 2.5], [2.5, 0.5], [2.5, 2.5]]
    assert places[7:].tolist() == [[row, column] for row in range(4) for column in range(4)]


def test_known_codes_are_shown_and_kept(tokenizer, model, captions):
    known = torch.full((3, 21), -1)
    known[:, 2] = 7
    drawn = ScaleWise(passes=4, entropy=0.0).generate(
        session(tokenizer, [model], captions, known=known), Rng([1, 2, 3])
    )
    assert drawn.tokens[:, 2].tolist() == [7] * 3 and drawn.evaluations.tolist() == [5] * 3
    first = session(tokenizer, [model], captions, known=known)
    first.open([0] * 3)
    first.write(drawn.tokens[:, :1])
    expected = race(first.score(first.known_here()), Rng([1, 2, 3]).exponential(Purpose.TOKEN, first.positions(), 32))
    free = torch.tensor([0, 2, 3])
    assert (drawn.tokens[:, 1:5] == expected)[:, free].any(dim=1).all()  # the surest of them was drawn so


def test_a_small_model_goes_on_in_passes(tokenizer, model, captions):
    small = captioned(4, size=16, layers=1, condition_size=32)
    decoder = ScaleWise(passes=4, entropy=0.0, handover=1)
    drawn = decoder.generate(session(tokenizer, [model, small], captions), Rng([1, 2, 3]))
    assert drawn.evaluations.tolist() == [1] * 3 and drawn.draft_evaluations.tolist() == [5] * 3
    twins = decoder.generate(session(tokenizer, [model, model], captions), Rng([1, 2, 3]))
    plain = ScaleWise(passes=4, entropy=0.0).generate(session(tokenizer, [model], captions), Rng([1, 2, 3]))
    assert torch.equal(twins.tokens, plain.tokens)


def test_models_that_have_not_learned_it_are_drawn_at_once():
    tokenizer = MultiScaleVQ(24, 8, channels=32, multipliers=(1, 1), blocks=1, sizes=(1, 2, 3, 4))
    one = ScaleSession(tokenizer, [random_transformer(1)], torch.tensor([1]), SAMPLING)
    with pytest.raises(OptionError, match="write scales in part"):
        ScaleWise(passes=2).generate(one, Rng([0]))


def test_the_surest_are_drawn_while_entropies_before_them_fit():
    flat = torch.full((4,), 0.25)
    sure, coin = torch.tensor([1.0, 0, 0, 0]), torch.tensor([0.5, 0.5, 0, 0])
    probs = torch.stack((flat, coin, sure, coin))[None]
    free = torch.tensor([[True, True, True, True]])
    # Entropies are 1.39, 0.69, 0 and 0.69: in order, 0, 0.69, 0.69, 1.39 with 0, 0, 0.69, 1.39 before them.
    assert _surest(probs, free, 0.0).tolist() == [[False, True, True, False]]
    assert _surest(probs, free, 0.7).tolist() == [[False, True, True, True]]
    assert _surest(probs, free, 1.4).all()
    assert _surest(probs, torch.tensor([[True, False, False, False]]), 0.0).tolist() == [[True, False, False, False]]
