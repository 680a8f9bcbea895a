"""The tabs' own functions, called as the page calls them, without a browser or a server."""

import base64
import html
import io
import json
import re
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from mmgen import media
from mmgen.errors import MmgenError, OptionError, UnknownNameError

pytest.importorskip("gradio", reason="gradio, the extra `web`, is not installed")

import gradio as gr

from mmgen.web import duel, jobs, restore, sketch
from mmgen.web.controls import read_decoder
from mmgen.web.streaming import StoppedError, stream
from mmgen.web.studio import save
from mmgen.web.tabs.batch import Batch
from mmgen.web.tabs.benchmark import Benchmark
from mmgen.web.tabs.compare import Compare, verdict
from mmgen.web.tabs.create import Create
from mmgen.web.tabs.edit import Edit
from mmgen.web.visits import Visit

PROMPTS = {"tiny": "a cat", "tiny-scales": "a cat", "tiny-clip": "a red ball moves up", "tiny-sound": "a slow song"}


def tab(kind, studio):
    with gr.Blocks(analytics_enabled=False):
        return kind(studio)


def drawn(studio, pipeline, **settings):
    if pipeline == "tiny-sound":
        settings = {"duration": 0.5} | settings
    return list(studio.draw(PROMPTS[pipeline], pipeline=pipeline, **settings))


def values_of(create, pipeline, **changed):
    """What the widgets of Create hold."""
    widgets = create.form.inputs | {create.prompt, create.visit}
    values = {widget: widget.value for widget in widgets}
    values |= {create.form.pipeline: pipeline, create.prompt: PROMPTS[pipeline], create.visit: Visit(requests=1)}
    return values | {getattr(create.form, name): value for name, value in changed.items()}


@pytest.mark.parametrize(
    ("pipeline", "words"),
    [
        ("tiny", ('<img src="data:image/png', 'class="edit"', "Save as PNG")),
        ("tiny-clip", ('<video class="picture" src="data:video/mp4', "autoplay loop muted", 'class="edit"')),
        ("tiny-sound", ('<audio class="player" src="data:audio/wav', '<img src="data:image/png', "Save as WAV")),
    ],
)
def test_results_of_each_medium_are_shown_and_offered(studio, pipeline, words):
    create = tab(Create, studio)
    changed = {"random": False, "seed": 3, "decoder": studio.model(pipeline).decoder.name, "duration": 0.5}
    cards, statuses, seeds = zip(*create.draw(values_of(create, pipeline, **changed)), strict=True)
    assert seeds[-1] == 3 and "in " in statuses[-1] and "seconds" in statuses[-1]
    for word in words:
        assert word in cards[-1]
    made = json.loads(html.unescape(re.search(r'data-made="([^"]*)"', cards[-1])[1]))
    assert (made["pipeline"], made["seed"], made["prompt"]) == (pipeline, 3, PROMPTS[pipeline])


def test_the_tokens_of_the_last_evaluation_are_marked(studio):
    frames = drawn(studio, "tiny", seed=1, decoder="autoregressive")
    marks = [frame.latest for frame in frames[:-1]]
    assert all(mark.shape == (1, 8, 8) and mark.sum() == 1 for mark in marks)
    places = [int(mark.flatten().nonzero()) for mark in marks]
    assert places == sorted(set(places)) and len(places) > 3
    clip = drawn(studio, "tiny-clip", seed=1, decoder="autoregressive")[0].latest
    assert clip.shape == (1, 9, 2, 2)
    sound = drawn(studio, "tiny-sound", seed=1)[0].latest
    assert sound.shape == (1, 2, 50)
    assert drawn(studio, "tiny-scales", seed=1)[0].latest is None


@pytest.mark.parametrize("pipeline", PROMPTS)
def test_a_file_brings_back_the_settings_that_made_it(studio, pipeline, tmp_path):
    create = tab(Create, studio)
    *_, frame = drawn(studio, pipeline, seed=11, temperature=0.5, top_k=7)
    (path,) = save(frame, tmp_path)
    updates = dict(zip([*create.restored, create.dropped], create.restore_file(str(path)), strict=True))
    form = create.form
    assert updates[create.prompt] == PROMPTS[pipeline] and updates[form.pipeline] == pipeline
    assert updates[form.seed]["value"] == 11 and updates[form.random] is False
    assert (updates[form.temperature], updates[form.top_k]) == (0.5, 7)
    assert updates[form.decoder]["value"] == studio.model(pipeline).decoder.name
    assert updates[form.duration]["visible"] is (pipeline == "tiny-sound")
    if pipeline == "tiny-sound":
        assert updates[form.duration]["value"] == 0.5
        assert restore.of_file(studio, path).to_dict()["duration"] == 0.5
    assert updates[create.dropped] is None


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (None, "is no metadata of mmgen"),
        ({"prompt": "a cat", "seed": "1"}, "is no metadata of mmgen"),
        ({"pipeline": "../elsewhere"}, "no pipeline is called"),
        ({"decoder": "jakobi"}, "did you mean 'jacobi'"),
        ({"options": {"windw": 3}}, "windw"),
        ({"sampling": {"guidance": -1}}, "guidance=-1"),
        ({"sampling": {"heat": 1}}, "needed is guidance, temperature, top_k and top_p"),
    ],
)
def test_metadata_that_cannot_be_used_is_refused(studio, made, words):
    whole = {"prompt": "a cat", "seed": 1, "pipeline": "tiny", "decoder": "jacobi", "options": {}, "sampling": {}}
    with pytest.raises(MmgenError, match=re.escape(words)):
        restore.of_metadata(studio, made and whole | made)


