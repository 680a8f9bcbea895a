"""Batch: a file of prompts, drawn by the same job as on the command line, to download as a zip."""

from __future__ import annotations

import html
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import gradio as gr

from mmgen.web import exhibits, jobs, limits, results
from mmgen.web.controls import decoder_choices, decoder_words, model_picker, read_decoder
from mmgen.web.jobs import Standing
from mmgen.web.studio import Studio
from mmgen.web.visits import QUICK, Visit, answered, run

_SHOWN = 12
"""Results that are shown while others are made."""
_FILES = [".txt", ".jsonl", ".csv", ".parquet"]
_EMPTY = results.empty(
    "No prompts yet.", "Drop a file of prompts: .txt with one a line, or .jsonl and .csv with a seed or count of each."
)
NAME = "mmgen-batch.zip"
"""Of the file that is downloaded."""


class Batch:
    """The widgets of the tab and what joins them; made inside a `gr.Tab`."""

    def __init__(self, studio: Studio) -> None:
        self.studio, model = studio, studio.default
        self.visit = gr.State(Visit())
        with gr.Row(elem_classes="desk form-first"):
            with gr.Column(scale=5, min_width=300, elem_classes="sheet easel"):
                self.status = gr.HTML(elem_id="batch-status", elem_classes="told")
                self.results = gr.HTML(_EMPTY, elem_id="batch-results", js_on_load=results.VIEWER)
                self.download = gr.DownloadButton("Download zip", elem_id="download", visible=False, variant="primary")
            with gr.Column(scale=3, min_width=280, elem_classes="sheet settings"):
                self.file = gr.File(
                    label=f"Prompts: {', '.join(_FILES)}", file_types=_FILES, height=120, elem_id="prompts",
                    elem_classes="drop",
                )  # fmt: skip
                self.pipeline = model_picker(studio.models.values(), "batch-pipeline")
                self.decoder = decoder_words(model, model.decoder.name, "Decoder", "batch-decoder")
                self.count = gr.Slider(
                    1, limits.MAXIMUM_COUNT, value=1, step=1, label="Of each prompt", buttons=[], elem_id="batch-count"
                )
                with gr.Row():
                    self.start = gr.Button("Draw all", variant="primary", elem_id="start-batch", min_width=120)
                    self.stop = gr.Button("Stop", elem_id="stop-batch", min_width=80)
        run(
            self.start, self.stop, self.work, [self.visit, self.file, self.pipeline, self.decoder, self.count],
            [self.results, self.status, self.download], self.visit, self.status,
        )  # fmt: skip
        self.pipeline.input(self.take, self.pipeline, self.decoder, **QUICK)

    def take(self, name: str) -> Any:
        """Offers the decoders of another pipeline."""
        model = self.studio.model(name)
        return gr.update(choices=decoder_choices(model.algorithms), value=model.decoder.name)

    def work(
        self, visit: Visit, file: str | None, pipeline: str, decoder: str, count: float
    ) -> Iterator[tuple[Any, str, Any]]:
        """Draws all: what there is so far, how far it is, and in the end the zip."""
        with answered(visit), tempfile.TemporaryDirectory(prefix="mmgen-") as place:
            if file is None:
                yield gr.skip(), results.message("Choose a file of prompts first."), gr.skip()
                return
            if not self.studio.is_loaded(pipeline):
                yield gr.skip(), results.loading(pipeline), gr.skip()
            folder, standing = Path(place) / "job", None
            own = read_decoder(self.studio.model(pipeline), decoder)
            defaults = {"decoder": own.name, "decoder_options": own.options(), "count": int(count)}
            with closing(jobs.work(self.studio, pipeline, Path(file), defaults, folder)) as standings:
                for standing in standings:
                    yield _cards(standing, folder), _progress(standing), gr.update(visible=False)
                    if visit.stopped:
                        break
            if standing is None:
                yield gr.skip(), results.message("Stopped before anything was drawn."), gr.skip()
                return
            packed, zipped = jobs.pack(folder, Path(place) / NAME), f"{place}/{NAME}"
            download = gr.update(value=zipped, visible=True) if packed else gr.update(visible=False)
            yield _cards(standing, folder), _end(standing, packed), download


def _progress(standing: Standing) -> str:
    ended = standing.done + standing.failed
    left = f", about {standing.seconds_left:.0f} seconds left" if standing.seconds_left and ended else ""
    return results.bar(f"{ended} of {standing.items} drawn{_failed(standing)}{left}", ended, standing.items, "Drawn")


def _end(standing: Standing, packed: int) -> str:
    stopped = "" if standing.done + standing.failed == standing.items else "Stopped. "
    return results.message(f"{stopped}{packed} of {standing.items} are in the zip{_failed(standing)}.")


def _failed(standing: Standing) -> str:
    return f", {standing.failed} failed" if standing.failed else ""


def _cards(standing: Standing, folder: Path) -> str:
    """The last results, and why others failed."""
    records = list(standing.records)[-_SHOWN:]
    cards = "".join(_card(record, folder) for record in records)
    return f'<div class="cards small" data-count="{max(len(records), 5)}">{cards}</div>'


def _card(record: Any, folder: Path) -> str:
    prompt = html.escape(str(record["prompt"]), quote=True)
    if record["status"] != "done":
        error = html.escape(record["error"])
        return f'<figure class="card failed"><p>{error}</p><figcaption>{prompt}</figcaption></figure>'
    exhibit = exhibits.of_file(folder / record["file"])
    seed = f'<span class="seed">seed {record["seed"]}</span>'
    return (
        f'<figure class="card">{exhibit.html(prompt)}'
        f'<figcaption><p class="caption">{prompt}</p><p class="made">{seed}</p></figcaption></figure>'
    )
