"""Compare: one prompt and seed, two decoders in a race, and their results below a slider."""

from __future__ import annotations

import html
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from mmgen.decoding.decoder import Decoder
from mmgen.web import duel, exhibits, results
from mmgen.web.controls import decoder_words, model_picker, offered, read_decoder
from mmgen.web.duel import Duel
from mmgen.web.models import Model
from mmgen.web.scripts import script
from mmgen.web.studio import Frame, Studio
from mmgen.web.visits import QUICK, Visit, answered, run

_EMPTY = results.empty(
    "No race yet.", "Choose two decoders and press Race: both draw the same prompt from the same seed."
)


class Compare:
    """The widgets of the tab and what joins them; made inside a `gr.Tab`."""

    def __init__(self, studio: Studio) -> None:
        self.studio, model = studio, studio.default
        self.visit = gr.State(Visit())
        with gr.Row(elem_classes="ask", equal_height=True):
            self.prompt = gr.Textbox(
                label="Prompt", placeholder="What both draw", lines=1, max_lines=1, elem_id="compare-prompt", scale=6
            )
            self.race = gr.Button("Race", variant="primary", elem_id="race", scale=1, min_width=120)
            self.stop = gr.Button("Stop", elem_id="stop-race", scale=0, min_width=80)
        with gr.Row(elem_classes="desk"):
            with gr.Column(scale=5, min_width=300, elem_classes="sheet easel"):
                self.status = gr.HTML(elem_id="compare-status", elem_classes="told")
                self.results = gr.HTML(_EMPTY, elem_id="comparison", js_on_load=script("slider"))
            with gr.Column(scale=3, min_width=280, elem_classes="sheet settings"):
                self.pipeline = model_picker(studio.models.values(), "compare-pipeline")
                self.first = decoder_words(model, _reference(model), "First decoder", "first-decoder")
                self.second = decoder_words(model, _rival(model), "Second decoder", "second-decoder")
                self.seed = gr.Number(label="Seed", value=1, precision=0, elem_id="compare-seed")
        self._join()

    def _join(self) -> None:
        run(
            self.race, self.stop, self.draw,
            [self.visit, self.prompt, self.pipeline, self.first, self.second, self.seed],
            [self.results, self.status], self.visit, self.status, also=self.prompt.submit,
        )  # fmt: skip
        self.pipeline.input(self.take, self.pipeline, [self.first, self.second], **QUICK)

    def take(self, name: str) -> list[Any]:
        """Offers the decoders of another pipeline."""
        model = self.studio.model(name)
        return [offered(model, name) for name in (_reference(model), _rival(model))]

    def draw(
        self, visit: Visit, prompt: str, pipeline: str, first: str, second: str, seed: float | None
    ) -> Iterator[tuple]:
        """Draws with both: what there is to see, and how far they are."""
        with answered(visit):
            model = self.studio.model(pipeline)
            decoders = read_decoder(model, first), read_decoder(model, second)
            if not self.studio.is_loaded(pipeline):
                yield gr.skip(), results.loading(pipeline)
            state = None
            with closing(duel.draw(self.studio, prompt, decoders, pipeline, int(seed or 0))) as states:
                for state in states:
                    yield race(state, decoders), results.message(verdict(state, decoders))
                    if visit.stopped and not state.finished:
                        yield gr.skip(), results.message("Stopped.")
                        return


def race(state: Duel, decoders: tuple[Decoder, Decoder]) -> str:
    """Both as far as they are; at the end below a slider."""
    sides = "".join(
        _side(frame, decoder, place, own)
        for frame, decoder, place, own in zip(state.frames, decoders, "AB", state.seconds, strict=True)
    )
    views = [_view(frame, state.finished) for frame in state.frames]
    medium = state.frames[0].medium
    shown = _slider(views, decoders) if state.finished else _pair(views)
    stage = "finished" if state.finished else "drawing"
    return f'<div class="race {stage} {medium}">{shown}<div class="sides">{sides}</div></div>'


def verdict(state: Duel, decoders: tuple[Decoder, Decoder]) -> str:
    """What came of it, in words."""
    if not state.finished:
        return "Racing: both have the same time, in turn."
    first, second = (decoder.name for decoder in decoders)
    faster, slower = (second, first) if state.speedup >= 1 else (first, second)
    text = f"{faster} is {max(state.speedup, 1 / state.speedup):.2f} times as fast as {slower} here. "
    return text + agreement(state, decoders)


def agreement(state: Duel, decoders: tuple[Decoder, Decoder]) -> str:
    """Whether both drew the same, and whether they promise to."""
    unit = "sample" if state.frames[0].medium == "audio" else "pixel"
    if state.equal == 1:
        return f"Every {unit} is equal."
    shares = f"{state.equal:.0%} of the {unit}s are equal"
    if all(decoder.seeded for decoder in decoders):
        return f"{shares}: rounding made a draw fall otherwise."
    if all(decoder.law == "exact" for decoder in decoders):
        return f"{shares}: both are exact, two draws from the same distribution."
    return f"{shares}: not both promise the model's own distribution."


def _side(frame: Frame, decoder: Decoder, place: str, seconds: float) -> str:
    row = frame.statistics[0]
    cells = (
        ("tokens", f"{row.tokens} of {frame.length}"),
        ("evaluations", str(row.evaluations)),
        ("seconds", f"{seconds:.2f}"),
    )
    return (
        f'<section class="side {place}{" done" if frame.finished else ""}" aria-label="{decoder.name}">'
        f"<h3>{html.escape(decoder.name)} {results.law(decoder.law)}</h3>"
        f'<progress value="{row.tokens}" max="{max(frame.length, 1)}" aria-label="Tokens of {decoder.name}"></progress>'
        f"{results.numbers(cells)}</section>"
    )


def _view(frame: Frame, finished: bool) -> tuple[str, str]:
    """An address of what there is to see, and what there is to hear."""
    if frame.medium == "video" and finished:
        return exhibits.moving(frame, frame.results[0]), ""
    picture = exhibits.as_png(exhibits.still(frame, frame.results[0]))
    return picture, exhibits.sounding(frame, frame.results[0]) if frame.medium == "audio" and finished else ""


def _pair(views: list[tuple[str, str]]) -> str:
    return '<div class="pair">' + "".join(f'<img src="{picture}" alt="">' for picture, _ in views) + "</div>"


def _slider(views: list[tuple[str, str]], decoders: tuple[Decoder, Decoder]) -> str:
    names = [html.escape(decoder.name) for decoder in decoders]
    layers = "".join(
        f'<img class="{place}" src="{picture}" alt="by {name}">'
        for place, (picture, _), name in zip("AB", views, names, strict=True)
    )
    players = "".join(
        f'<audio class="player" src="{sound}" controls aria-label="by {name}"></audio>'
        for (_, sound), name in zip(views, names, strict=True)
        if sound
    )
    label = f"{names[0]} to the left, {names[1]} to the right"
    return (
        f'<div class="slider" style="--cut: 50%">{layers}<span class="line" aria-hidden="true"></span>'
        f'<input type="range" min="0" max="100" value="50" aria-label="{label}">'
        f'</div><div class="players">{players}</div>'
    )


def _reference(model: Model) -> str:
    return model.algorithms.REFERENCE


def _rival(model: Model) -> str:
    """The pipeline's own decoder, or another than the reference."""
    others = [name for name in model.algorithms.decoders() if name != model.algorithms.REFERENCE]
    own = model.decoder.name
    return own if own != model.algorithms.REFERENCE else next(iter(others), own)
