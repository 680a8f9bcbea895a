"""Batches on the page: the job of the command line (`mmgen.batch`), by one worker with the page's own pipeline."""

from __future__ import annotations

import dataclasses
import json
import time
import zipfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmgen.batch import rows
from mmgen.batch.crew import Event, answer
from mmgen.batch.foreman import Rules
from mmgen.batch.job import Settings
from mmgen.batch.manifest import Ledger
from mmgen.batch.progress import Progress
from mmgen.batch.request import Request
from mmgen.batch.run import Extras, run
from mmgen.batch.worker import Worker
from mmgen.errors import MmgenError
from mmgen.web import limits
from mmgen.web.streaming import Voice, stream
from mmgen.web.studio import Studio
from mmgen.web.uploads import named

_TOGETHER = 4
"""Items drawn at once: so many are finished before a stop is heard."""
_NOT_TOLD = ("worker", "finished")
"""What the manifest says of the server."""


@dataclass(frozen=True)
class Standing:
    """How a batch goes on.

    Attributes:
        items: in all.
        done: made.
        failed: given up.
        seconds_left: by the rate so far; None before the first.
        records: lines of the manifest, of the items that ended so far.
    """

    items: int
    done: int
    failed: int
    seconds_left: float | None
    records: Sequence[Mapping[str, Any]]


def work(
    studio: Studio, pipeline: str, path: Path, defaults: Mapping[str, Any], folder: Path
) -> Generator[Standing, None, None]:
    """Draws a file of requests into a folder.

    Args:
        pipeline: a name.
        path: of the file; its ending says the format.
        defaults: settings of requests that do not say otherwise.
        folder: an empty one.

    Raises:
        OptionError: the file has another ending, or asks for too much.
        RowsError: there are requests that cannot be drawn; nothing was.
        MmgenError: something else is wrong.
    """
    settings = Settings(studio.model(pipeline).name, defaults=dict(defaults))

    def job(voice: Voice) -> None:
        with named(path), rows.opened(str(path)) as source:
            own = dataclasses.replace(source, name=path.name)
            rules = Rules(workers=1, batch=_TOGETHER, most_items=limits.MAXIMUM_ITEMS)
            run(own, settings, folder, rules, _Told(voice), lambda: _Here(studio, settings, voice), Extras())

    yield from stream(job)


def pack(folder: Path, path: Path) -> int:
    """Writes a zip of what a job made and its manifest.

    Returns:
        Files of media in it.
    """
    records = list(Ledger(folder).records())
    made = [record for record in records if record["status"] == "done"]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for record in made:
            file.write(folder / record["file"], Path(record["file"]).name)
        lines = ({name: value for name, value in record.items() if name not in _NOT_TOLD} for record in records)
        file.writestr("manifest.jsonl", "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return len(made)


class _Told(Progress):
    """Says how a job goes on."""

    def __init__(self, voice: Voice) -> None:
        self._voice = voice
        self._records: list[Mapping[str, Any]] = []
        self._said = 0.0

    def started(self, workers: int) -> None:
        self._say()

    def counted(self, record: Mapping[str, Any]) -> None:
        self._records.append(record)
        ended = self.done + self.failed == self.items
        if ended or time.monotonic() - self._said >= 0.3:
            self._say()

    def _say(self) -> None:
        self._said = time.monotonic()
        self._voice.say(Standing(self.items, self.done, self.failed, self.seconds_left, tuple(self._records)))


class _Here:
    """A crew of one worker in this process, which is asked, and answers, in turn."""

    def __init__(self, studio: Studio, settings: Settings, voice: Voice) -> None:
        self._studio, self._settings, self._voice = studio, settings, voice
        self._said: Iterator[Event] = iter(())

    def start(self, place: int) -> None:
        def load(device: str) -> Any:
            return self._studio.pipeline(self._settings.pipeline)

        self._worker = _Limited(self._settings, load, place)
        self._said = iter([Event(place, "answer", self._worker.about())])

    def ask(self, place: int, method: str, *arguments: Any) -> None:
        answers: Any = answer(self._worker, method, arguments)
        self._said = (Event(place, kind, value) for kind, value in answers)

    def events(self) -> list[Event]:
        self._voice.check()
        return [event for event in [next(self._said, None)] if event]

    def room(self, about: Mapping[str, Any]) -> int:
        return 1

    def machines(self) -> int:
        return 1

    def stop(self) -> None:
        self._said = iter(())


class _Limited(Worker):
    """A worker that draws what visitors may ask for."""

    def about(self) -> dict[str, Any]:
        about = super().about()
        return about | {"choices": [name for name in about["choices"] if name in limits.REQUEST_SETTINGS]}

    def check(self, requests: Sequence[Request]) -> list[tuple[int, str]]:
        faults = super().check(requests)
        return faults + [(request.line, fault) for request in requests if (fault := _fault(request))]


def _fault(request: Request) -> str:
    """Why a request is too large for a page; empty where it is not."""
    try:
        limits.check_request(str(request.prompt), 1, request.settings.get("duration"))
    except MmgenError as error:
        return str(error)
    return ""
