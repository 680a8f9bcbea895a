"""What is drawn and how: the fields beside the prompt, made from what pipelines and decoders declare."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from mmgen.cli.files import NOUNS
from mmgen.web import limits
from mmgen.web.controls import DecoderOptions, about_decoder, decoder_choices, model_picker, offered
from mmgen.web.models import Model
from mmgen.web.restore import Settings
from mmgen.web.studio import Studio
from mmgen.web.uploads import MEDIA
from mmgen.web.visits import QUICK

_GUIDANCE_SHOWN = 12
_TEMPERATURE_SHOWN = 2
_TOP_K_SHOWN = 1024


class Form:
    """The fields of a request, made inside a `gr.Blocks`. Nothing is loaded for them."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        model = studio.default
        self.pipeline = model_picker(studio.models.values(), "pipeline")
        self.decoder = gr.Dropdown(
            decoder_choices(model.algorithms), value=model.decoder.name, label="Decoder", elem_id="decoder"
        )
        self.about = gr.HTML(about_decoder(type(model.decoder)), elem_id="about-decoder")
        self.options = DecoderOptions(model.decoder, studio.families)
        self._seeds()
        self.count = gr.Slider(
            1, limits.MAXIMUM_COUNT, value=1, step=1, label=NOUNS[model.medium].capitalize(), buttons=[],
            elem_id="count",
        )  # fmt: skip
        self._conditions(model)
        self._sampling(model)
        self.decoder.input(
            self.explain, [self.pipeline, self.decoder], [self.about, *self.options.groups.values()], **QUICK
        )
        self.random.change(lambda random: gr.update(interactive=not random), self.random, self.seed, **QUICK)

    def _seeds(self) -> None:
        with gr.Row(elem_id="seeds", equal_height=False):
            self.seed = gr.Number(
                label="Seed", value=1, precision=0, interactive=False, elem_id="seed", min_width=120, scale=2
            )
            with gr.Column(min_width=120, scale=2):
                self.random = gr.Checkbox(label="Random seed", value=True, elem_id="random-seed")
                self.reuse = gr.Button("Reuse last seed", size="sm", elem_id="reuse-seed")

    def _conditions(self, model: Model) -> None:
        self.duration = gr.Slider(
            0.5, model.longest, value=_seconds(model), step=0.5, label="Seconds", buttons=[], elem_id="duration",
            visible=model.medium == "audio",
        )  # fmt: skip
        self.frames = gr.Number(
            label="Frames", value=None, precision=0, minimum=1, placeholder="all", elem_id="frames",
            info="fewer than the pipeline draws, or empty for all", visible="frames" in model.conditions,
        )  # fmt: skip
        self.beginning = gr.File(
            label=_begins(model), file_types=MEDIA, height=96, elem_id="beginning", elem_classes="drop",
            visible="continue_from" in model.conditions,
        )  # fmt: skip

    def _sampling(self, model: Model) -> None:
        own = model.sampling
        self.guidance = gr.Slider(
            0, _GUIDANCE_SHOWN, value=own["guidance"], step=0.05, label="Guidance", buttons=[],
            info="how closely a result keeps to its prompt; 1 is without", elem_id="guidance",
        )  # fmt: skip
        self.temperature = gr.Slider(
            0, _TEMPERATURE_SHOWN, value=own["temperature"], step=0.05, label="Temperature", buttons=[],
            info="how freely codes are drawn; 0 takes the likeliest", elem_id="temperature",
        )  # fmt: skip
        with gr.Accordion("Fewer codes to choose from", open=False, elem_id="truncation"):
            self.top_k = gr.Slider(
                0, _TOP_K_SHOWN, value=own["top_k"], step=1, label="Top k", buttons=[],
                info="keeps the likeliest; 0 keeps all", elem_id="top-k",
            )  # fmt: skip
            self.top_p = gr.Slider(
                0.01, 1, value=own["top_p"], step=0.01, label="Top p", buttons=[],
                info="keeps the likeliest up to this probability; 1 keeps all", elem_id="top-p",
            )  # fmt: skip

    @property
    def inputs(self) -> set[Any]:
        """The widgets that `read` reads."""
        own = {self.pipeline, self.decoder, self.seed, self.random, self.count, self.guidance, self.temperature}
        told = {self.duration, self.frames, self.beginning}
        return own | {self.top_k, self.top_p} | told | self.options.inputs

    def read(self, values: Mapping[Any, Any]) -> dict[str, Any]:
        """Arguments of `Studio.draw`, from what the widgets hold."""
        model, decoder = self.studio.model(values[self.pipeline]), values[self.decoder]
        return {
            "pipeline": model.name,
            "count": values[self.count],
            "seed": None if values[self.random] else values[self.seed],
            "decoder": decoder,
            "decoder_options": self.options.read(_decoder(model, decoder), values),
            "guidance": values[self.guidance],
            "temperature": values[self.temperature],
            "top_k": values[self.top_k],
            "top_p": values[self.top_p],
            **self._told(model, values),
        }

    def _told(self, model: Model, values: Mapping[Any, Any]) -> dict[str, Any]:
        """Conditions that the pipeline knows."""
        frames, beginning = values[self.frames], values[self.beginning]
        told = {
            "duration": values[self.duration],
            "frames": int(frames) if frames else None,
            "continue_from": Path(beginning) if beginning else None,
        }
        return {name: value for name, value in told.items() if name in model.conditions}

    def explain(self, pipeline: str, name: str) -> list[Any]:
        """What the page says of a decoder, and its options alone."""
        decoder = _decoder(self.studio.model(pipeline), name)
        return [about_decoder(decoder), *self.options.show(decoder)]

    @property
    def taken(self) -> list[Any]:
        """The widgets that `take` sets, in its order."""
        widgets = [widget for group in self.options.widgets.values() for widget in group.values()]
        told = [self.duration, self.frames, self.beginning]
        shown = [self.decoder, self.about, *self.options.groups.values(), self.count, *told]
        return [*shown, self.guidance, self.temperature, self.top_k, self.top_p, *widgets]

    def take(self, model: Model, settings: Settings | None = None) -> list[Any]:
        """Updates of `taken` to a pipeline's own defaults, or to what made a file."""
        decoder = model.decoder if settings is None else settings.decoder
        sampling = model.sampling if settings is None else settings.sampling
        options: list[Any] = []
        for kind, widgets in self.options.widgets.items():
            options += self.options.restore(decoder) if kind is type(decoder) else [gr.skip() for _ in widgets]
        count = gr.update(label=NOUNS[model.medium].capitalize(), **({} if settings is None else {"value": 1}))
        return [
            offered(model, decoder.name), about_decoder(type(decoder)), *self.options.show(type(decoder)), count,
            *_told(model, settings), *(sampling[name] for name in ("guidance", "temperature", "top_k", "top_p")),
            *options,
        ]  # fmt: skip


def _decoder(model: Model, name: str) -> Any:
    """A decoder's class; that of the pipeline's first one while the picker still shows another family's name."""
    decoders = model.algorithms.decoders()
    return decoders.get(name, next(iter(decoders.values())))


def _told(model: Model, settings: Settings | None) -> list[Any]:
    """Updates of the fields of conditions: how long a sound is, how many frames a clip has, what either begins with."""
    said: Mapping[str, Any] = {} if settings is None else settings.conditions
    seconds = said.get("duration", _seconds(model))
    return [
        gr.update(visible=model.medium == "audio", value=seconds, maximum=max(model.longest, seconds)),
        gr.update(visible="frames" in model.conditions, value=said.get("frames")),
        gr.update(visible="continue_from" in model.conditions, value=None, label=_begins(model)),
    ]


def _begins(model: Model) -> str:
    given = "a sound" if model.medium == "audio" else "a picture or clip"
    return f"What it begins with, if anything: {given}"


def _seconds(model: Model) -> float:
    return float(model.conditions.get("duration") or 10)
