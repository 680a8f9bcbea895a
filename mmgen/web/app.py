"""The page: its tabs, the endpoints beside them, and how it is served."""

from __future__ import annotations

import hmac
import importlib.util
from typing import Any

import gradio as gr

from mmgen.errors import MissingDependencyError, OptionError, OutputError
from mmgen.web import endpoints, limits, tools
from mmgen.web.studio import Studio
from mmgen.web.tabs.batch import Batch
from mmgen.web.tabs.benchmark import Benchmark
from mmgen.web.tabs.compare import Compare
from mmgen.web.tabs.create import Create
from mmgen.web.tabs.edit import Edit
from mmgen.web.tabs.history import History
from mmgen.web.theme import AROUND, STYLE_PATH, theme

_TITLE = (
    '<header><svg viewBox="0 0 4 4" aria-hidden="true"><path d="M0 0h4v2H0zM0 2h2v1H0z"/>'
    '<path class="draft" d="M2 2h2v1H2zM0 3h4v1H0z"/></svg><h1>mmgen</h1>'
    "<p>Pictures, clips and sound written token by token, many tokens at a time.</p></header>"
)


def build(studio: Studio | None = None) -> gr.Blocks:
    """Makes the page. No model is loaded for it.

    What draws shares one queue, one request at a time: each pipeline is loaded once, by the first request for it.

    Raises:
        UnknownNameError: no pipeline is shipped.
        WeightsError: the folder of one is damaged.
    """
    studio = studio or Studio()
    kept = (limits.KEPT_SECONDS, limits.KEPT_SECONDS)
    with gr.Blocks(title="mmgen", analytics_enabled=False, delete_cache=kept) as page:
        gr.HTML(_TITLE, elem_id="title")
        with gr.Tabs(selected="create", overflow_behavior="wrap", elem_id="tabs") as tabs:
            with gr.Tab("Create", id="create", elem_id="tab-create"):
                create = Create(studio)
            with gr.Tab("Compare", id="compare", elem_id="tab-compare"):
                Compare(studio)
            if any(model.editable for model in studio.models.values()):
                with gr.Tab("Edit", id="edit", elem_id="tab-edit"):
                    Edit(studio)
            with gr.Tab("Batch", id="batch", elem_id="tab-batch"):
                Batch(studio)
            with gr.Tab("Benchmark", id="benchmark", elem_id="tab-benchmark"):
                Benchmark(studio)
            with gr.Tab("History", id="history", elem_id="tab-history"), gr.Column(elem_classes="sheet"):
                History(create, tabs)
        endpoints.add(studio)
    page.queue(max_size=limits.WAITING_REQUESTS)
    return page


def launch(
    host: str = "127.0.0.1",
    port: int = 7860,
    share: bool = False,
    block: bool = True,
    password: str | None = None,
    root_path: str | None = None,
    mcp: bool = False,
    studio: Studio | None = None,
) -> gr.Blocks:
    """Serves the page.

    Args:
        host: address to listen on; "0.0.0.0" lets other machines in.
        port: port to listen on; 0 takes a free one.
        share: whether to open a public link through Gradio's servers.
        block: whether to wait until the server is stopped; otherwise it goes on beside the caller, who closes it.
        password: what visitors must give, beside any name; None lets everybody in who can reach the address.
        root_path: the path, such as `/mmgen`, under which a reverse proxy serves the page.
        mcp: whether programs that speak MCP are served the endpoints as tools, too.
        studio: draws; with the shipped pipelines where nothing is given.

    Returns:
        The page; its `local_url` is where it is.

    Raises:
        OutputError: the address or port is not free.
        MissingDependencyError: what MCP needs is not installed.
        OptionError: a password is wanted, which programs that speak MCP cannot give.
        MmgenError: no pipeline is shipped, or one is damaged.
    """
    if mcp and importlib.util.find_spec("mcp") is None:
        raise MissingDependencyError("mcp is not installed", "install mmgen[mcp]: pip install 'mmgen[mcp]'")
    if mcp and password:
        raise OptionError(
            "mcp", "with a password", "one of both: Gradio asks no program that speaks MCP for a password"
        )
    page = build(studio)
    try:
        page.launch(
            server_name=host,
            server_port=port or None,
            share=share,
            prevent_thread_lock=True,
            quiet=not block,
            theme=theme(),
            css_paths=STYLE_PATH,
            head=AROUND,
            max_file_size=limits.MAXIMUM_UPLOAD,
            footer_links=["api", "settings"],
            run_history=False,
            ssr_mode=False,
            mcp_server=mcp,
            root_path=root_path,
            **_guarded(password),
        )
    except (OSError, ValueError) as error:  # Gradio says by the latter that it cannot reach itself
        raise OutputError(f"{host}:{port}", f"cannot be listened on ({error})", "choose another port") from error
    if mcp:
        tools.answer(page)
    if block:
        page.block_thread()
    return page


def _guarded(password: str | None) -> dict[str, Any]:
    """How a page asks for a password."""
    if not password:
        return {}
    wanted = password.encode()
    return {
        "auth": lambda _, given: hmac.compare_digest(given.encode(), wanted),
        "auth_message": "Any name will do; the password is that of whoever serves this page.",
    }