def test_both_of_a_race_have_the_same_time_and_draw_the_same(studio):
    model = studio.model("tiny")
    decoders = read_decoder(model, "autoregressive"), read_decoder(model, "jacobi:window=9")
    states = list(duel.draw(studio, "a cat", decoders, "tiny", seed=2))
    for state in states:
        longest = max(state.seconds) / max(frame.statistics[0].evaluations for frame in state.frames)
        if not any(frame.finished for frame in state.frames):
            assert abs(state.seconds[0] - state.seconds[1]) < 20 * longest
    last = states[-1]
    assert last.finished and last.equal == 1 and not states[0].finished
    assert "Every pixel is equal" in verdict(last, decoders) and "jacobi is" in verdict(last, decoders)
    assert [frame.statistics[0].seconds for frame in last.frames] == list(last.seconds)


def test_two_draws_of_exact_decoders_differ_and_it_is_said(studio):
    model = studio.model("tiny")
    decoders = read_decoder(model, "autoregressive"), read_decoder(model, "speculative-jacobi")
    *_, last = duel.draw(studio, "a cat", decoders, "tiny", seed=2)
    assert last.equal < 1
    assert "both are exact, two draws from the same distribution" in verdict(last, decoders)


@pytest.mark.parametrize("pipeline", ["tiny-clip", "tiny-sound"])
def test_clips_and_sound_race_too(studio, pipeline):
    compare = tab(Compare, studio)
    model = studio.model(pipeline)
    if pipeline == "tiny-sound":
        *_, last = duel.draw(studio, "a slow song", (model.decoder, model.decoder), pipeline, seed=1, duration=0.25)
        assert last.equal == 1
        return
    visit = Visit(requests=1)
    *_, (shown, said) = compare.draw(visit, PROMPTS[pipeline], pipeline, "autoregressive", "jacobi", 1)
    assert shown.count("data:image/webp") == 2 and 'type="range"' in shown and "Every pixel is equal" in said


def sketched(studio, pipeline, tmp_path):
    *_, frame = drawn(studio, pipeline, seed=1)
    (path,) = save(frame, tmp_path)
    return frame, sketch.begin(studio, pipeline, path)


@pytest.mark.parametrize("pipeline", ["tiny", "tiny-scales", "tiny-clip"])
def test_codes_outside_of_what_is_painted_stay(studio, pipeline, tmp_path):
    _, begun = sketched(studio, pipeline, tmp_path)
    pipe = studio.pipeline(pipeline)
    known = sketch._known(pipe, begun, begun.painted([0, 1]))
    free = known < 0
    *_, frame = sketch.redrawn(studio, begun, PROMPTS[pipeline], [0, 1], seed=5)
    assert frame.finished and frame.edited["cells"] == "0-1"
    assert frame.statistics[0].tokens == int(free.sum()) < known.numel()
    *_, drawing = pipe.draw(PROMPTS[pipeline], seed=5, known=known)
    codes = pipe.render(drawing, "latent")
    assert torch.equal(codes[~free], known[~free])


def test_clips_may_have_fewer_frames_and_begin_with_others(studio, tmp_path):
    create = tab(Create, studio)
    *_, first = drawn(studio, "tiny-clip", seed=1)
    (path,) = save(first, tmp_path)
    values = values_of(create, "tiny-clip", frames=5.0, beginning=str(path), decoder="autoregressive")
    *_, (cards, _, _) = create.draw(values)
    made = json.loads(html.unescape(re.search(r'data-made="([^"]*)"', cards)[1]))
    assert made["size"][0] == 5 and made["conditions"] == {"frames": "5", "continue_from": "<ndarray>"}
    assert made["tokens"] == 4
    settings = restore.of_metadata(studio, made)
    updates = dict(zip(create.restored, create.restore(settings), strict=True))
    assert updates[create.form.frames]["value"] == 5 and "has to be given again" in updates[create.status]
    assert settings.to_dict()["frames"] == 5 and "continue_from" not in settings.to_dict()
    with pytest.raises(gr.Error, match="one of 1, 5, 9"):
        list(create.draw(values | {create.form.frames: 4}))
    path.write_bytes(b"no clip")
    with pytest.raises(gr.Error, match=f"^.?{path.name}: is not a picture or clip"):
        list(create.draw(values))


