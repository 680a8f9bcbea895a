"""What programs may ask for: named endpoints, with their documentation, for `gradio_client` and MCP."""

from __future__ import annotations

import gradio as gr

from mmgen.web.endpoints.about import pipelines, restore
from mmgen.web.endpoints.drawing import compare, edit, generate
from mmgen.web.endpoints.work import batch, benchmark
from mmgen.web.studio import Studio
from mmgen.web.visits import MODEL


def add(studio: Studio) -> None:
    """Adds the endpoints to the page that is being made."""
    for make in (generate, compare, edit, batch, benchmark):
        gr.api(make(studio), api_name=make.__name__, **MODEL)
    for make in (restore, pipelines):
        gr.api(make(studio), api_name=make.__name__, concurrency_limit=None)
