"""Pictures drawn scale by scale: the authors' tokens with the authors' noise, and every option by its definition."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from next_scale.official import OfficialNoise
from torch import Tensor

from mmgen import decoding
from mmgen.decoding import scales
from mmgen.decoding.scales.scale_wise import ScaleWise
from mmgen.errors import OptionError, SizeError, UnknownNameError
from mmgen.rng import Purpose, Rng, race
from mmgen.sampling import Sampling
from mmgen.sessions.scales import ScaleSession

LABELS = torch.tensor([3, 7, 0])
SAMPLING = Sampling(guidance=2.5, top_k=12, top_p=0.9)


def published(settings) -> Sampling:
    """The authors' settings in our words."""
    return Sampling(guidance=1 + settings["cfg"], top_k=settings["top_k"], top_p=settings["top_p"] or 1.0)


@pytest.mark.parametrize("run", ["greedy_cfg0", "greedy_cfg1.5", "fid", "demo", "smooth"])
def test_drawn_tokens_are_the_authors_with_their_noise(shared_pipeline, goldens, run):
    golden = torch.load(goldens / "var" / "var_saln.golden.pt", weights_only=True)
    case, pipe = golden["runs"][run], shared_pipeline
    session = ScaleSession(pipe.tokenizer, [pipe.transformer], golden["label"], published(case["kw"]))
    decoder = ScaleWise(smooth="more_smooth" in case["kw"])
    generation = decoder.generate(session, OfficialNoise(case["kw"]["g_seed"]))
    assert torch.equal(generation.tokens, torch.cat(case["idx"], dim=1))
    torch.testing.assert_close(generation.features, case["f_hat"], rtol=0, atol=1e-3 if decoder.smooth else 1e-6)
    pictures = pipe.tokenizer.decode_features(generation.features) / 2 + 0.5
    torch.testing.assert_close(pictures, case["img"].float(), rtol=0, atol=5e-4)  # kept in 16 bits


def test_greedy_tokens_need_no_noise(shared_pipeline, goldens):
    golden = torch.load(goldens / "var" / "var_saln.golden.pt", weights_only=True)
    sampling = Sampling(guidance=2.5, temperature=0)
    session = ScaleSession(shared_pipeline.tokenizer, [shared_pipeline.transformer], golden["label"], sampling)
    tokens = ScaleWise().generate(session, Rng([0, 1])).tokens
    assert torch.equal(tokens, torch.cat(golden["runs"]["greedy_cfg1.5"]["idx"], dim=1))


@pytest.mark.parametrize("handover", [1, 6, 8, 9])
@pytest.mark.parametrize("kind", ["greedy", "fid"])
def test_collaborative_tokens_are_the_authors_with_their_noise(pair_pipeline, goldens, kind, handover):
    golden = torch.load(goldens / "var" / "code.golden.pt", weights_only=True)
    case = golden["runs"][f"{kind}_N{handover}"]
    settings = case["kw"] | {"top_k": case["kw"]["top_k"][0]}
    models = [pair_pipeline.transformer, pair_pipeline.draft]
    session = ScaleSession(pair_pipeline.tokenizer, models, golden["label"], published(settings), settings["temp"])
    steps = list(ScaleWise(handover=handover).steps(session, OfficialNoise(settings["g_seed"])))
    assert torch.equal(steps[-1].tokens, torch.cat(case["idx"], dim=1))
    torch.testing.assert_close(steps[handover - 1].features, case["f_hat_draft"], rtol=0, atol=1e-6)
    torch.testing.assert_close(steps[-1].features, case["f_hat"], rtol=0, atol=1e-6)
    assert steps[-1].evaluations.tolist() == [handover] * 2
    assert steps[-1].draft_evaluations.tolist() == [10 - handover] * 2


def draw(tokenizer, models, decoder=None, labels=LABELS, seeds=(1, 2, 3), sampling=SAMPLING, **given):
    session = ScaleSession(tokenizer, models, labels, sampling, **given)
    return (decoder or ScaleWise()).generate(session, Rng(list(seeds)))


def naive(tokenizer, writers, unguided=0, temperatures=(1.0,) * 4, seeds=(1, 2, 3), sampling=SAMPLING) -> Tensor:
    """Without a cache: for every scale, whole lines are read with and without the class."""
    layout, rng = tokenizer.layout, Rng(list(seeds))
    line = torch.zeros(len(LABELS), layout.length, dtype=torch.long)
    for scale, model in enumerate(writers):
        span = layout.span(range(scale, scale + 1))
        inputs = tokenizer.next_inputs(line)
        with_class = model.teacher_forced(LABELS, inputs)[:, span]
        without = model.teacher_forced(torch.full_like(LABELS, 10), inputs)[:, span]
        strength = (sampling.guidance - 1) * scale / 3 * (scale < len(writers) - unguided)
        logits = (1 + strength) * with_class - strength * without
        logits = logits.masked_fill(logits < logits.topk(sampling.top_k).values[..., -1:], -torch.inf)
        ascending, order = logits.sort()
        dropped = ascending.softmax(-1).cumsum(-1) <= 1 - sampling.top_p
        dropped[..., -1] = False
        logits = logits.masked_fill(dropped.gather(-1, order.argsort()), -torch.inf)
        positions = torch.arange(span.start, span.stop).expand(len(LABELS), -1)
        noise = rng.exponential(Purpose.TOKEN, positions, 24)
        line[:, span] = race((logits / temperatures[scale]).softmax(-1), noise)
    return line


