"""What the page shows comes from mmgen: decoders, their options, and the caption grammar."""

import pytest

pytest.importorskip("gradio", reason="gradio, the extra `web`, is not installed")

import gradio as gr

from mmgen import decoding
from mmgen.decoding import scales
from mmgen.scenes.grammar import BACKGROUNDS, Grammar
from mmgen.web import captions
from mmgen.web.app import _Page, build
from mmgen.web.controls import DecoderOptions, about_decoder, decoder_choices
from mmgen.web.studio import Studio


@pytest.fixture(scope="module")
def page(tiny_model):
    return build()


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
        if isinstance(block, gr.Textbox | gr.Dropdown | gr.Slider | gr.Number | gr.Checkbox | gr.Button)
    ]
    assert len(controls) > 15
    for control in controls:
        label = control.value if isinstance(control, gr.Button) else control.label
        assert label and control.elem_id, control
    ids = [control.elem_id for control in controls]
    assert len(set(ids)) == len(ids)


def test_another_pipeline_brings_its_own_defaults(tiny_model):
    with gr.Blocks(analytics_enabled=False):
        page = _Page(Studio())
    updates = dict(zip(page._taken(), page.take(Studio().names[0]), strict=True))
    assert updates[page.decoder]["value"] == "jacobi"
    assert updates[page.decoder]["choices"] == decoder_choices(decoding)
    assert (updates[page.guidance], updates[page.temperature]) == (2.5, 0.9)
    kinds = decoding.decoders()
    assert updates[page.options.widgets[kinds["jacobi"]]["window"]]["value"] == 12
    assert "value" not in updates[page.options.widgets[kinds["proactive"]]["window"]]


def test_pipelines_of_other_families_bring_their_own_decoders(tiny_model, monkeypatch):
    """A picker that still shows the name of another family's decoder explains one that suits the pipeline."""
    with gr.Blocks(analytics_enabled=False):
        page = _Page(Studio())
    monkeypatch.setattr(Studio, "family", lambda self, name=None: scales)
    about, *groups = page.explain("any", "jacobi")
    shown = [kind.name for kind, group in zip(page.options.groups, groups, strict=True) if group["visible"]]
    assert "Draws all codes of a scale at once" in about and shown == ["scale-wise"]


def test_examples_follow_the_grammar():
    grammar = Grammar()
    examples = captions.examples(grammar)
    assert len(examples) == 6
    assert {grammar.parse(example).kind for example in examples} == {"single", "pair", "group"}
    assert captions.examples(Grammar(("penguin", "fish"))) == ["a penguin above a small fish"]


def test_the_help_names_every_colour_and_object():
    text = captions.describe_grammar(Grammar(("cat", "automobile")))
    for word in (*BACKGROUNDS, "cat", "automobile", "car", "2 objects"):
        assert word in text
    assert "rocket" not in text
