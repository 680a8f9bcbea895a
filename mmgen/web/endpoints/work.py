"""Endpoints that take long: a file of prompts, a comparison of decoders."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from mmgen.evaluation import plot
from mmgen.web import jobs
from mmgen.web.controls import read_decoder
from mmgen.web.endpoints.answers import as_file, in_words
from mmgen.web.studio import Studio
from mmgen.web.tabs.batch import NAME
from mmgen.web.tabs.benchmark import measured
from mmgen.web.uploads import Upload, uploaded


def batch(studio: Studio) -> Any:
    """A file of prompts."""

    def drawn(
        file: Upload | str, pipeline: str | None = None, decoder: str | None = None, count: int = 1
    ) -> Iterator[dict[str, Any]]:
        """Draws a file of prompts, as `mmgen batch` does; the answer comes again and again, the last one with a zip.

        Parameters:
            file: .txt with a prompt a line, or .jsonl, .csv or .parquet as `mmgen batch` takes them.
            pipeline: name of a shipped pipeline.
            decoder: a decoder, with options as in "jacobi:window=16".
            count: results of each prompt that does not say otherwise.

        Returns:
            items, done, failed, and `file`: a zip of the results and their manifest, null while they are drawn.
        """
        with in_words(), tempfile.TemporaryDirectory(prefix="mmgen-") as place:
            model, folder = studio.model(pipeline), Path(place) / "job"
            own = read_decoder(model, decoder)
            defaults = {"decoder": own.name, "decoder_options": own.options(), "count": count}
            said: dict[str, Any] = {}
            with closing(jobs.work(studio, model.name, uploaded(file, place), defaults, folder)) as standings:
                for standing in standings:
                    said = {"items": standing.items, "done": standing.done, "failed": standing.failed, "file": None}
                    yield said
            jobs.pack(folder, Path(place) / NAME)
            yield said | {"file": as_file(Path(place) / NAME)}

    return drawn


def benchmark(studio: Studio) -> Any:
    """A comparison of decoders."""

    def compared(
        decoders: list[str], pipeline: str | None = None, prompts: int = 4, repeats: int = 2
    ) -> Iterator[dict[str, Any]]:
        """Compares decoders on the same prompts and seeds, as `mmgen bench` does.

        Parameters:
            decoders: names, with options as in "jacobi:window=16"; the pipeline's reference always takes part.
            pipeline: name of a shipped pipeline.
            prompts: 1 to 16.
            repeats: 1 to 5.

        Returns:
            rows: as `mmgen bench --json` prints them; plot: a PNG file; both null while it is measured; line: how far
            it is.
        """
        with in_words(), tempfile.TemporaryDirectory(prefix="mmgen-") as folder:
            for said in measured(studio, pipeline, decoders, prompts, repeats):
                if isinstance(said, str):
                    yield {"rows": None, "plot": None, "line": said}
                    continue
                path = Path(folder) / "plot.png"
                plot.draw(said, path)
                yield {"rows": [row.to_dict() for row in said], "plot": as_file(path), "line": "finished"}

    return compared