@pytest.mark.parametrize("unguided", [0, 1, 3, 4])
@pytest.mark.parametrize("temperatures", [None, (1.3, 0.7, 1.0, 0.5)])
@pytest.mark.parametrize("handover", [0, 1, 3])
def test_every_option_by_its_definition(tokenizer, transformer, small, handover, temperatures, unguided):
    decoder = ScaleWise(handover=handover, unguided=unguided)
    drawn = draw(tokenizer, [transformer, small], decoder, temperatures=temperatures)
    writers = [transformer] * (handover or 4) + [small] * (4 - (handover or 4))
    assert torch.equal(drawn.tokens, naive(tokenizer, writers, unguided, temperatures or (1.0,) * 4))
    torch.testing.assert_close(drawn.features, tokenizer.features(drawn.tokens), rtol=0, atol=1e-5)


def test_skipped_scales_leave_the_others_as_they_are(tokenizer, transformer, small):
    whole = draw(tokenizer, [transformer, small])
    steps = list(ScaleWise(skipped=2).steps(ScaleSession(tokenizer, [transformer], LABELS, SAMPLING), Rng([1, 2, 3])))
    assert len(steps) == 2
    assert torch.equal(steps[-1].tokens[:, :5], whole.tokens[:, :5]) and bool((steps[-1].tokens[:, 5:] == -1).all())
    torch.testing.assert_close(steps[-1].features, tokenizer.features(whole.tokens[:, :5]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("handover", [1, 2, 3])
def test_a_model_that_hands_over_to_itself_changes_nothing(tokenizer, transformer, handover):
    alone = draw(tokenizer, [transformer])
    pair = draw(tokenizer, [transformer, transformer], ScaleWise(handover=handover))
    assert torch.equal(alone.tokens, pair.tokens)


def test_any_number_of_models(tokenizer, transformer, small):
    """Also one that returns after another."""
    session, rng = ScaleSession(tokenizer, [transformer, small], LABELS, SAMPLING), Rng([1, 2, 3])
    session.open([0, 1, 1, 0])
    while not session.finished:
        noise = rng.exponential(Purpose.TOKEN, session.positions(), 24)
        session.write(race(session.score(), noise))
    assert torch.equal(session.tokens, naive(tokenizer, [transformer, small, small, transformer]))


@pytest.mark.parametrize("decoder", [ScaleWise(), ScaleWise(handover=2, unguided=1), ScaleWise(smooth=True)], ids=str)
def test_a_row_alone_is_the_row_in_a_batch(tokenizer, transformer, small, decoder):
    together = draw(tokenizer, [transformer, small], decoder)
    for row, seed in enumerate((1, 2, 3)):
        alone = draw(tokenizer, [transformer, small], decoder, LABELS[row : row + 1], [seed])
        assert torch.equal(alone.tokens[0], together.tokens[row])
        torch.testing.assert_close(alone.features[0], together.features[row], rtol=0, atol=1e-4)


def test_rows_without_the_class_are_evaluated_only_while_they_are_needed(tokenizer, transformer, small):
    def rows(guidance, decoder):
        sampling = Sampling(guidance=guidance)
        session = ScaleSession(tokenizer, [transformer, small], LABELS, sampling)
        session.open(decoder._writers(session), decoder.unguided)
        seen = []
        while not session.finished:
            session.score()
            seen.append((session._cache.rows, session._cache.capacity))
            session.write(torch.zeros_like(session.positions()))
        assert session._cache is None
        return seen

    assert rows(2.0, ScaleWise()) == [(6, 30)] * 4
    assert rows(1.0, ScaleWise()) == [(3, 30)] * 4
    assert rows(2.0, ScaleWise(unguided=2)) == [(6, 30)] * 2 + [(3, 30)] * 2
    assert rows(2.0, ScaleWise(handover=1)) == [(3, 1)] + [(6, 30)] * 3  # no guidance at scale 0
    assert rows(2.0, ScaleWise(handover=2, unguided=2, skipped=1)) == [(3, 5)] * 2 + [(3, 14)]


def test_known_tokens_stay_and_scales_of_them_cost_nothing(tokenizer, transformer, small):
    drawn = draw(tokenizer, [transformer, small])
    known = drawn.tokens.clone()
    known[:, 5:] = -1
    again = draw(tokenizer, [transformer, small], known=known)
    assert torch.equal(again.tokens, drawn.tokens) and again.evaluations.tolist() == [2] * 3
    other = draw(tokenizer, [transformer, small], known=known, seeds=[4, 5, 6], decoder=ScaleWise(handover=1))
    assert torch.equal(other.tokens[:, :5], known[:, :5]) and not torch.equal(other.tokens, drawn.tokens)
    assert other.evaluations.tolist() == [0] * 3 and other.draft_evaluations.tolist() == [2] * 3
    known[0, 7] = 20
    mixed = draw(tokenizer, [transformer, small], ScaleWise(smooth=True), known=known)
    assert mixed.tokens[0, 7] == 20


def test_steps_yield_every_scale(tokenizer, transformer):
    session = ScaleSession(tokenizer, [transformer], LABELS, SAMPLING)
    for scale, step in enumerate(ScaleWise().steps(session, Rng([1, 2, 3]))):
        end = tokenizer.layout.ends[scale]
        assert step.committed.tolist() == [end] * 3 and step.evaluations.tolist() == [scale + 1] * 3
        assert bool((step.tokens[:, end:] == -1).all())
        torch.testing.assert_close(step.features, tokenizer.features(step.tokens[:, :end]), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("bits", "equal"), [(8, 0.5), (16, 0.9)])
def test_keys_and_values_in_fewer_bits(tokenizer, transformer, bits, equal):
    exact, small = draw(tokenizer, [transformer]), draw(tokenizer, [transformer], cache_bits=bits)
    assert torch.equal(small.tokens[:, :1], exact.tokens[:, :1])
    assert (small.tokens == exact.tokens).float().mean() > equal


def test_an_error_in_the_middle_leaves_nothing_behind(tokenizer, transformer, small):
    class Failing(Rng):
        def exponential(self, purpose, positions, *given, **named):
            if positions[0, 0] >= 5:
                raise RuntimeError("in the middle")
            return super().exponential(purpose, positions, *given, **named)

    models = (transformer, small)
    before = [{name: set(vars(module)) for name, module in model.named_modules()} for model in models]
    expected = draw(tokenizer, models, ScaleWise(handover=1)).tokens
    session = ScaleSession(tokenizer, models, LABELS, SAMPLING)
    with pytest.raises(RuntimeError, match="in the middle"):
        ScaleWise(handover=1).generate(session, Failing([1, 2, 3]))
    gone = weakref.ref(session._cache)
    del session
    gc.collect()
    assert gone() is None
    assert before == [{name: set(vars(module)) for name, module in model.named_modules()} for model in models]
    assert torch.equal(draw(tokenizer, models, ScaleWise(handover=1)).tokens, expected)


def test_decoders_of_scales_are_no_decoders_of_lines():
    assert list(scales.decoders()) == ["scale-wise"] and "scale-wise" not in decoding.decoders()
    decoder = scales.make("scale-wise", handover=8)
    assert decoder == ScaleWise(handover=8) and scales.make(decoder) is decoder
    assert (decoder.law, ScaleWise().law, ScaleWise.law) == ("heuristic", "exact", "exact")
    assert [option["name"] for option in ScaleWise.describe()["options"]] == list(decoder.options())
    with pytest.raises(UnknownNameError, match="did you mean 'scale-wise'"):
        scales.make("scale-wize")
    with pytest.raises(OptionError, match="one of scale-wise's options"):
        scales.make("scale-wise", window=3)


@pytest.mark.parametrize(
    "options, words", [({"skipped": 4}, "0 to 3"), ({"handover": 4}, "less than 4"), ({"handover": 1}, "draft model")]
)
def test_options_that_do_not_fit(tokenizer, transformer, options, words):
    models = [transformer] * (2 if options != {"handover": 1} else 1)
    with pytest.raises(OptionError, match=words):
        draw(tokenizer, models, ScaleWise(**options))


def test_what_a_session_refuses(tokenizer, transformer, shared_pipeline):
    with pytest.raises(OptionError, match="4 numbers"):
        draw(tokenizer, [transformer], temperatures=[1.0])
    with pytest.raises(SizeError, match=r"\[3, 30\]"):
        draw(tokenizer, [transformer], known=torch.zeros(3, 5))
    with pytest.raises(OptionError, match="sizes"):
        draw(tokenizer, [transformer, shared_pipeline.transformer])
    session = ScaleSession(tokenizer, [transformer], LABELS, SAMPLING)
    for writers in ([], [0] * 5, [0, 1]):
        with pytest.raises(OptionError, match="writers"):
            session.open(writers)
