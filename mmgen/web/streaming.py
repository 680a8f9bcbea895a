"""Long work as a stream of what it says: it runs in a thread, and ends when nobody listens any more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from queue import SimpleQueue
from typing import Any

from mmgen.errors import MmgenError


class StoppedError(MmgenError):
    """Work is to end: whoever asked for it has gone, or said so."""

    def __init__(self) -> None:
        super().__init__("stopped")


class Voice:
    """What work says, and hears."""

    def __init__(self) -> None:
        self.said: SimpleQueue[Any] = SimpleQueue()
        self._stopped = threading.Event()

    def say(self, what: Any) -> None:
        """Says something.

        Raises:
            StoppedError: the work is to end.
        """
        self.check()
        self.said.put(what)

    def check(self) -> None:
        """Goes on.

        Raises:
            StoppedError: the work is to end.
        """
        if self._stopped.is_set():
            raise StoppedError

    def stop(self) -> None:
        """Ends the work when it next speaks."""
        self._stopped.set()


def stream(work: Callable[[Voice], Any]) -> Generator[Any, None, Any]:
    """Yields what work says, and returns what it returns; closing the generator stops the work and waits for its end.

    Raises:
        Exception: what the work raises.
    """
    voice, end = Voice(), object()
    outcome: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(work(voice))
        except BaseException as error:
            errors.append(error)
        finally:
            voice.said.put(end)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while (said := voice.said.get()) is not end:
            yield said
    finally:
        voice.stop()
        thread.join()
    if errors:
        raise errors[0]
    return outcome[0]
