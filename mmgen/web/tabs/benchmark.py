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
from mmgen.web.controls import decoder_choices, offered
from mmgen.web.models import Model
from mmgen.web.streaming import Voice, stream
from mmgen.web.studio import Studio
from mmgen.web.tabs.desk import Desk
from mmgen.web.visits import Visit, answered

_EMPTY = results.empty(
    "Nothing measured yet.", "Choose decoders and press Measure: they take turns on the same prompts and seeds."
)
_HEADS = ("evaluations", "seconds", "speed-up", "same")


class Benchmark:
    """The widgets of the tab and what joins them; made inside a `gr.Tab`."""

    def __init__(self, studio: Studio) -> None:
        self.studio, model = studio, studio.default
        desk = Desk(studio, "bench", _EMPTY)
        with desk.form:
            desk.pick()
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
        inputs, outputs = [self.decoders, self.prompts, self.repeats], [desk.results, desk.status]
        desk.join("Measure", "measure", self.work, inputs, outputs, self.take, self.decoders)

    def take(self, name: str) -> Any:
        """Offers the decoders of another pipeline."""
        model = self.studio.model(name)
        return offered(model, _chosen(model))

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
    heads = "".join(f"<th scope=col>{name}</th>" for name in ("decoder", *_HEADS))
    return (
        f'<button type="button" class="picture plot" title="Show full size"><img src="{picture}" '
        f'alt="Speed-up and evaluations of {len(rows)} decoders"></button>'
        f'<div class="table"><table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>'
        '<p class="fine">Medians; quartiles in brackets. Same: whether every result equals the first decoder\'s.</p>'
    )


def _line(row: Row) -> str:
    speedup = f"{row.speedup:.2f} <small>({row.speedup_low:.2f}–{row.speedup_high:.2f})</small>"
    same = "yes" if row.same_pictures else "no"
    values = (f"{row.evaluations:.1f}", f"{row.seconds:.2f}", speedup, same)
    cells = "".join(f'<td data-name="{name}">{value}</td>' for name, value in zip(_HEADS, values, strict=True))
    return f"<tr><th scope=row>{html.escape(row.label)} {results.law(row.law)}</th>{cells}</tr>"


def _chosen(model: Model) -> list[str]:
    """The reference, the pipeline's own decoder, and some more."""
    names = [model.algorithms.REFERENCE, model.decoder.name, *model.algorithms.decoders()]
    return list(dict.fromkeys(names))[:3]
