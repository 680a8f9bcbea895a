"""The benchmark compares like with like, and says what it measured."""

import json

import pytest

from mmgen import decoding
from mmgen.decoding.options import parts
from mmgen.errors import OptionError, OutputError, UnknownNameError
from mmgen.evaluation import baseline, bench, plot, trials
from mmgen.evaluation.entrants import choose_entrants, parse_decoders
from mmgen.evaluation.rows import BASELINE, table


@pytest.fixture(scope="module")
def rows(tiny_pipeline):
    names = ["jacobi:window=4", "drafter=uniform", "coupled-jacobi"]
    return bench.run(tiny_pipeline, names, prompts=3, repeats=2, batches=(2, 1), seed=3)


def test_rows_are_decoders_by_batch_with_the_baseline_last(rows):
    assert [(row.label, row.batch) for row in rows] == [
        ("autoregressive", 1),
        ("jacobi:window=4+drafter=uniform", 1),
        ("coupled-jacobi", 1),
        ("autoregressive", 2),
        ("jacobi:window=4+drafter=uniform", 2),
        ("coupled-jacobi", 2),
        (BASELINE, 1),
    ]
    needed = {"pipeline", "decoder", "law", "batch", "evaluations", "tokens_per_evaluation", "seconds", "speedup"}
    for row in json.loads(json.dumps([row.to_dict() for row in rows])):
        assert needed | {"adherence"} <= set(row)
        assert row["seconds_low"] <= row["seconds"] <= row["seconds_high"]
        assert row["speedup_low"] <= row["speedup"] <= row["speedup_high"]


def test_autoregression_is_the_unit(rows):
    for row in rows:
        if row.decoder == "autoregressive":
            assert (row.evaluations, row.tokens_per_evaluation, row.evaluation_ratio) == (16, 1, 1)
            assert row.speedup == row.speedup_low == row.speedup_high == 1
            assert row.same_pictures is True


def test_exact_seeded_decoders_draw_the_same_pictures_in_fewer_evaluations(rows):
    for row in rows[:6]:
        assert row.evaluations <= 16
        assert row.tokens_per_evaluation == pytest.approx(16 / row.evaluations)
        assert row.evaluation_ratio == pytest.approx(row.evaluations / 16)
        if row.decoder == "jacobi":
            assert row.same_pictures is True and row.evaluations < 16


def test_batches_hold_whole_chunks_of_the_same_prompts(rows):
    assert {row.batch: row.pictures for row in rows[:6]} == {1: 3, 2: 4}
    assert all((row.batch_speedup is None) == (row.batch == 1) for row in rows)
    assert all(
        row.adherence is row.adherence_error is row.distance_to_autoregression is None for row in rows
    )  # 16 pixels: the judge knows 64


def test_memory_is_that_of_a_call(rows):
    single, double = (next(row for row in rows if row.batch == batch) for batch in (1, 2))
    assert 1000 < single.memory < double.memory
    assert rows[-1].memory is None and " MiB" in table(rows)


def test_calls_are_interleaved_and_take_turns(tiny_pipeline, monkeypatch):
    calls = []
    draw = trials.draw

    def recording(pipe, trial, scenes, seed, start):
        calls.append((trial.decoder.name, start))
        return draw(pipe, trial, scenes, seed, start)

    monkeypatch.setattr(trials, "draw", recording)
    bench.run(tiny_pipeline, "jacobi", prompts=2, repeats=2, baseline=False)
    a, j = "autoregressive", "jacobi"
    assert calls == [(a, 0), (j, 0), (a, 0), (j, 0), (j, 1), (a, 1), (a, 0), (j, 0), (j, 1), (a, 1)]


def test_everything_takes_part_by_default():
    own = decoding.make("jacobi", window=16)
    entrants = choose_entrants(own, None)
    assert [entrant.decoder.name for entrant in entrants] == [*decoding.decoders(), "jacobi"]
    assert entrants[-1].options == {"window": 16}
    assert [e.decoder.name for e in choose_entrants(own, "jacobi,jacobi,autoregressive")] == [
        "autoregressive",
        "jacobi",
    ]


def test_all_names_every_decoder_rule_and_drafter():
    entrants = choose_entrants(decoding.make("jacobi"), "all")
    words = [str(option) for entrant in entrants for option in entrant.options.values()]
    assert {entrant.decoder.name for entrant in entrants} == set(decoding.decoders())
    # What a decoder has by default is not repeated.
    assert set(parts("acceptance")) - {"rejection"} <= set(words)
    assert set(parts("drafter")) - {"vertical-repeat", "grid-n-gram"} <= set(words)


