"""Edit: paint on a picture, or mark an interval of a sound, and draw that part again under a prompt."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import gradio as gr

from mmgen.web import exhibits, limits, results, sketch
from mmgen.web.controls import decoder_in_words, decoder_words, model_picker, offered, read_decoder
from mmgen.web.scripts import script
from mmgen.web.sketch import Sketch, redrawn
from mmgen.web.studio import Studio
from mmgen.web.uploads import MEDIA, from_address, named
from mmgen.web.visits import MODEL, PRIVATE, Visit, answered, run, told

_PAINTED = """(visit, cells, ...others) => [visit, JSON.stringify(
  [...document.querySelectorAll('#canvas .painted')].map((cell) => Number(cell.dataset.cell))), ...others]"""
_EMPTY = results.empty(
    "Nothing to edit yet.", "Press Edit below a result, or drop a picture, clip or sound. Then paint what is to change."
)


class Edit:
    """The widgets of the tab and what joins them; made inside a `gr.Tab`."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.editable = [model for model in studio.models.values() if model.editable]
        self.visit = gr.State(Visit())
        self.sketch = gr.State(None, time_to_live=limits.KEPT_SECONDS)
        self.cells = gr.Textbox("[]", visible=False, label="Painted cells", elem_id="cells")
        with gr.Row(elem_classes="ask", equal_height=True):
            self.prompt = gr.Textbox(
                label="Prompt", placeholder="What the whole shows when the part is drawn again", lines=1, max_lines=1,
                elem_id="edit-prompt", scale=6,
            )  # fmt: skip
            self.redraw = gr.Button("Draw again", variant="primary", elem_id="redraw", scale=1, min_width=120)
            self.stop = gr.Button("Stop", elem_id="stop-edit", scale=0, min_width=80)
        with gr.Row(elem_classes="desk"):
            with gr.Column(scale=5, min_width=300, elem_classes="sheet easel"):
                self.status = gr.HTML(elem_id="edit-status", elem_classes="told")
                self.canvas: Any = gr.HTML(_EMPTY, elem_id="canvas", js_on_load=script("sketch"))
                self.results = gr.HTML("", elem_id="edit-results", js_on_load=results.KEEPER)
            with gr.Column(scale=3, min_width=280, elem_classes="sheet settings"):
                self._settings()
        self._join()

    def _settings(self) -> None:
        model = self.editable[0]
        self.file = gr.File(
            label="A picture, clip or sound", file_types=MEDIA, height=96, elem_id="edit-file", elem_classes="drop"
        )
        self.pipeline = model_picker(self.editable, "edit-pipeline")
        self.decoder = decoder_words(model, model.decoder.name, "Decoder", "edit-decoder")
        self.seed = gr.Number(label="Seed", value=1, precision=0, elem_id="edit-seed")
        self.count = gr.Slider(
            1, limits.MAXIMUM_COUNT, value=2, step=1, label="Versions", buttons=[], elem_id="edit-count"
        )

    def _join(self) -> None:
        run(
            self.redraw, self.stop, self.draw,
            [self.visit, self.cells, self.sketch, self.prompt, self.decoder, self.seed, self.count],
            [self.results, self.status], self.visit, self.status, also=self.prompt.submit, js=_PAINTED,
        )  # fmt: skip
        begun: dict[str, Any] = {"outputs": self._begun, "show_progress_on": self.status} | MODEL | PRIVATE
        self.file.upload(self.take, [self.file, self.pipeline], **begun)
        self.canvas.take(self.take_result, self.pipeline, **begun)
        self.pipeline.input(self.change, [self.file, self.pipeline], **begun)

    @property
    def _begun(self) -> list[Any]:
        told = [self.pipeline, self.decoder, self.prompt, self.seed, self.count]
        return [self.canvas, self.sketch, self.results, self.status, *told]

    def take(self, file: str | None, pipeline: str) -> list[Any]:
        """Puts a file on the canvas."""
        if file is None:
            return [gr.skip()] * len(self._begun)
        with told(), named(file):
            return self._begin(Path(file), self._maker(Path(file), pipeline), pipeline)

    def change(self, file: str | None, pipeline: str) -> list[Any]:
        """Turns to another pipeline: with the file again, as what it draws may have another size, else empty."""
        if file is None:
            words = results.message("Press Edit below a result, or drop a file.")
            return [_EMPTY, None, "", words, gr.skip(), self._offer(pipeline), *[gr.skip()] * 3]
        with told(), named(file):
            return self._begin(Path(file), pipeline)

    def _offer(self, name: str) -> Any:
        model = self.studio.model(name)
        return offered(model, model.decoder.name)

    def _maker(self, path: Path, pipeline: str) -> str:
        """The pipeline that made a file, where it can draw parts; else the one that is chosen."""
        settings = sketch.made_of(self.studio, path)
        return settings.model.name if settings is not None and settings.model.editable else pipeline

    def take_result(self, pipeline: str, event: gr.EventData) -> list[Any]:
        """Puts a result of the page on the canvas, for the pipeline that drew it."""
        source = event._data.get("source") if isinstance(event._data, dict) else None
        with told(), tempfile.TemporaryDirectory(prefix="mmgen-") as folder:
            path = from_address(source, Path(folder))
            return self._begin(path, self._maker(path, pipeline), pipeline)

    def _begin(self, path: Path, pipeline: str, before: str | None = None) -> list[Any]:
        """What `_begun` takes of a file for a pipeline.

        Args:
            before: the pipeline that was chosen; where it is this one, the decoder that was chosen stays.
        """
        begun = sketch.begin(self.studio, pipeline, path)
        settings, fields = begun.settings, [gr.skip() if pipeline == before else self._offer(pipeline)]
        if settings is not None and begun.edited is not None:
            fields = [offered(settings.model, decoder_in_words(settings.decoder)), settings.prompt, settings.seed, 1]
        else:
            fields += [settings.prompt if settings is not None else gr.skip(), gr.skip(), gr.skip()]
        return [canvas(begun), begun, "", results.message(_what_to_do(begun)), pipeline, *fields]

    def draw(
        self, visit: Visit, cells: str, begun: Sketch | None, prompt: str, decoder: str, seed: float | None,
        count: float,
    ) -> Iterator[tuple]:  # fmt: skip
        """Draws what is painted again: results and status."""
        with answered(visit):
            if begun is None:
                yield gr.skip(), results.message("Put something on the canvas first: press Edit below a result.")
                return
            frames = redrawn(
                self.studio, begun, prompt, json.loads(cells),
                decoder=read_decoder(self.studio.model(begun.pipeline), decoder),
                seed=None if seed is None else int(seed), count=int(count),
            )  # fmt: skip
            with closing(frames):
                for frame in frames:
                    stopped = visit.stopped and not frame.finished
                    yield results.cards(frame, True), results.stopped(frame) if stopped else results.progress(frame)
                    if stopped:
                        return


