"""Create: a prompt, the settings a pipeline and its decoders have, and results that appear as they are drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from mmgen.web import captions, restore, results
from mmgen.web.form import Form
from mmgen.web.models import Model
from mmgen.web.restore import Settings
from mmgen.web.studio import Studio
from mmgen.web.visits import LIGHT, QUICK, Visit, answered, run, told

_EMPTY = results.empty("Nothing drawn yet.", "Write what to draw, or choose an example, and press Enter.")
_FILES = [".png", ".webp", ".gif", ".mp4", ".wav", ".flac", ".ogg"]


class Create:
    """The widgets of the tab and what joins them; made inside a `gr.Tab`."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.last_seed = gr.State(None)
        self.visit = gr.State(Visit())
        self._ask(studio.default)
        with gr.Row(elem_id="desk", elem_classes="desk"):
            with gr.Column(scale=5, min_width=300, elem_classes="sheet easel"):
                self.status = gr.HTML(elem_id="status", elem_classes="told")
                self.results = gr.HTML(_EMPTY, elem_id="results", js_on_load=results.KEEPER)
                self.highlight = gr.Checkbox(label="Highlight the last evaluation's tokens", elem_id="highlight")
            with gr.Column(scale=3, min_width=280, elem_id="settings", elem_classes="sheet settings"):
                self.form = Form(studio)
                self.dropped = gr.File(
                    label="Settings of a file: drop a picture, clip or sound made here", file_types=_FILES,
                    height=96, elem_id="drop", elem_classes="drop",
                )  # fmt: skip
        with gr.Accordion("What can I write?", open=False, elem_id="grammar", elem_classes="sheet"):
            self.grammar = gr.HTML(captions.describe(studio.default.grammar), elem_id="words")
        self._join()

    def _ask(self, model: Model) -> None:
        choices = captions.examples(model.medium, model.grammar)
        with gr.Row(elem_id="ask", elem_classes="ask", equal_height=True):
            self.prompt = gr.Textbox(
                label="Prompt", placeholder="What to draw", lines=1, max_lines=1, autofocus=True, elem_id="prompt",
                scale=6,
            )  # fmt: skip
            self.generate = gr.Button("Generate", variant="primary", elem_id="generate", scale=1, min_width=120)
            self.stop = gr.Button("Stop", elem_id="stop", scale=0, min_width=80)
        self.examples = gr.Dataset(
            components=[self.prompt], samples=[[text] for text in choices], type="values", label="Examples",
            elem_id="examples", elem_classes="examples",
        )  # fmt: skip

    def _join(self) -> None:
        run(
            self.generate, self.stop, self.draw, self.form.inputs | {self.prompt, self.visit},
            [self.results, self.status, self.last_seed], self.visit, self.status, also=self.prompt.submit,
        )  # fmt: skip
        self.examples.click(lambda row: row[0], self.examples, self.prompt, **QUICK)
        self.form.reuse.click(_reuse, self.last_seed, [self.form.seed, self.form.random], **LIGHT)
        self.form.pipeline.input(self.take, self.form.pipeline, self._taken, **QUICK)
        self.dropped.upload(self.restore_file, self.dropped, [*self.restored, self.dropped], **LIGHT)

    def draw(self, values: dict[Any, Any]) -> Iterator[tuple]:
        """Draws what the widgets ask for, frame by frame: results, status and the first seed."""
        visit = values[self.visit]
        with answered(visit):
            if visit.stopped:
                yield gr.skip(), results.message("Stopped before it began."), gr.skip()
                return
            settings = self.form.read(values)
            model = self.studio.model(settings["pipeline"])
            if not self.studio.is_loaded(model.name):
                yield gr.skip(), results.loading(model.name), gr.skip()
            with closing(self.studio.draw(values[self.prompt], **settings)) as frames:
                for frame in frames:
                    stopped = visit.stopped and not frame.finished
                    status = results.stopped(frame) if stopped else results.progress(frame)
                    yield results.cards(frame, model.editable), status, frame.statistics[0].seed
                    if stopped:
                        return

    @property
    def _taken(self) -> list[Any]:
        return [self.examples, self.grammar, *self.form.taken]

    def take(self, name: str) -> list[Any]:
        """Sets the widgets to a pipeline's own defaults."""
        return self._take(self.studio.model(name))

    def _take(self, model: Model, settings: Settings | None = None) -> list[Any]:
        samples = [[text] for text in captions.examples(model.medium, model.grammar)]
        return [
            gr.Dataset(samples=samples, visible=bool(samples)), captions.describe(model.grammar),
            *self.form.take(model, settings),
        ]  # fmt: skip

    @property
    def restored(self) -> list[Any]:
        """The widgets that `restore` sets, in its order."""
        return [self.status, self.prompt, self.form.pipeline, self.form.seed, self.form.random, *self._taken]

    def restore_file(self, path: str | None) -> list[Any]:
        """Sets the widgets to what made a file, and empties the place where it was dropped."""
        if path is None:
            return [gr.skip()] * (len(self.restored) + 1)
        with told():
            return [*self.restore(restore.of_file(self.studio, path)), None]

    def restore(self, settings: Settings) -> list[Any]:
        """Sets the widgets to settings."""
        fields = settings.prompt, settings.model.name, gr.update(value=settings.seed, interactive=True), False
        return [results.message(_restored(settings)), *fields, *self._take(settings.model, settings)]


def _restored(settings: Settings) -> str:
    if settings.edited is not None:
        return "Settings restored, but this is part of something older: drop the file on Edit to draw that part again."
    said = f"Settings restored: Generate makes “{settings.prompt}” again, seed {settings.seed}."
    if settings.continues:
        said += " It began with a file, which has to be given again."
    if settings.unshown:
        said += f" But for {', '.join(settings.unshown)}, which the form has no field for: see `mmgen show`."
    return said


def _reuse(last_seed: int | None) -> tuple[Any, Any]:
    if last_seed is None:
        gr.Info("Nothing has been drawn yet, so there is no last seed.")
        return gr.skip(), gr.skip()
    return last_seed, False
