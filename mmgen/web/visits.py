"""What the events of one visitor share, and how an error of mmgen's becomes one of the page's."""

from __future__ import annotations

import html
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gradio as gr

from mmgen.errors import MmgenError
from mmgen.web import results

MODEL: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "model"}
"""Of every event that uses a model: they wait in one line, one after the other."""
PRIVATE: dict[str, Any] = {"api_visibility": "private"}
"""Of events that make no sense outside of the page."""
QUICK: dict[str, Any] = PRIVATE | {"queue": False, "show_progress": "hidden"}
"""Of events that wait for nobody, and have nothing to tell."""
LIGHT: dict[str, Any] = PRIVATE | {"concurrency_limit": None, "show_progress": "hidden"}
"""Of events that use no model, and may have something to tell."""


@dataclass
class Visit:
    """What the events of one visitor on one tab share while they run.

    Stopping is a word to the drawing, which ends itself: it alone writes what the page shows, so no late frame can
    overwrite the last one.

    Attributes:
        requests: drawings asked for that have not ended, waiting ones included.
        stopped: whether they are to end.
    """

    requests: int = 0
    stopped: bool = False


def ask(visit: Visit) -> None:
    """Something is asked for."""
    visit.requests += 1
    visit.stopped = False


def stop(visit: Visit) -> Any:
    """Everything that was asked for is to end."""
    visit.stopped = True
    return gr.skip() if visit.requests else results.message("Nothing is being drawn.")


def refusal(words: str) -> gr.Error:
    """An error that is told, and not printed on the server."""
    return gr.Error(words, print_exception=False)


@contextmanager
def told() -> Iterator[None]:
    """Tells what mmgen refuses, on the page."""
    try:
        yield
    except MmgenError as error:
        # The page reads an error as HTML, and this one quotes what a visitor wrote.
        raise refusal(html.escape(str(error), quote=False)) from error


@contextmanager
def answered(visit: Visit) -> Iterator[None]:
    """One request, to its end; what mmgen refuses is told in its own words."""
    try:
        with told():
            yield
    finally:
        visit.requests -= 1


def run(
    button: gr.Button, stop_button: gr.Button, work: Any, inputs: Any, outputs: Any, visit: gr.State, status: gr.HTML,
    *, also: Any = None, js: str | None = None,
) -> None:  # fmt: skip
    """Joins a button, and another trigger, to work on a model that can be stopped.

    Args:
        work: a generator of values of `outputs`; it is told of `visit` among its inputs.
        status: where progress is shown.
        js: what makes the inputs in the browser.
    """
    triggers = [button.click] if also is None else [button.click, also]
    gr.on(triggers, ask, visit, **QUICK).then(
        work, inputs, outputs, show_progress="minimal", show_progress_on=status, js=js, **MODEL, **PRIVATE
    )
    stop_button.click(stop, visit, status, **QUICK)
