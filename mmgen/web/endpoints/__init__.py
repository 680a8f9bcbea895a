"""What programs may ask for: named endpoints, with their documentation, for `gradio_client` and MCP."""

from __future__ import annotations

from typing import Any

import gradio as gr

from mmgen.web.endpoints.about import pipelines, restore
from mmgen.web.endpoints.drawing import compare, edit, generate
from mmgen.web.endpoints.work import batch, benchmark
from mmgen.web.studio import Studio
from mmgen.web.visits import MODEL


def add(studio: Studio) -> None:
    """Adds the endpoints to the page that is being made."""
    for make in (generate, compare, edit, batch, benchmark):
        _add(make, studio, **MODEL)
    for make in (restore, pipelines):
        _add(make, studio, concurrency_limit=None)


def _add(make: Any, studio: Studio, **queue: Any) -> None:
    endpoint = make(studio)
    endpoint.__name__ = make.__name__  # tools of MCP are called so
    gr.api(endpoint, api_name=make.__name__, **queue)
