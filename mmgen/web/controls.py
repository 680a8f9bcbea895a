"""Widgets made from the options of the decoders: what a decoder declares is what the page shows."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import gradio as gr

from mmgen import decoding
from mmgen.decoding.decoder import Decoder


class DecoderOptions:
    """One group of widgets for each decoder, of which the chosen decoder's is visible.

    Args:
        chosen: the decoder to start with; its own values stand in its widgets.
    """

    def __init__(self, chosen: Decoder) -> None:
        self.groups: dict[str, gr.Column] = {}
        self.widgets: dict[str, dict[str, gr.components.Component]] = {}
        for name, kind in decoding.decoders().items():
            options = kind.describe()["options"]
            values = chosen.options() if name == chosen.name else {}
            with gr.Column(visible=name == chosen.name, elem_id=f"options-{name}", min_width=0) as group:
                self.widgets[name] = {
                    option["name"]: _widget(option, values.get(option["name"], option["default"]), name)
                    for option in options
                }
            self.groups[name] = group

    @property
    def inputs(self) -> set[gr.components.Component]:
        """All widgets, of all decoders."""
        return {widget for widgets in self.widgets.values() for widget in widgets.values()}

    def read(self, decoder: str, values: Mapping[Any, Any]) -> dict[str, Any]:
        """The options of a decoder, from what the widgets hold; a whole number stays one."""
        kinds = {option["name"]: option["type"] for option in decoding.decoders()[decoder].describe()["options"]}
        return {
            name: round(values[widget]) if kinds[name] == "int" and values[widget] is not None else values[widget]
            for name, widget in self.widgets[decoder].items()
        }

    def show(self, decoder: str) -> list[Any]:
        """Updates of `groups` that show one decoder's."""
        return [gr.update(visible=name == decoder) for name in self.groups]

    def restore(self, decoder: Decoder) -> list[Any]:
        """Updates of one decoder's widgets to the values it has, in the order of its options."""
        return [gr.update(value=value) for value in decoder.options().values()]


def decoder_choices() -> list[tuple[str, str]]:
    """What the decoder picker shows, and the names behind: the law stands beside each name."""
    return [(f"{name} · {kind.law}", name) for name, kind in decoding.decoders().items()]


def about_decoder(name: str) -> str:
    """A decoder's law, summary and paper, as HTML."""
    about = {key: html.escape(str(value)) for key, value in decoding.decoders()[name].describe().items()}
    return (
        f'<p class="about"><span class="law {about["law"]}">{about["law"]}</span> {about["summary"]} '
        f'<span class="paper">{about["paper"]}</span></p>'
    )


def _widget(option: Mapping[str, Any], value: Any, decoder: str) -> gr.components.Component:
    name = option["name"]
    common = {
        "label": name.replace("_", " ").capitalize(),
        "info": option["help"],
        "value": value,
        "elem_id": f"option-{decoder}-{name}",
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
