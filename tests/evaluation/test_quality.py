"""Quality is measured against autoregression under other seeds, and against what captions mean."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mmgen.errors import OptionError
from mmgen.evaluation import adherence, bench, entrants, quality, quality_plot
from mmgen.evaluation.rows import Row, table
from mmgen.evaluation.verdicts import Share
from mmgen.scenes.grammar import Grammar
from mmgen.scenes.render import render


class Painter:
    """A pipeline that renders its captions, but a cat on black as often as the decoder errs."""

    def __init__(self, size=64):
        self.text_encoder = SimpleNamespace(grammar=Grammar())
        self.size, self.calls = size, []

    def __call__(self, prompts, seed, decoder):
        self.calls.append((decoder.name, list(prompts), list(seed)))
        images = [self.paint(prompt, number, decoder) for prompt, number in zip(prompts, seed, strict=True)]
        statistics = [SimpleNamespace(evaluations=10 + number % 2, draft_evaluations=3) for number in seed]
        return SimpleNamespace(images=images, statistics=statistics)

    def paint(self, prompt, seed, decoder):
        scene = self.text_encoder.grammar.parse(prompt)
        generator = np.random.default_rng(seed)
        if generator.random() < decoder.errs:
            scene = dataclasses.replace(scene, first="cat", background="black")
        return Image.fromarray(render(scene, generator)[: self.size, : self.size])


def decoder(name, errs):
    return SimpleNamespace(name=name, errs=errs)


PLAIN, WORSE, WORST = decoder("autoregressive", 0.05), decoder("worse", 0.3), decoder("worst", 0.7)


@pytest.fixture(scope="module")
def painted():
    painter, lines = Painter(), []
    measured = quality.measure(painter, [PLAIN, WORSE, WORST], 64, seed=40, batch=30, log=lines.append)
    return painter, measured, lines


def test_reference_and_decoders_share_captions_but_no_seed(painted):
    painter, _, lines = painted
    assert len(lines) == 4
    by_decoder = [(name, len(prompts), seed[0], seed[-1]) for name, prompts, seed in painter.calls]
    plain = "autoregressive"
    assert by_decoder[:3] == [(plain, 30, 104, 133), (plain, 30, 134, 163), (plain, 4, 164, 167)]
    for start, name in zip((3, 6, 9), (plain, "worse", "worst"), strict=True):
        assert by_decoder[start : start + 3] == [(name, 30, 40, 69), (name, 30, 70, 99), (name, 4, 100, 103)]
        assert [call[1] for call in painter.calls[start : start + 3]] == [call[1] for call in painter.calls[:3]]
    grammar = Grammar()
    captions = [caption for call in painter.calls[:3] for caption in call[1]]
    assert captions == [grammar.describe(scene) for scene in adherence.held_out_scenes(64, 40)]


def test_distances_and_adherence_tell_worse_decoders(painted):
    _, (plain, worse, worst), _ = painted
    assert {(entry.evaluations, entry.draft_evaluations) for entry in (plain, worse, worst)} == {(10.5, 3)}
    assert 0 < plain.distance_to_autoregression < worse.distance_to_autoregression < worst.distance_to_autoregression
    assert worst.distance_to_autoregression - worst.distance_error > plain.distance_to_autoregression
    assert plain.distance_chance > 0.05 and worst.distance_chance == pytest.approx(1 / 201)
    scenes = [entry.distance_to_held_out_scenes for entry in (plain, worse, worst)]
    assert scenes == sorted(scenes)
    shares = [entry.adherence.share for entry in (plain, worse, worst)]
    assert shares == sorted(shares, reverse=True) and shares[0] > 0.85 and shares[2] < 0.5
    assert {entry.pictures for entry in (plain, worse, worst)} == {64}


def test_perfect_pictures_are_near_the_scenes_themselves():
    perfect = decoder("autoregressive", 0)
    (measured,) = quality.measure(Painter(), [perfect], 40)
    assert measured.adherence.share > 0.98
    assert measured.distance_to_held_out_scenes < 0.1
    assert measured.distance_to_held_out_scenes < 3 * measured.distance_to_autoregression


def test_pictures_of_another_size_have_no_quality():
    assert quality.measure(Painter(32), [PLAIN], 4) is None


@pytest.mark.parametrize("arguments", [{"pictures": 3}, {"pictures": 70_000}, {"pictures": 4, "batch": 0}])
def test_numbers_out_of_range_are_refused(arguments):
    with pytest.raises(OptionError, match="whole number"):
        quality.measure(Painter(), [PLAIN], **arguments)
    with pytest.raises(OptionError, match="autoregressive among them"):
        quality.measure(Painter(), [WORSE], 4)


def test_standard_errors_of_shares():
    assert Share().error is None
    assert Share(50, 100).error == pytest.approx(0.05, rel=0.02)
    assert Share(100, 100).error == pytest.approx(0.0097, abs=1e-4)


@pytest.fixture(scope="module")
def small_pipeline():
    """Random weights, 64x64 pixels in 16 tokens."""
    import torch

    from mmgen import decoding
    from mmgen.backbones.raster import RasterTransformer
    from mmgen.pipelines.text_to_image import TextToImagePipeline
    from mmgen.scenes.encoder import SceneEncoder
    from mmgen.tokenizers.patch_vq import PatchVQ

    torch.manual_seed(0)
    tokenizer = PatchVQ(codebook_size=32, patch_size=16, size=16, layers=1, heads=2, hidden_size=32)
    text_encoder = SceneEncoder(size=32)
    transformer = RasterTransformer(32, 4, 4, text_encoder.length, size=32, layers=1, heads=2, hidden_size=32)
    torch.nn.init.normal_(tokenizer.codebook, std=0.5)
    for model in (tokenizer, text_encoder, transformer):
        model.eval().requires_grad_(False)
    return TextToImagePipeline(tokenizer, text_encoder, transformer, decoding.make("jacobi", window=8))


@pytest.fixture(scope="module")
def rows(small_pipeline):
    return bench.run(
        small_pipeline, "jacobi:window=4", prompts=2, repeats=1, batches=(1, 2), baseline=False, quality_pictures=20
    )


def test_rows_carry_quality_at_every_batch_size(rows):
    measured = {}
    for row in json.loads(json.dumps([row.to_dict() for row in rows])):
        assert row["quality_pictures"] == 20 and row["adherence"] == 0 and 0 < row["adherence_error"] < 0.1
        assert row["distance_error"] > 0 and row["distance_chance"] > 0.005
        assert 0 < row["distance_to_autoregression"] < row["distance_to_held_out_scenes"]
        distances = row["distance_to_autoregression"], row["distance_to_held_out_scenes"]
        assert measured.setdefault(row["decoder"], distances) == distances
    assert len(measured) == 2
    # A seeded decoder draws autoregression's own pictures: it is as far from the reference as that is.
    assert measured["jacobi"] == pytest.approx(measured["autoregressive"], rel=1e-6)


def test_the_table_shows_quality(rows):
    text = table(rows)
    assert "distance_to_autoregression" in text and "distance_to_held_out_scenes" in text
    assert "20 pictures of each decoder" in text and "±" in text
    bare = [dataclasses.replace(row, quality_pictures=None, distance_to_autoregression=None) for row in rows]
    assert "distance" not in table(bare)


def test_without_quality_fields_are_none(tiny_pipeline):
    (row,) = bench.run(tiny_pipeline, "autoregressive", prompts=1, repeats=1, baseline=False)
    assert row.quality_pictures is row.distance_to_autoregression is row.distance_chance is None
    with pytest.raises(OptionError, match="from 4"):
        bench.run(tiny_pipeline, "autoregressive", quality_pictures=3)
    (row,) = bench.run(tiny_pipeline, "autoregressive", prompts=1, repeats=1, baseline=False, quality_pictures=4)
    assert row.quality_pictures is None and row.adherence is None  # 16 pixels: the judges know 64


def a_row(decoder="coupled-jacobi", law="exact", evaluations=30.0, distance=0.005, adherence=0.93, **options):
    return Row(
        "emoji-64", decoder, law, 1, evaluations, 0.0, 256 / evaluations, evaluations / 256, evaluations / 90,
        evaluations / 100, evaluations / 80, 3, 2.9, 3.1, 1, None, adherence, 0.013, False, 8, options, "",
        400, distance, distance / 9, 0.4, 2 * distance,
    )  # fmt: skip


CROWD = [
    a_row("autoregressive", evaluations=256.0),
    *(a_row(drafter=name, evaluations=evaluations) for name, evaluations in (("a", 30), ("b", 31), ("c", 30))),
    *(
        a_row(law="heuristic", evaluations=30 - ranks, distance=ranks / 200, acceptance=f"grouped/ranks={ranks}/gap=1")
        for ranks in (8, 2, 4)
    ),
    a_row(law="bounded", evaluations=25, acceptance="relaxed/delta=0.1"),
    a_row("jacobi", window=8),
    a_row("jacobi", window=16),
]  # fmt: skip


def test_rows_that_differ_in_one_number_are_a_curve():
    curves = quality_plot.find_curves(CROWD)
    assert [(curve.knob, curve.values) for curve in curves] == [
        *[(None, [])] * 4, ("acceptance/ranks", [2, 4, 8]), (None, []), ("window", [8, 16])
    ]  # fmt: skip
    assert [row.evaluations for row in curves[4].rows] == [28, 26, 22]
    assert curves[4].name == "coupled-jacobi, acceptance grouped, gap 1"
    assert sum(len(curve.rows) for curve in curves) == len(CROWD)


def test_a_row_between_two_curves_stands_on_the_longer():
    rows = [a_row(window=8, k=1), a_row(window=8, k=2), a_row(window=16, k=2), a_row(window=8, k=3)]
    curves = quality_plot.find_curves(rows)
    assert [(curve.knob, curve.values) for curve in curves] == [("k", [1, 2, 3]), (None, [])]


def test_the_speed_quality_plot_is_a_png(tmp_path):
    quality_plot.draw([*CROWD, dataclasses.replace(CROWD[0], batch=8)], tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 800
    with pytest.raises(OptionError, match="quality_pictures"):
        quality_plot.draw([dataclasses.replace(CROWD[0], distance_to_autoregression=None)], tmp_path / "none.png")
    with pytest.raises(OptionError, match=r"\.png"):
        quality_plot.draw(CROWD, tmp_path / "plot.svg")


def test_labels_touch_neither_each_other_nor_points():
    from matplotlib.text import Text

    from mmgen.evaluation import labels, plot

    figure = plot.new_figure(6, 5)
    axes = figure.subplots()
    generator = np.random.default_rng(0)
    places = [(float(x), float(y)) for x, y in generator.normal(0, 1, (24, 2))] + [(4.0, 4.0), (4.0, 4.0)]
    axes.scatter(*zip(*places, strict=True), s=46)
    figure.canvas.draw()
    labels.place_labels(axes, places, [f"{n} (0.5)" for n in range(26)], ["black"] * 26)
    figure.canvas.draw()
    boxes = [Text.get_window_extent(text) for text in axes.texts]
    assert any("24 (0.5), 25 (0.5)" in text.get_text() for text in axes.texts)
    for index, box in enumerate(boxes):
        assert not any(box.shrunk(0.9, 0.9).overlaps(other) for other in boxes[:index])
        assert not any(box.shrunk(0.9, 0.9).contains(*axes.transData.transform(place)) for place in places)


def test_the_command_line_refuses_before_it_loads(monkeypatch, tmp_path):
    from mmgen.cli import loading, workbench
    from mmgen.cli.report import UsageError

    monkeypatch.setattr(loading, "load", lambda *given, **options: pytest.fail("loaded a pipeline"))
    with pytest.raises(UsageError, match="add --quality"):
        workbench.bench(quality_plot=tmp_path / "plot.png")
    with pytest.raises(UsageError, match=r"--quality-plot .*\.png"):
        workbench.bench(quality=4, quality_plot=tmp_path / "plot.svg")


def test_the_command_line_measures_quality_and_draws_it(small_pipeline, monkeypatch, tmp_path, capsys):
    from mmgen.cli import loading, workbench

    monkeypatch.setattr(loading, "load", lambda *given, **options: small_pipeline)
    path = tmp_path / "new" / "plot.png"
    workbench.bench(
        decoders="jacobi", prompts=1, repeats=1, baseline=False, quality=4, json=True, plot=None, quality_plot=path
    )
    shown = json.loads(capsys.readouterr().out)
    assert [row["quality_pictures"] for row in shown] == [4, 4] and path.exists()


class Parts:
    """A decoder of parts, as the command line sees it."""

    @staticmethod
    def describe():
        kinds = {"window": "int", "acceptance": "str", "drafter": "str", "adaptive": "bool"}
        return {"options": [{"name": name, "type": kind} for name, kind in kinds.items()]}


def test_parts_with_options_of_their_own_are_named_and_printed_back(monkeypatch):
    made = SimpleNamespace(decoders=lambda: {"coupled-jacobi": Parts}, make=lambda name, **options: (name, options))
    monkeypatch.setattr(entrants, "decoding", made)
    given = "coupled-jacobi:window=32+acceptance=grouped/ranks=7/gap=0.15+drafter=n-gram+adaptive=true"
    (entrant,) = entrants.parse_decoders(given)
    assert entrant.options == {
        "window": 32, "acceptance": "grouped/ranks=7/gap=0.15", "drafter": "n-gram", "adaptive": True
    }  # fmt: skip
    assert entrant.decoder == ("coupled-jacobi", entrant.options)
    assert dataclasses.replace(a_row(), options=entrant.options).label == given
    first, second = entrants.parse_decoders("coupled-jacobi,acceptance=grouped/ranks=7,window=4,coupled-jacobi")
    assert first.options == {"acceptance": "grouped/ranks=7", "window": 4} and second.options == {}
