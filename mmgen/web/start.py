"""Starts the page from the command line."""

from __future__ import annotations

import argparse
import sys

from mmgen.errors import MissingDependencyError, MmgenError


def main(arguments: list[str] | None = None) -> int:
    """Serves the page until it is stopped; returns the exit status. An error is one line on standard error."""
    parser = argparse.ArgumentParser(prog="app.py", description="Opens mmgen's web page.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: only this machine)")
    parser.add_argument("--port", type=int, default=7860, help="port to listen on; 0 takes a free one")
    parser.add_argument("--share", action="store_true", help="open a public link through Gradio's servers")
    given = parser.parse_args(arguments)
    try:
        _serve(given.host, given.port, given.share)
    except MmgenError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _serve(host: str, port: int, share: bool) -> None:
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("the web page needs gradio", "install it: pip install 'mmgen[web]'") from error
    from mmgen.web.app import launch

    launch(host, port, share)
