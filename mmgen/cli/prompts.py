"""Prompts from files, checked before anything is drawn."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmgen.errors import MmgenError, OutputError, PromptError

Line = tuple[int | None, str]
"""A prompt and the number of its line; None where it does not come from a file."""

_SHOWN = 10


class PromptsError(PromptError):
    """Lines of a file of prompts that cannot be drawn."""

    def __init__(self, total: int, faults: Sequence[tuple[int, str]]) -> None:
        lines = "; ".join(f"line {number}: {fault}" for number, fault in faults[:_SHOWN])
        more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        MmgenError.__init__(self, f"{len(faults)} of {total} prompts cannot be drawn: {lines}{more}")


def read_prompts(file: str) -> list[Line]:
    """The prompts of a UTF-8 file, one a line, blank lines left out; `-` is standard input.

    Raises:
        OutputError: there is no such file, it is not text, or it holds no prompt.
    """
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise OutputError(file, f"is not UTF-8 text (byte {error.start})", "save it as UTF-8") from error
    except OSError as error:
        raise OutputError(file, f"cannot be read ({error.strerror})", "give a text file, one prompt a line") from error
    lines = enumerate(io.StringIO(text, newline=None), start=1)
    prompts: list[Line] = [(number, line.strip()) for number, line in lines if line.strip()]
    if not prompts:
        raise OutputError(file, "holds no prompt", "write one prompt a line")
    return prompts


def check_prompts(lines: Sequence[Line], parse: Callable[[str], Any]) -> None:
    """Makes sure that every prompt can be drawn.

    Args:
        parse: reads a prompt, or raises PromptError.

    Raises:
        PromptError: of the prompt, or of all lines that cannot be drawn.
    """
    faults: list[tuple[int, str]] = []
    for number, prompt in lines:
        try:
            _check_text(prompt)
            parse(prompt)
        except PromptError as error:
            if number is None:
                raise
            faults.append((number, str(error)))
    if faults:
        raise PromptsError(len(lines), faults)


def _check_text(prompt: str) -> None:
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError as error:
        raise PromptError(prompt, "is not UTF-8 text", "type it again") from error
