"""What the page shows comes from mmgen: decoders, their options, and the caption grammar."""

import pytest

pytest.importorskip("gradio", reason="gradio, the extra `web`, is not installed")

import gradio as gr

from mmgen import decoding
from mmgen.decoding import scales
from mmgen.errors import OptionError
from mmgen.scenes.grammar import BACKGROUNDS, Grammar
from mmgen.scenes.motion import MotionGrammar
from mmgen.scenes.sound import SoundGrammar
from mmgen.web import captions
from mmgen.web.app import build
from mmgen.web.controls import DecoderOptions, about_decoder, decoder_choices, read_decoder
from mmgen.web.form import Form


@pytest.fixture(scope="module")
def page(studio):
    return build(studio)


@pytest.fixture
def form(studio):
    with gr.Blocks(analytics_enabled=False):
        return Form(studio)


@pytest.fixture
def options():
    with gr.Blocks(analytics_enabled=False):
        return DecoderOptions(decoding.make("jacobi", window=12), [decoding, scales])


@pytest.mark.parametrize("family", [decoding, scales])
def test_every_option_of_every_decoder_has_the_widget_it_needs(options, family):
    for name, kind in family.decoders().items():
        check_widgets(options, kind, name if family is decoding else f"scales-{name}")


def check_widgets(options, kind, place):
    described = kind.describe()["options"]
    assert list(options.widgets[kind]) == [option["name"] for option in described]
    for option in described:
        widget = options.widgets[kind][option["name"]]
        if "choices" in option:
            assert isinstance(widget, gr.Dropdown) and [value for _, value in widget.choices] == [*option["choices"]]
        elif option["type"] == "bool":
            assert isinstance(widget, gr.Checkbox)
        else:
            assert isinstance(widget, gr.Slider)
            assert (widget.minimum, widget.maximum) == (option["minimum"], option["maximum"])
        own = place == "jacobi" and option["name"] == "window"
        assert widget.value == (12 if own else option["default"])
        assert widget.info == option["help"] and widget.elem_id == f"option-{place}-{option['name']}"


@pytest.mark.parametrize("name", decoding.decoders())
def test_what_the_widgets_hold_makes_the_decoder(options, name):
    # A browser's slider may send 12.0 for 12.
    values = {
        widget: float(widget.value) if isinstance(widget, gr.Slider) else widget.value for widget in options.inputs
    }
    window = {"window": 12} if name == "jacobi" else {}
    read = options.read(decoding.decoders()[name], values)
    assert decoding.make(name, **read) == decoding.make(name, **window)


def test_one_decoders_options_are_visible(options):
    assert [kind.name for kind, group in options.groups.items() if group.visible] == ["jacobi"]
    shown = dict(zip(options.groups, options.show(scales.decoders()["scale-wise"]), strict=True))
    assert [kind.name for kind, update in shown.items() if update["visible"]] == ["scale-wise"]


def test_the_decoder_picker_says_the_law():
    assert ("jacobi · exact", "jacobi") in decoder_choices(decoding)
    assert [name for _, name in decoder_choices(decoding)] == list(decoding.decoders())
    assert decoder_choices(scales) == [("scale-wise · exact", "scale-wise")]
    for kind in decoding.decoders().values():
        assert f'class="law {kind.law}"' in about_decoder(kind)


def test_every_control_has_a_label_and_an_id(page):
    controls = [
        block
        for block in page.blocks.values()
        if isinstance(
            block,
            gr.Textbox | gr.Dropdown | gr.Slider | gr.Number | gr.Checkbox | gr.Button | gr.DownloadButton | gr.File,
        )
    ]
    assert len(controls) > 15
    for control in controls:
        label = control.value if isinstance(control, gr.Button) else control.label
        assert label and control.elem_id, control
    ids = [control.elem_id for control in controls]
    assert len(set(ids)) == len(ids)


def test_another_pipeline_brings_its_own_defaults(form, studio):
    updates = dict(zip(form.taken, form.take(studio.model("tiny")), strict=True))
    assert updates[form.decoder]["value"] == "jacobi"
    assert updates[form.decoder]["choices"] == decoder_choices(decoding)
    assert (updates[form.guidance], updates[form.temperature]) == (2.5, 0.9)
    kinds = decoding.decoders()
    assert updates[form.options.widgets[kinds["jacobi"]]["window"]]["value"] == 12
    assert "value" not in updates[form.options.widgets[kinds["proactive"]]["window"]]
    assert updates[form.count]["label"] == "Pictures" and updates[form.duration]["visible"] is False


@pytest.mark.parametrize(("name", "noun"), [("tiny-clip", "Clips"), ("tiny-sound", "Recordings")])
def test_other_media_have_their_own_words(form, studio, name, noun):
    updates = dict(zip(form.taken, form.take(studio.model(name)), strict=True))
    assert updates[form.count]["label"] == noun
    assert updates[form.duration]["visible"] is (noun == "Recordings")
    assert updates[form.decoder]["choices"] == decoder_choices(studio.model(name).algorithms)


def test_pipelines_of_other_families_bring_their_own_decoders(form):
    """A picker that still shows the name of another family's decoder explains one that suits the pipeline."""
    about, *groups = form.explain("tiny-scales", "jacobi")
    shown = [kind.name for kind, group in zip(form.options.groups, groups, strict=True) if group["visible"]]
    assert "Draws all codes of a scale at once" in about and shown == ["scale-wise"]


def test_decoders_are_named_with_options_as_on_the_command_line(studio):
    model = studio.model("tiny")
    assert read_decoder(model, "jacobi:window=9") == decoding.make("jacobi", window=9)
    assert read_decoder(model, "") is model.decoder
    with pytest.raises(OptionError, match="needed is one decoder"):
        read_decoder(model, "jacobi,autoregressive")


def test_examples_follow_the_grammar():
    grammar = Grammar()
    examples = captions.examples("image", grammar)
    assert len(examples) == 6
    assert {grammar.parse(example).kind for example in examples} == {"single", "pair", "group"}
    assert captions.examples("image", Grammar(("penguin", "fish"))) == ["a penguin above a small fish"]
    assert len(captions.examples("video", MotionGrammar())) == 5
    assert len(captions.examples("audio", SoundGrammar())) == 5 and captions.examples("image", None)
    assert "music box" in captions.describe(SoundGrammar())
    assert "bounces" in captions.describe(MotionGrammar()) and "Any text" in captions.describe(None)


def test_the_help_names_every_colour_and_object():
    text = captions.describe_grammar(Grammar(("cat", "automobile")))
    for word in (*BACKGROUNDS, "cat", "automobile", "car", "2 objects"):
        assert word in text
    assert "rocket" not in text
