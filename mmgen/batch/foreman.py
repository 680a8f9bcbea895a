"""The foreman: gives chunks to free workers, and sees to it that every item is made, or given up with a reason.

Workers come for more when they are done, so that a fast one does more. One that dies is replaced; what it had in hand
is tried again, each item alone, so that whatever killed it is found.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mmgen.batch.chunks import Chunk, Chunks
from mmgen.batch.crew import Crew, Event, WorkerError
from mmgen.batch.interruption import Interruption
from mmgen.batch.job import Job, Settings, fixed
from mmgen.batch.manifest import FAILED, Part
from mmgen.batch.outcome import Outcome, record_of
from mmgen.batch.request import Item

_DEATHS_AT_START = 3
"""So often a worker may die before it has drawn anything; then something is wrong with all of them."""


class Listener(Protocol):
    """Hears how a job goes on."""

    def record(self, record: Mapping[str, Any]) -> None:
        """An item is done, or given up: its line of the manifest."""

    def note(self, text: str) -> None:
        """Something a person may want to know."""


_BATCHES = 4
"""Batches that a worker is given at a time: where a pipeline begins items as others are finished, most are full."""


@dataclass(frozen=True)
class Rules:
    """How a job is worked off; nothing of it changes a byte of what is made.

    Attributes:
        workers: how many; None has one for each GPU, or as many as there is room for.
        batch: items a worker draws at once; None takes what memory has room for.
        retries: how often an item is tried again.
        max_errors: the job stops when more items than this have failed; None never stops.
        retry_failed: whether items that an earlier run gave up are tried again.
        most_items: of a new job; None has no limit.
    """

    workers: int | None = None
    batch: int | None = None
    retries: int = 2
    max_errors: int | None = None
    retry_failed: bool = False
    most_items: int | None = None


class Foreman:
    """Works off the items of a job.

    Args:
        crew: its first worker is started.
        workers: how many there are to be.
        left: items there are.
        chunks: gives them out.
        interruption: says when to end.
        listener: is told.
        renewing: whether workers begin waiting items as others are finished, and so are given several batches.

    Attributes:
        made: items that are done.
        failed: items that were given up.
        trouble: why it ended before its time; empty where it did not.
    """

    def __init__(
        self, crew: Crew, job: Job, settings: Settings, rules: Rules, workers: int, left: int, chunks: Chunks,
        interruption: Interruption, listener: Listener, renewing: bool = False,
    ) -> None:  # fmt: skip
        self.made = self.failed = 0
        self.trouble = ""
        self._crew, self._job, self._settings, self._rules = crew, job, settings, rules
        self._workers, self._left, self._chunks = workers, left, chunks
        self._interruption, self._listener = interruption, listener
        self._example = chunks.peek()
        self._again: deque[Chunk] = deque()
        self._in_hand: dict[int, dict[int, Item]] = {}
        self._given: dict[int, Chunk] = {}
        self._batches: dict[int, int] = {}
        self._renewing = renewing
        self._limits: dict[int, int] = {}
        self._state = {place: "starting" for place in range(workers)}
        self._deaths = 0
        self._part = Part(job.folder)

    def work(self) -> None:
        """Works until nothing is left, or until it must end; what is in hand is finished then.

        Raises:
            KeyboardInterrupt: by a second Ctrl-C; what is in hand is lost.
        """
        self._settle(0)
        for place in range(1, self._workers):
            self._crew.start(place)
        while True:
            self._give()
            if not self._in_hand and (self._ending or self._left <= 0 or self._idle):
                return
            for event in self._crew.events():
                self._hear(event)

    @property
    def too_many_failed(self) -> bool:
        """Whether the rules end the job for its failures."""
        return self._rules.max_errors is not None and self.failed > self._rules.max_errors

    @property
    def _ending(self) -> bool:
        return bool(self.trouble) or self.too_many_failed or self._interruption.asked

    @property
    def _idle(self) -> bool:
        return all(state == "free" for state in self._state.values())

    def _settle(self, place: int) -> None:
        share = -(-self._workers // self._crew.machines())
        batch = self._limits.get(place, self._rules.batch)
        self._state[place] = "settling"
        self._crew.ask(place, "settle", share, batch, self._example)

    def _give(self) -> None:
        """Gives every free worker something to do, if there is something."""
        for place, state in self._state.items():
            if state != "free" or self._ending:
                continue
            chunk = self._next(self._batches[place] * (_BATCHES if self._renewing else 1))
            if chunk is None:
                return
            self._state[place], self._given[place] = "drawing", chunk
            self._in_hand[place] = {item.number: item for item in chunk.items}
            self._crew.ask(place, "draw", self._job, chunk)

    def _next(self, batch: int) -> Chunk | None:
        if self._again:
            return self._again.popleft()
        # Towards the end, what is left is shared out: no worker should idle while another has a full batch.
        return self._chunks.take(max(1, min(batch, -(-self._left // self._workers))))

    def _hear(self, event: Event) -> None:
        if event.kind == "died":
            self._bury(event.place, event.value)
        elif event.kind == "broken":
            self.trouble = self.trouble or event.value
            self._in_hand.pop(event.place, None)
            self._state.pop(event.place, None)
        elif event.kind == "part":
            self._count(event.place, event.value)
        else:
            self._answered(event.place, event.value)

    def _answered(self, place: int, value: Any) -> None:
        """A worker is done with what it was asked, and is asked the next."""
        if self._state[place] == "starting":
            self._job.check_made_by(fixed(value, self._settings))
            self._settle(place)
            return
        if self._state[place] == "settling":
            self._batches[place] = value
        self._in_hand.pop(place, None)
        self._state[place] = "free"

    def _count(self, place: int, outcome: Outcome) -> None:
        """An item came back."""
        item = self._in_hand[place].pop(outcome.item.number)
        self._deaths = 0
        if not outcome.done and not outcome.final and item.attempt <= self._rules.retries:
            self._again.append(Chunk(self._given[place].settings, [item.again()]))
            return
        self._finish(outcome.record, outcome.done)

    def _finish(self, record: Mapping[str, Any], done: bool) -> None:
        self._left -= 1
        self.made += done
        self.failed += not done
        self._listener.record(record)

    def _bury(self, place: int, reason: str) -> None:
        """A worker died: what it had in hand is tried again, and another takes its place."""
        state, items = self._state.pop(place, ""), list(self._in_hand.pop(place, {}).values())
        for item in items:
            self._retry_after_death(place, item, reason, alone=len(self._given[place].items) == 1)
        if self._ending or not state:
            return
        self._deaths += not items
        if self._deaths >= _DEATHS_AT_START:
            self.trouble = f"workers die before they draw anything: {reason}"
            return
        if "SIGKILL" in reason and place in self._batches:  # the usual end of a process that takes too much memory
            self._limits[place] = max(1, self._batches[place] // 2)
        self._listener.note(f"worker {place} was {reason}: another takes its place")
        self._state[place] = "starting"
        self._crew.start(place)

    def _retry_after_death(self, place: int, item: Item, reason: str, alone: bool) -> None:
        settings = self._given[place].settings
        if not alone:
            self._again.append(Chunk(settings, [item]))
        elif item.attempt <= self._rules.retries:
            self._again.append(Chunk(settings, [item.again()]))
        else:
            record = record_of(item, FAILED, "") | {"error": f"the worker was {reason} while it drew this alone"}
            self._part.write(record)
            self._finish(record, done=False)


def ask(crew: Crew, place: int, method: str, *arguments: Any) -> list[Any]:
    """Asks the only worker there is, and waits; returns its parts and its answer.

    Raises:
        WorkerError: it died, or cannot answer.
    """
    crew.ask(place, method, *arguments)
    return hear_out(crew)


def hear_out(crew: Crew) -> list[Any]:
    """What the only worker there is has been asked for: parts, and its answer at the end.

    Raises:
        WorkerError: it died, or cannot answer.
    """
    said: list[Any] = []
    while True:
        for event in crew.events():
            if event.kind in ("died", "broken"):
                raise WorkerError(event.value if event.kind == "broken" else f"the worker was {event.value}")
            said.append(event.value)
            if event.kind == "answer":
                return said
