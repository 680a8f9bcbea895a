"""The errors mmgen raises: one tree, each message saying what was given, what was needed, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_SHOWN = 120
"""Characters of a prompt that a message repeats."""


class MmgenError(Exception):
    """Base of everything mmgen raises on purpose. On the command line it is one line, never a traceback."""


class PromptError(MmgenError, ValueError):
    """A prompt a pipeline cannot draw."""

    def __init__(self, prompt: str, reason: str, cure: str) -> None:
        shown = prompt if len(prompt) <= _SHOWN else f"{prompt[:_SHOWN]}..."
        super().__init__(f"prompt {shown!r}: {reason}; {cure}")


class MissingDependencyError(MmgenError, ImportError):
    """A library, font or program that a feature needs is absent."""

    def __init__(self, missing: str, cure: str) -> None:
        super().__init__(f"{missing}; {cure}")


class SizeError(MmgenError, ValueError):
    """A size or shape that does not fit the model."""

    def __init__(self, given: str, needed: str) -> None:
        super().__init__(f"{given} does not fit; needed: {needed}")


class OptionError(MmgenError, ValueError):
    """An option that does not exist or whose value is out of range."""

    def __init__(self, name: str, value: object, needed: str) -> None:
        super().__init__(f"{name}={value!r}: needed is {needed}")


class UnknownNameError(MmgenError, KeyError):
    """A pipeline, decoder, drafter or recipe that does not exist."""

    def __init__(self, kind: str, name: object, choices: Iterable[str]) -> None:
        choices = sorted(choices)
        close = difflib.get_close_matches(str(name), choices, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        self.message = f"no {kind} is called {name!r}; {hint}choose from {', '.join(choices)}"
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message


class WeightsError(MmgenError):
    """A model folder or weight file that cannot be used."""

    def __init__(self, path: object, reason: str, cure: str) -> None:
        super().__init__(f"{path}: {reason}; {cure}")


class OutputError(MmgenError, OSError):
    """A file or folder that cannot be written or read."""

    def __init__(self, path: object, reason: str, cure: str) -> None:
        super().__init__(f"{path}: {reason}; {cure}")
