"""What an engine is to a job: workers that are started, asked, heard and stopped. One of local processes."""

from __future__ import annotations

import contextlib
import inspect
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from typing import Any, Literal, Protocol

from mmgen.batch.job import Settings
from mmgen.batch.machine import cores, free_memory
from mmgen.batch.outcome import reason
from mmgen.batch.worker import Worker
from mmgen.errors import MmgenError

_MOST = 8
"""Workers on the cores of one machine; each of them has its own copy of the weights."""


_PATIENCE = 10.0
"""Seconds a free worker has to leave."""


class WorkerError(MmgenError, RuntimeError):
    """A worker cannot go on: what it says of it."""


@dataclass(frozen=True)
class Event:
    """Something heard of a worker.

    Attributes:
        place: of the worker.
        kind: `part` of an answer, `answer` in full, `died`, or `broken`: it lives, and what was asked failed.
        value: the part, the answer, or why.
    """

    place: int
    kind: Literal["part", "answer", "died", "broken"]
    value: Any


class Crew(Protocol):
    """Workers by their place, 0 and up. Each is asked one thing at a time."""

    def start(self, place: int) -> None:
        """Starts a worker; its first answer is what it is about."""

    def ask(self, place: int, method: str, *arguments: Any) -> None:
        """Asks a worker to call one of its methods."""

    def events(self) -> list[Event]:
        """Waits until something is heard."""

    def stop(self) -> None:
        """Ends all workers, whatever they do."""

    def room(self, about: Mapping[str, Any]) -> int:
        """How many workers there is room for, by what the first says it is about."""

    def machines(self) -> int:
        """How many machines the workers are on."""


@dataclass(frozen=True)
class Recruit:
    """How a worker is made, wherever that is."""

    settings: Settings
    load: Callable[[str], Any]

    def worker(self, place: int) -> Worker:
        return Worker(self.settings, self.load, place)


def answer(worker: Worker, method: str, arguments: tuple) -> Iterator[tuple[str, Any]]:
    """What a worker says to a question: parts and an answer, or why it has none."""
    try:
        found = getattr(worker, method)(*arguments)
        if inspect.isgenerator(found):
            yield from (("part", part) for part in found)
            found = None
        yield "answer", found
    except Exception as error:
        yield "broken", reason(error)


class LocalCrew:
    """Workers as processes of this machine, started anew rather than forked."""

    def __init__(self, recruit: Recruit) -> None:
        self._recruit = recruit
        self._context = get_context("spawn")
        self._processes: dict[int, Any] = {}
        self._connections: dict[int, connection.Connection] = {}
        self._busy: set[int] = set()

    def start(self, place: int) -> None:
        """Starts a process; one that was in the place must be dead."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self._recruit, place), daemon=True)
        with _interrupts_blocked():
            process.start()
        theirs.close()  # so that its end is heard
        self._busy.add(place)
        self._processes[place], self._connections[place] = process, ours

    def ask(self, place: int, method: str, *arguments: Any) -> None:
        self._busy.add(place)
        with contextlib.suppress(OSError):  # it died: that is heard next
            self._connections[place].send((method, arguments))

    def events(self) -> list[Event]:
        places = {ours: place for place, ours in self._connections.items()}
        return [self._event(places[ours], ours) for ours in connection.wait(list(places))]  # type: ignore[index]

    def _event(self, place: int, ours: Any) -> Event:
        try:
            kind, value = ours.recv()
            if kind == "answer":
                self._busy.discard(place)
            return Event(place, kind, value)
        except (EOFError, OSError):
            ours.close()
            del self._connections[place]
            process = self._processes.pop(place)
            process.join()
            return Event(place, "died", _ending(process.exitcode))

    def processes(self) -> list[int]:
        """Ids of the processes."""
        return [process.pid for process in self._processes.values()]

    def machines(self) -> int:
        return 1

    def room(self, about: Mapping[str, Any]) -> int:
        """One for each GPU; else one for each core, as far as memory goes."""
        if about["devices"]:
            return about["devices"]
        return max(1, min(cores(), _MOST, 1 + free_memory() // (2 * about["bytes"])))

    def stop(self) -> None:
        for ours in self._connections.values():
            ours.close()  # a free worker that hears nobody leaves
        for place, process in self._processes.items():
            process.join(0 if place in self._busy else _PATIENCE)
            process.kill()
            process.join()
        self._connections.clear()
        self._processes.clear()


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"ended with code {code}"


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Processes started meanwhile never see Ctrl-C: it is the parent's to decide what becomes of them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(ours: connection.Connection, recruit: Recruit, place: int) -> None:
    """The life of a worker's process."""
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        try:
            worker = recruit.worker(place)
        except Exception as error:
            ours.send(("broken", reason(error)))
            return
        ours.send(("answer", worker.about()))
        while True:
            method, arguments = ours.recv()
            for said in answer(worker, method, arguments):
                ours.send(said)


def _leave_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
