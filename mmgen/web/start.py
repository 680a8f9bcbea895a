"""Starts the page from the command line."""

from __future__ import annotations

import argparse
import os
import sys

from mmgen.errors import MissingDependencyError, MmgenError

PASSWORD = "MMGEN_PASSWORD"
"""Environment variable of the password, which the list of processes does not show."""


def main(arguments: list[str] | None = None) -> int:
    """Serves the page until it is stopped; returns the exit status. An error is one line on standard error."""
    parser = argparse.ArgumentParser(prog="app.py", description="Opens mmgen's web page.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: only this machine)")
    parser.add_argument("--port", type=int, default=7860, help="port to listen on; 0 takes a free one")
    parser.add_argument("--share", action="store_true", help="open a public link through Gradio's servers")
    parser.add_argument("--password", default=os.environ.get(PASSWORD), help=f"what visitors must give (or {PASSWORD})")
    parser.add_argument("--root-path", metavar="PATH", help="path under which a reverse proxy serves the page")
    parser.add_argument("--mcp", action="store_true", help="serve the endpoints as tools, too (needs mmgen[mcp])")
    given = parser.parse_args(arguments)
    try:
        serve(**vars(given))
    except MmgenError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def serve(**given: object) -> None:
    """Serves the page; see `mmgen.web.app.launch`.

    Raises:
        MissingDependencyError: Gradio is not installed.
        MmgenError: the page cannot be served.
    """
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("the web page needs gradio", "install it: pip install 'mmgen[web]'") from error
    from mmgen.web.app import launch

    launch(**given)  # type: ignore[arg-type]
