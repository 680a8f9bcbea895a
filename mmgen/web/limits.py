"""What one visitor may ask of a page that many share."""

from __future__ import annotations

from typing import Any

from mmgen.errors import OptionError, PromptError

WAITING_REQUESTS = 64
"""Requests that may wait for the model; later ones are told that the queue is full."""
MAXIMUM_COUNT = 8
"""Most results of one request."""
MAXIMUM_ITEMS = 500
"""Most results of one batch."""
MAXIMUM_LETTERS = 2000
"""Of a prompt."""
MAXIMUM_SECONDS = 60
"""Of all sound of one request together."""
MAXIMUM_UPLOAD = "20mb"
"""Of one file."""
MAXIMUM_PROMPTS, MAXIMUM_REPEATS = 16, 5
"""Of one comparison of decoders."""
KEPT_SECONDS = 3600
"""So long a file that was uploaded or offered for download is kept."""

REQUEST_SETTINGS = (
    "decoder", "decoder_options", "guidance", "temperature", "top_k", "top_p", "height", "width", "frames", "duration",
    "temperatures",
)  # fmt: skip
"""What a request may say beside prompt, seed and count. Not what names a file: it would be one of the server's."""


def check_number(name: str, value: Any, most: int) -> None:
    """Refuses what is no whole number from 1 to `most`.

    Raises:
        OptionError: it is none.
    """
    if type(value) is not int or not 1 <= value <= most:
        raise OptionError(name, value, f"a whole number from 1 to {most}")


def check_request(prompt: Any, count: Any, duration: Any = None) -> None:
    """Refuses a request that is too large for a page.

    Args:
        prompt: its text.
        count: results.
        duration: seconds of each, of sound.

    Raises:
        PromptError: the prompt is none, or too long.
        OptionError: too much is asked for.
    """
    if not isinstance(prompt, str):
        raise PromptError(str(prompt), "is no text", "write what to draw")
    if len(prompt) > MAXIMUM_LETTERS:
        raise PromptError(prompt, f"has {len(prompt)} letters", f"use at most {MAXIMUM_LETTERS}")
    check_number("count", count, MAXIMUM_COUNT)
    check_duration(duration, count)


def check_duration(duration: Any, count: int) -> None:
    """Refuses more sound than a page makes at once. What is no number is left to the pipeline to refuse.

    Raises:
        OptionError: it is more.
    """
    try:
        seconds = 0.0 if duration is None else float(duration)
    except (TypeError, ValueError):
        return
    if not seconds * count <= MAXIMUM_SECONDS:
        raise OptionError("duration", duration, f"at most {MAXIMUM_SECONDS / count:g} seconds of {count} recordings")
