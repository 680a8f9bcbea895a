"""Results and their numbers as HTML. Media are written into the page itself: nothing of one visitor's is served."""

from __future__ import annotations

import html
import json
import secrets
import tempfile
from collections.abc import Sequence
from typing import Any

from mmgen.cli.files import NOUNS
from mmgen.pipelines.output import Statistics
from mmgen.web import exhibits
from mmgen.web.exhibits import Exhibit
from mmgen.web.scripts import script
from mmgen.web.studio import Frame, ending_of, metadata, save

VIEWER = script("viewer")
"""Script of results: a click on a picture shows it as large as the window; arrows go on, Escape closes."""
KEEPER = "\n".join((VIEWER, script("database"), script("keeper")))
"""The same, and every finished result is kept in the browser."""


def empty(title: str, text: str) -> str:
    """What stands in the place of results before the first."""
    return (
        '<div class="empty"><div class="canvas" aria-hidden="true"></div>'
        f"<p><strong>{html.escape(title)}</strong> {html.escape(text)}</p></div>"
    )


def cards(frame: Frame, editable: bool = False) -> str:
    """One card a result, with its numbers; of the last frame, what is drawn is offered for download.

    Args:
        editable: whether the page can draw parts of these results again.
    """
    shown = _finished(frame) if frame.finished else exhibits.unfinished(frame)
    figures = "".join(
        _card(exhibit, row, frame, editable) for exhibit, row in zip(shown, frame.statistics, strict=True)
    )
    state = "finished" if frame.finished else "drawing"
    return f'<div class="cards {state} {frame.medium}" data-count="{len(shown)}">{figures}</div>'


def _finished(frame: Frame) -> list[Exhibit]:
    with tempfile.TemporaryDirectory(prefix="mmgen-") as folder:
        return [exhibits.of_file(path) for path in save(frame, folder)]


def progress(frame: Frame) -> str:
    """How far a drawing is, or what it took."""
    row = frame.statistics[0]
    if not frame.finished:
        return bar(f"Drawing: {_tokens(frame)}", frame.written, frame.length, "Tokens drawn")
    seconds, count = sum(row.seconds for row in frame.statistics), len(frame.statistics)
    made = f"1 {NOUNS[frame.medium].removesuffix('s')}" if count == 1 else f"{count} {NOUNS[frame.medium]}"
    return message(f"“{row.prompt}” · {made} by {row.decoder} in {seconds:.2f} seconds")


def bar(text: str, done: float, total: float, label: str) -> str:
    """A line of text with a bar below it."""
    return (
        f'<div class="status"><p>{html.escape(text)}</p>'
        f'<progress value="{done}" max="{max(total, 1)}" aria-label="{html.escape(label)}"></progress></div>'
    )


def message(text: str) -> str:
    """A line of text in the place of the progress."""
    return f'<div class="status" role="status"><p>{html.escape(text)}</p></div>'


def loading(name: str) -> str:
    """What is said while a pipeline is loaded."""
    return working(f"Loading {name}, once …")


def working(text: str) -> str:
    """A line of text while nobody knows how long it will take."""
    words = html.escape(text)
    return f'<div class="status" role="status"><p>{words}</p><progress aria-label="{words}"></progress></div>'


def stopped(frame: Frame) -> str:
    """Where a drawing was stopped."""
    return message(f"Stopped at {_tokens(frame)}.")


def law(name: str) -> str:
    """What a decoder promises, as a badge."""
    return f'<span class="law {name}">{name}</span>'


def numbers(cells: Sequence[tuple[str, str]]) -> str:
    """Names and values as a row of numbers."""
    return f'<dl class="numbers">{"".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in cells)}</dl>'


def numbers_of(row: Statistics) -> str:
    """What a result took."""
    return numbers(
        (
            ("evaluations", str(row.evaluations)),
            ("tokens per evaluation", f"{row.tokens_per_evaluation:.1f}"),
            ("seconds", f"{row.seconds:.2f}"),
        )
    )


def _card(exhibit: Exhibit, row: Statistics, frame: Frame, editable: bool) -> str:
    title = html.escape(f"{row.prompt}, seed {row.seed}", quote=True)
    return (
        f'<figure class="card" {_about(row, frame) if frame.finished else ""}>{exhibit.html(title)}'
        f'<figcaption>{numbers_of(row)}<p class="made">{law(row.law)}'
        f'<span class="seed">seed {row.seed}</span>{_actions(exhibit, editable)}</p></figcaption></figure>'
    )


def _about(row: Statistics, frame: Frame) -> str:
    """What the page keeps of a result beside what is shown, as attributes."""
    made: dict[str, Any] = dict(metadata(frame, row, ending_of(frame)))
    said = html.escape(json.dumps(made, ensure_ascii=False), quote=True)
    return f'data-key="{secrets.token_hex(8)}" data-medium="{frame.medium}" data-made="{said}"'


def _actions(exhibit: Exhibit, editable: bool) -> str:
    if not exhibit.file:
        return ""
    edit = '<button type="button" class="edit">Edit</button>' if editable else ""
    kind = exhibit.name.rpartition(".")[2].upper()
    save = f'<a class="save" download="{exhibit.name}" href="{exhibit.file}" aria-label="Save as {kind}">Save</a>'
    return f'<span class="actions">{edit}{save}</span>'


def _tokens(frame: Frame) -> str:
    return f"{frame.written} of {frame.length} tokens"
