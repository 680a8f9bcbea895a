"""What programs that speak MCP are answered: the words of an endpoint as JSON, and its pictures and sounds as such."""

from __future__ import annotations

import base64
import json
import mimetypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.processing_utils import add_root_url
from gradio_client.utils import is_file_obj_with_meta, traverse


def answer(page: gr.Blocks) -> None:
    """Has the tools of a page that is served answer so; Gradio's own words are Python's, and its pictures addresses."""
    server: Any = page.mcp_server_obj
    server.postprocess_output_data = _contents


def _contents(data: Any, root_url: str) -> list[Any]:
    """The parts of an answer.

    Args:
        data: what an endpoint returned: one value in a list.
        root_url: where the page is.
    """
    from mcp import types

    kinds: dict[str, Callable[..., Any]] = {"image": types.ImageContent, "audio": types.AudioContent}
    shown: list[Any] = []

    def named(file: dict[str, Any]) -> str:
        path = Path(file["path"])
        form = mimetypes.guess_type(path.name)[0] or ""
        kind = form.partition("/")[0]
        if kind in kinds:
            encoded = base64.b64encode(path.read_bytes()).decode()
            shown.append(kinds[kind](type=kind, data=encoded, mimeType=form))
        return file["url"]

    (words,) = traverse(add_root_url(data, root_url, None), named, is_file_obj_with_meta)
    return [types.TextContent(type="text", text=json.dumps(words, ensure_ascii=False)), *shown]
