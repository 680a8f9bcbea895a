"""What the tabs Batch and Benchmark are made of: a form, its results beside it, and two buttons."""

from __future__ import annotations

from typing import Any

import gradio as gr

from mmgen.web import results
from mmgen.web.controls import model_picker
from mmgen.web.studio import Studio
from mmgen.web.visits import QUICK, Visit, run


class Desk:
    """Results to the left and their form to the right, or above on a phone; made inside a `gr.Tab`.

    A tab puts its own fields into `form`, and calls `join` in the end.

    Args:
        studio: whose pipelines are offered.
        place: what the ids of its parts begin with.
        empty: what stands in the place of results before the first.
    """

    def __init__(self, studio: Studio, place: str, empty: str) -> None:
        self.studio, self.place = studio, place
        self.visit = gr.State(Visit())
        with gr.Row(elem_classes="desk form-first"):
            with gr.Column(scale=5, min_width=300, elem_classes="sheet easel") as self.easel:
                self.status = gr.HTML(elem_id=f"{place}-status", elem_classes="told")
                self.results = gr.HTML(empty, elem_id=f"{place}-results", js_on_load=results.VIEWER)
            self.form = gr.Column(scale=3, min_width=280, elem_classes="sheet settings")

    def join(
        self, action: str, start_id: str, work: Any, inputs: list[Any], outputs: list[Any], take: Any, decoders: Any
    ) -> None:
        """Adds the buttons, and joins them to work on a model; a pipeline that is picked brings its decoders.

        Args:
            action: what the first button says.
            start_id: its id.
            work: a generator of values of `outputs`, told of the visit, the pipeline and `inputs`.
            take: makes an update of `decoders` of a pipeline's name.
        """
        with self.form, gr.Row():
            start = gr.Button(action, variant="primary", elem_id=start_id, min_width=120)
            stop = gr.Button("Stop", elem_id=f"stop-{self.place}", min_width=80)
        run(start, stop, work, [self.visit, self.pipeline, *inputs], outputs, self.visit, self.status)
        self.pipeline.input(take, self.pipeline, decoders, **QUICK)

    def pick(self) -> None:
        """Adds a picker of pipelines to the form."""
        self.pipeline = model_picker(self.studio.models.values(), f"{self.place}-pipeline")
