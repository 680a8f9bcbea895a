"""Pictures and their numbers as HTML."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from mmgen.media import file_name
from mmgen.pipelines.output import Statistics
from mmgen.web.studio import Frame

FULL_SIZE = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button.picture');
  if (!button) return;
  const dialog = document.createElement('dialog');
  const image = button.querySelector('img').cloneNode();
  dialog.className = 'full-size';
  dialog.ariaLabel = image.alt;
  dialog.append(image);
  dialog.addEventListener('click', () => dialog.close());
  dialog.addEventListener('close', () => dialog.remove());
  document.querySelector('.gradio-container').append(dialog);
  dialog.showModal();
});
"""
"""Script of the results: a click on a picture shows it as large as the window; a click or Escape closes it."""

EMPTY = (
    '<div class="empty"><div class="canvas" aria-hidden="true"></div>'
    "<p><strong>Nothing drawn yet.</strong> Write what to draw, or choose an example, and press Enter.</p></div>"
)
"""What stands in the place of results before the first."""


def cards(frame: Frame, files: Sequence[Path] | None = None) -> str:
    """One card a picture, with its numbers; with `files`, the cards show these and offer them for download.

    Pictures are written into the page itself: nothing of one visitor's is served to another.
    """
    sources = [path.read_bytes() for path in files] if files else [_png(picture) for picture in frame.pictures]
    figures = "".join(
        _card(source, picture.size, row, download=bool(files))
        for source, picture, row in zip(sources, frame.pictures, frame.statistics, strict=True)
    )
    state = "finished" if frame.finished else "drawing"
    return f'<div class="cards {state}" data-count="{len(sources)}">{figures}</div>'


def progress(frame: Frame) -> str:
    """How far a drawing is, or what it took."""
    row = frame.statistics[0]
    if not frame.finished:
        return (
            f'<div class="status"><p>Drawing: {_tokens(frame)}</p>'
            f'<progress value="{frame.written}" max="{frame.length}" aria-label="Tokens drawn"></progress></div>'
        )
    seconds = sum(row.seconds for row in frame.statistics)
    pictures = "1 picture" if len(frame.pictures) == 1 else f"{len(frame.pictures)} pictures"
    return message(f"“{row.prompt}” · {pictures} by {row.decoder} in {seconds:.2f} seconds")


def message(text: str) -> str:
    """A line of text in the place of the progress."""
    return f'<div class="status"><p>{html.escape(text)}</p></div>'


def stopped(frame: Frame) -> str:
    """Where a drawing was stopped."""
    return message(f"Stopped at {_tokens(frame)}.")


def _card(png: bytes, size: tuple[int, int], row: Statistics, download: bool) -> str:
    source = "data:image/png;base64," + base64.b64encode(png).decode()
    title = html.escape(f"{row.prompt}, seed {row.seed}", quote=True)
    numbers = (
        ("evaluations", str(row.evaluations)),
        ("tokens per evaluation", f"{row.tokens_per_evaluation:.1f}"),
        ("seconds", f"{row.seconds:.2f}"),
    )
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in numbers)
    name = file_name(row.prompt, row.seed)
    link = f'<a class="save" download="{name}" href="{source}" aria-label="Save as PNG">Save</a>' if download else ""
    return (
        f'<figure class="card"><button type="button" class="picture" title="Show full size">'
        f'<img src="{source}" alt="{title}" width="{size[0]}" height="{size[1]}" decoding="sync"></button>'
        f'<figcaption><dl class="numbers">{cells}</dl>'
        f'<p class="made"><span class="law {row.law}">{row.law}</span>'
        f'<span class="seed">seed {row.seed}</span>{link}</p></figcaption></figure>'
    )


def _tokens(frame: Frame) -> str:
    return f"{frame.written} of {frame.length} tokens"


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