def test_sound_begins_with_what_is_given(studio, tmp_path):
    *_, first = drawn(studio, "tiny-sound", seed=1, duration=0.25)
    (path,) = save(first, tmp_path)
    *_, longer = drawn(studio, "tiny-sound", seed=2, continue_from=path)
    assert longer.statistics[0].tokens < drawn(studio, "tiny-sound", seed=2)[-1].statistics[0].tokens
    assert longer.statistics[0].conditions["continue_from"] == "<Tensor>"


def test_what_is_marked_of_a_sound_is_an_interval(studio, tmp_path):
    frame, begun = sketched(studio, "tiny-sound", tmp_path)
    assert begun.rows == 1 and begun.seconds == pytest.approx(0.5)
    *_, again = sketch.redrawn(studio, begun, "a happy dance", list(range(12, 24)), seed=5)
    before, after = frame.results[0], again.results[0]
    assert before.shape == after.shape
    assert np.allclose(before[:, :100], after[:, :100], atol=1e-3)
    assert not np.allclose(before[:, 100:200], after[:, 100:200], atol=1e-3)


def test_nothing_painted_and_pipelines_without_places_are_refused(studio, tmp_path):
    _, begun = sketched(studio, "tiny", tmp_path)
    for cells in ([], [64], [-1], ["1"], 3, None):
        with pytest.raises(OptionError, match="paint what is to be drawn again"):
            begun.painted(cells)


def test_a_result_of_the_page_goes_to_the_canvas(studio, tmp_path):
    edit = tab(Edit, studio)
    *_, frame = drawn(studio, "tiny", seed=1)
    (path,) = save(frame, tmp_path)
    source = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    event = gr.EventData(None, {"source": source, "made": media.read_metadata(path)})
    shown, begun, *_, prompt, _, _ = edit.take_result("tiny", event)
    assert shown.count("<rect") == 64 and begun.rows == 8 and prompt == "a cat"
    with pytest.raises(gr.Error, match="cannot be read"):
        edit.take_result("tiny", gr.EventData(None, {"source": "data:image/png;base64,%%%"}))
    with pytest.raises(gr.Error, match="cannot be read"):
        edit.take_result("tiny", gr.EventData(None, {"source": 3}))


def test_another_pipeline_takes_the_file_or_empties_the_canvas(studio, tmp_path):
    edit = tab(Edit, studio)
    *_, frame = drawn(studio, "tiny", seed=1)
    (path,) = save(frame, tmp_path)
    shown, begun, *_ = edit.change(str(path), "tiny-scales")
    assert (begun.pipeline, begun.rows) == ("tiny-scales", 4) and shown.count("<rect") == 16
    shown, begun, *_ = edit.change(None, "tiny")
    assert begun is None and "Nothing to edit yet" in shown


def test_a_batch_shows_how_it_goes_and_ends_with_a_zip(studio, tmp_path):
    batch = tab(Batch, studio)
    path = tmp_path / "prompts.txt"
    path.write_text("a cat\na dog\n")
    steps = list(batch.work(Visit(requests=1), "tiny", str(path), "jacobi:window=8", 2))
    assert "4 are in the zip" in steps[-1][1].replace("4 of 4", "4") and steps[-1][2]["visible"]
    assert steps[-1][0].count("<figure") == 4
    assert any("of 4 drawn" in status for _, status, _ in steps)


def test_a_batch_that_is_stopped_keeps_what_is_done(studio, tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("a cat\n")
    studio.pipeline("tiny").draw.seconds = 0
    standings = jobs.work(studio, "tiny", path, {"count": 40}, tmp_path / "job")
    for standing in standings:
        if standing.done:
            break
    standings.close()
    studio.pipeline("tiny").draw.seconds = 0.05
    assert 0 < jobs.pack(tmp_path / "job", tmp_path / "some.zip") < 40


def test_decoders_are_measured_with_a_plot(studio):
    bench = tab(Benchmark, studio)
    steps = list(bench.work(Visit(requests=1), "tiny", ["autoregressive", "jacobi"], 1, 1))
    shown = steps[-1][0]
    picture = base64.b64decode(re.search(r"base64,([^\"]+)", shown)[1])
    assert Image.open(io.BytesIO(picture)).size[0] > 500
    assert shown.count("<tr>") == 3 and "Measuring" in steps[0][1]


def test_work_ends_when_nobody_listens():
    ended = threading.Event()

    def work(voice):
        try:
            while True:
                voice.say("on")
        except StoppedError:
            ended.set()
            raise

    said = stream(work)
    assert next(said) == "on"
    said.close()
    assert ended.is_set()


def test_what_work_raises_comes_through():
    def work(voice):
        voice.say("one")
        raise UnknownNameError("decoder", "x", ["y"])

    said = stream(work)
    assert next(said) == "one"
    with pytest.raises(UnknownNameError):
        next(said)
