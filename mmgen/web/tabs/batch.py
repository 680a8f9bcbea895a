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
from mmgen.web.controls import decoder_words, offered, read_decoder
from mmgen.web.jobs import Standing
from mmgen.web.studio import Studio
from mmgen.web.tabs.desk import Desk
from mmgen.web.visits import Visit, answered

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
        desk = Desk(studio, "batch", _EMPTY)
        with desk.easel:
            self.download = gr.DownloadButton("Download zip", elem_id="download", visible=False, variant="primary")
        with desk.form:
            self.file = gr.File(
                label=f"Prompts: {', '.join(_FILES)}", file_types=_FILES, height=120, elem_id="prompts",
                elem_classes="drop",
            )  # fmt: skip
            desk.pick()
            self.decoder = decoder_words(model, model.decoder.name, "Decoder", "batch-decoder")
            self.count = gr.Slider(
                1,
                limits.MAXIMUM_COUNT,
                value=1,
                step=1,
                label="Results of each prompt",
                buttons=[],
                elem_id="batch-count",
            )
        inputs, outputs = [self.file, self.decoder, self.count], [desk.results, desk.status, self.download]
        desk.join("Draw all", "start-batch", self.work, inputs, outputs, self.take, self.decoder)

    def take(self, name: str) -> Any:
        """Offers the decoders of another pipeline."""
        model = self.studio.model(name)
        return offered(model, model.decoder.name)

    def work(
        self, visit: Visit, pipeline: str, file: str | None, decoder: str, count: float
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