def _what_to_do(begun: Sketch) -> str:
    sound = begun.rows == 1
    if begun.edited is not None:
        again = "The interval that was made again is marked." if sound else "What was drawn again is painted."
        return f"{again} Press Draw again for the same, or change it."
    return "Mark the interval that is to be made again." if sound else "Paint what is to be drawn again."


def canvas(begun: Sketch) -> str:
    """What is painted on: the picture, and cells over it."""
    painted = ' class="painted"'
    marked = set(begun.marked)
    cells = "".join(
        f'<rect data-cell="{cell}"{painted if cell in marked else ""} x="{column}" y="{row}" width="1" height="1"/>'
        for cell, (row, column) in enumerate(product(range(begun.rows), range(begun.columns)))
    )
    label = "Cells to be drawn again: arrow keys move, the space bar paints"
    kind, picture = "sound" if begun.rows == 1 else "pixels", exhibits.as_png(begun.picture)
    return (
        f'<div class="sketch {kind}"><div class="paper"><img src="{picture}" alt="What is edited">'
        f'<svg viewBox="0 0 {begun.columns} {begun.rows}" preserveAspectRatio="none" tabindex="0" role="application" '
        f'aria-label="{label}">{cells}</svg></div><div class="tools">'
        '<label>Brush <input type="range" class="brush" min="1" max="5" value="2"></label>'
        '<label><input type="checkbox" class="eraser"> Erase</label>'
        '<button type="button" class="all">Paint all</button><button type="button" class="none">Clear</button>'
        "</div></div>"
    )
