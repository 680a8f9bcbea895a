"""Widgets made from the options of the decoders: what a decoder declares is what the page shows."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import gradio as gr

from mmgen import media
from mmgen.decoding.decoder import Decoder
from mmgen.errors import OptionError
from mmgen.evaluation.entrants import parse_decoders
from mmgen.web.models import Model

_EXAMPLE = "jacobi:window=16"


class DecoderOptions:
    """One group of widgets for each decoder, of which the chosen decoder's is visible.

    Args:
        chosen: the decoder to start with; its own values stand in its widgets.
        families: packages of decoders, such as `mmgen.decoding`: those of the pipelines that can be picked.
    """

    def __init__(self, chosen: Decoder, families: Sequence[Any]) -> None:
        self.groups: dict[type, gr.Column] = {}
        self.widgets: dict[type, dict[str, gr.components.Component]] = {}
        for kind in (kind for family in families for kind in family.decoders().values()):
            options, own, place = kind.describe()["options"], kind is type(chosen), _place(kind)
            values = chosen.options() if own else {}
            with gr.Column(visible=own, elem_id=f"options-{place}", min_width=0) as group:
                self.widgets[kind] = {
                    option["name"]: _widget(option, values.get(option["name"], option["default"]), place)
                    for option in options
                }
            self.groups[kind] = group

    @property
    def inputs(self) -> set[gr.components.Component]:
        """All widgets, of all decoders."""
        return {widget for widgets in self.widgets.values() for widget in widgets.values()}

    def read(self, decoder: type[Decoder], values: Mapping[Any, Any]) -> dict[str, Any]:
        """The options of a decoder, from what the widgets hold; a whole number stays one."""
        kinds = {option["name"]: option["type"] for option in decoder.describe()["options"]}
        return {
            name: round(values[widget]) if kinds[name] == "int" and values[widget] is not None else values[widget]
            for name, widget in self.widgets[decoder].items()
        }

    def show(self, decoder: type[Decoder]) -> list[Any]:
        """Updates of `groups` that show one decoder's."""
        return [gr.update(visible=kind is decoder) for kind in self.groups]

    def restore(self, decoder: Decoder) -> list[Any]:
        """Updates of one decoder's widgets to the values it has, in the order of its options."""
        return [gr.update(value=value) for value in decoder.options().values()]


def decoder_choices(family: Any) -> list[tuple[str, str]]:
    """What the decoder picker shows of a package, and the names behind: the law stands beside each name."""
    return [(f"{name} · {kind.law}", name) for name, kind in family.decoders().items()]


def model_picker(models: Iterable[Model], place: str) -> gr.Dropdown:
    """A picker of pipelines."""
    choices = [(model.label, model.name) for model in models]
    return gr.Dropdown(choices, value=choices[0][1], label="Pipeline", elem_id=place)


def decoder_words(model: Model, name: str, label: str, place: str) -> gr.Dropdown:
    """A picker of decoders that takes options, too, as the command line does."""
    return gr.Dropdown(
        decoder_choices(model.algorithms), value=name, label=label, allow_custom_value=True, elem_id=place,
        info="or with options, such as " + _EXAMPLE,
    )  # fmt: skip


def read_decoder(model: Model, words: str | None) -> Decoder:
    """The decoder that words say, such as `jacobi:window=16`; the pipeline's own where there are none.

    Raises:
        UnknownNameError: there is no such decoder.
        OptionError: it has no such option, or the value is out of range; or several are named.
    """
    if not words:
        return model.decoder
    entrants = parse_decoders(words, model.algorithms) if isinstance(words, str) else []
    if len(entrants) != 1:
        raise OptionError("decoder", words, "one decoder")
    return entrants[0].decoder


def decoder_in_words(decoder: Decoder) -> str:
    """What `read_decoder` reads as this decoder."""
    plain = type(decoder)().options()
    changed = {name: value for name, value in decoder.options().items() if value != plain[name]}
    options = "+".join(f"{name}={media.json_word(value)}" for name, value in changed.items())
    return f"{decoder.name}:{options}" if options else decoder.name


def offered(model: Model, chosen: Any) -> Any:
    """An update of a picker of decoders to those of a pipeline."""
    return gr.update(choices=decoder_choices(model.algorithms), value=chosen)


def about_decoder(decoder: type[Decoder]) -> str:
    """A decoder's law, summary and paper, as HTML."""
    about = {key: html.escape(str(value)) for key, value in decoder.describe().items()}
    return (
        f'<p class="about"><span class="law {about["law"]}">{about["law"]}</span> {about["summary"]} '
        f'<span class="paper">{about["paper"]}</span></p>'
    )


def _place(decoder: type[Decoder]) -> str:
    """What tells a decoder's widgets from others': decoders of different packages may share a name."""
    packages = decoder.__module__.split(".")[2:-1]
    return "-".join((*packages, decoder.name))


def _widget(option: Mapping[str, Any], value: Any, place: str) -> gr.components.Component:
    name = option["name"]
    common = {
        "label": name.replace("_", " ").capitalize(),
        "info": option["help"],
        "value": value,
        "elem_id": f"option-{place}-{name}",
        "interactive": True,
    }
    minimum, maximum = option.get("minimum"), option.get("maximum")
    if "choices" in option:
        # A part may be given with options of its own, such as grouped/ranks=5.
        return gr.Dropdown(list(option["choices"]), allow_custom_value="part" in option, **common)
    if option["type"] == "bool":
        return gr.Checkbox(**common)
    if option["type"] == "str":
        return gr.Textbox(**common)
    if minimum is not None and maximum is not None:
        step = 1 if option["type"] == "int" else (maximum - minimum) / 100
        return gr.Slider(minimum, maximum, step=step, buttons=[], **common)
    return gr.Number(minimum=minimum, maximum=maximum, precision=0 if option["type"] == "int" else None, **common)