def test_all_leaves_out_what_the_pipeline_cannot_run_and_says_so(tiny_pipeline):
    said: list[str] = []
    rows = bench.run(tiny_pipeline, "all", prompts=1, repeats=1, baseline=False, log=said.append)
    labels = [row.label for row in rows]
    assert "speculative:drafter=draft-model" not in labels
    assert any("left out" in line and "draft model" in line for line in said)
    early = next(row for row in rows if row.label == "speculative:drafter=early-exit")
    assert early.draft_evaluations > 0 and "draft_evaluations" in table([early])
    assert "draft_evaluations" not in table(rows[:1])


def test_decoder_options_are_read_by_their_types():
    words = "jacobi:window=8+adaptive=true,proactive, speculative-jacobi:window=4,drafter=random"
    jacobi, proactive, speculative = parse_decoders(words)
    assert jacobi.options == {"window": 8, "adaptive": True} and jacobi.decoder.adaptive is True
    assert proactive.options == {} and proactive.decoder.name == "proactive"
    assert speculative.decoder.window == 4 and str(speculative.decoder.drafter) == "random"
    made = decoding.make("jacobi", window=5)
    assert parse_decoders([made])[0].decoder is made


@pytest.mark.parametrize(
    ("decoders", "error", "words"),
    [
        ("jacoby", UnknownNameError, "did you mean 'jacobi'"),
        ("jacobi:windw=8", OptionError, "window"),
        ("jacobi:window=wide", OptionError, "a whole number"),
        ("jacobi:window=0", OptionError, "from 1 to 256"),
        ("jacobi:adaptive=perhaps", OptionError, "true or false"),
        ("", OptionError, "autoregressive"),
    ],
)
def test_wrong_decoders_are_told_before_anything_is_loaded(decoders, error, words, monkeypatch):
    monkeypatch.setattr(bench, "open_pipeline", lambda pipeline: pytest.fail("loaded a pipeline"))
    with pytest.raises(error, match=words):
        bench.run(None, decoders)


@pytest.mark.parametrize("numbers", [{"prompts": 0}, {"repeats": 0}, {"batches": (0,)}, {"batches": ()}, {"seed": -1}])
def test_numbers_out_of_range_are_refused(tiny_pipeline, numbers):
    with pytest.raises(OptionError, match=next(iter(numbers))):
        bench.run(tiny_pipeline, "jacobi", **numbers)


def test_the_progress_bar_is_left_as_it_was(tiny_pipeline, monkeypatch):
    monkeypatch.setattr(tiny_pipeline, "_progress_bar_config", {"desc": "drawing"}, raising=False)
    bench.run(tiny_pipeline, "autoregressive", prompts=1, repeats=1, baseline=False)
    assert tiny_pipeline._progress_bar_config == {"desc": "drawing"}


def test_the_table_names_columns_as_the_fields(rows):
    text = table(rows)
    for column in (
        "decoder",
        "law",
        "batch",
        "evaluations",
        "tokens_per_evaluation",
        "seconds",
        "speedup",
        "adherence",
    ):
        assert column in text
    assert "jacobi:window=4+drafter=uniform" in text and "tokens per second" in text
    assert "batch_speedup" in text and "batch_speedup" not in table(rows[:3])


def test_the_plot_is_a_png(rows, tmp_path):
    from PIL import Image

    plot.draw(rows, tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 400
    with pytest.raises(OptionError, match=r"\.png"):
        plot.draw(rows, tmp_path / "plot.jpg")
    with pytest.raises(OptionError, match="at least one"):
        plot.draw([], tmp_path / "plot.png")
    with pytest.raises(OutputError, match="cannot be written"):
        plot.draw(rows, tmp_path / "missing" / "plot.png")


def test_the_baseline_is_of_the_same_shape(tiny_pipeline):
    comparison = baseline.compare(tiny_pipeline.transformer, repeats=3)
    assert comparison.tokens == 16 and comparison.dtype == "float32"
    assert comparison.ratio.low <= comparison.ratio.median <= comparison.ratio.high
    # Ours has an embedding for each target position, the Llama an output for the begin token.
    ours, theirs = comparison.parameters
    assert abs(ours - theirs) <= 16 * 32 + 32 + 2 * 2 * 16
    llama = baseline.llama_like(tiny_pipeline.transformer)
    assert (llama.config.num_hidden_layers, llama.config.hidden_size, llama.config.vocab_size) == (2, 32, 33)
    contest = baseline.contest_of(tiny_pipeline.transformer)
    assert contest.ours(1.0, 0).shape == contest.theirs(1.0, 0).shape == (1, 16)
    with pytest.raises(OptionError, match="repeats"):
        baseline.compare(tiny_pipeline.transformer, repeats=0)
