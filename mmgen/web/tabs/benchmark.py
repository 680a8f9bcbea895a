"""Benchmark: the paired comparison of `mmgen bench`, run from the page, with its plot."""

from __future__ import annotations

import html
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import gradio as gr

from mmgen.errors import OptionError
from mmgen.evaluation import bench, plot
from mmgen.evaluation.rows import Row
from mmgen.web import captions, exhibits, limits, results
from mmgen.web.controls import decoder_choices, model_picker
from mmgen.web.models import Model
from mmgen.web.streaming import Voice, stream
from mmgen.web.studio import Studio
from mmgen.web.visits import QUICK, Visit, answered, run

_EMPTY = results.empty(
    "Nothing measured yet.", "Choose decoders and press Measure: they take turns on the same prompts and seeds."
)


class Benchmark:
    """The widgets of the tab and what joins them; made inside a `gr.Tab`."""

    def __init__(self, studio: Studio) -> None:
        self.studio, model = studio, studio.default
        self.visit = gr.State(Visit())
        with gr.Row(elem_classes="desk form-first"):
            with gr.Column(scale=5, min_width=300, elem_classes="sheet easel"):
                self.status = gr.HTML(elem_id="bench-status", elem_classes="told")
                self.results = gr.HTML(_EMPTY, elem_id="bench-results", js_on_load=results.VIEWER)
            with gr.Column(scale=3, min_width=280, elem_classes="sheet settings"):
                self.pipeline = model_picker(studio.models.values(), "bench-pipeline")
                self.decoders = gr.Dropdown(
                    decoder_choices(model.algorithms), value=_chosen(model), multiselect=True, label="Decoders",
                    allow_custom_value=True, elem_id="bench-decoders",
                    info="or with options, such as jacobi:window=16; the reference always takes part",
                )  # fmt: skip
                self.prompts = gr.Slider(
                    1, limits.MAXIMUM_PROMPTS, value=4, step=1, label="Prompts", buttons=[], elem_id="bench-prompts"
                )
                self.repeats = gr.Slider(
                    1, limits.MAXIMUM_REPEATS, value=2, step=1, label="Repeats", buttons=[], elem_id="bench-repeats"
                )
                with gr.Row():
                    self.measure = gr.Button("Measure", variant="primary", elem_id="measure", min_width=120)
                    self.stop = gr.Button("Stop", elem_id="stop-bench", min_width=80)
        run(
            self.measure, self.stop, self.work,
            [self.visit, self.pipeline, self.decoders, self.prompts, self.repeats],
            [self.results, self.status], self.visit, self.status,
        )  # fmt: skip
        self.pipeline.input(self.take, self.pipeline, self.decoders, **QUICK)

    def take(self, name: str) -> Any:
        """Offers the decoders of another pipeline."""
        model = self.studio.model(name)
        return gr.update(choices=decoder_choices(model.algorithms), value=_chosen(model))

    def work(
        self, visit: Visit, pipeline: str, decoders: list[str], prompts: float, repeats: float
    ) -> Iterator[tuple[Any, str]]:
        """Measures: the plot and table in the end, and how far it is."""
        with answered(visit):
            if not self.studio.is_loaded(pipeline):
                yield gr.skip(), results.loading(pipeline)
            yield gr.skip(), results.working("Measuring: each decoder draws once beforehand, untimed.")
            with closing(measured(self.studio, pipeline, decoders, int(prompts), int(repeats))) as said:
                for line in said:
                    if isinstance(line, list):
                        yield report(line), results.message(f"{len(line)} decoders, {int(prompts)} prompts.")
                    elif visit.stopped:
                        yield gr.skip(), results.message("Stopped.")
                        return
                    else:
                        yield gr.skip(), results.working(f"Measuring: {line}")


def measured(
    studio: Studio, pipeline: str | None, decoders: Sequence[str] | None, prompts: int, repeats: int
) -> Generator[str | list[Row]]:
    """Lines on how a comparison goes on, and in the end its rows.

    Raises:
        OptionError: a number is out of range, or no decoder is named.
        UnknownNameError: there is no such pipeline or decoder.
    """
    limits.check_number("prompts", prompts, limits.MAXIMUM_PROMPTS)
    limits.check_number("repeats", repeats, limits.MAXIMUM_REPEATS)
    model = studio.model(pipeline)
    if not isinstance(decoders, list) or not decoders or not all(isinstance(name, str) for name in decoders):
        raise OptionError("decoders", decoders, f"some of {', '.join(model.algorithms.decoders())}")
    texts = None if model.grammar is not None else captions.examples(model.medium, None)

    def work(voice: Voice) -> list[Row]:
        pipe = studio.pipeline(pipeline)
        return bench.run(pipe, list(decoders), prompts, repeats, baseline=False, log=voice.say, captions=texts)

    yield (yield from stream(work))


def report(rows: Sequence[Row]) -> str:
    """The plot of a comparison and its table."""
    with tempfile.TemporaryDirectory(prefix="mmgen-") as folder:
        path = Path(folder) / "plot.png"
        plot.draw(rows, path)
        picture = exhibits.as_address(path.read_bytes(), "png")
    lines = "".join(_line(row) for row in rows)
    heads = "".join(f"<th scope=col>{name}</th>" for name in ("decoder", "evaluations", "seconds", "speed-up", "same"))
    return (
        f'<button type="button" class="picture plot" title="Show full size"><img src="{picture}" '
        f'alt="Speed-up and evaluations of {len(rows)} decoders"></button>'
        f'<div class="table"><table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>'
        '<p class="fine">Medians; quartiles in brackets. Same: whether every result equals the first decoder\'s.</p>'
    )


def _line(row: Row) -> str:
    same = "yes" if row.same_pictures else "no"
    return (
        f"<tr><th scope=row>{html.escape(row.label)} {results.law(row.law)}</th><td>{row.evaluations:.1f}</td>"
        f"<td>{row.seconds:.2f}</td>"
        f"<td>{row.speedup:.2f} <small>({row.speedup_low:.2f}–{row.speedup_high:.2f})</small></td><td>{same}</td></tr>"
    )


def _chosen(model: Model) -> list[str]:
    """The reference, the pipeline's own decoder, and some more."""
    names = [model.algorithms.REFERENCE, model.decoder.name, *model.algorithms.decoders()]
    return list(dict.fromkeys(names))[:3]
