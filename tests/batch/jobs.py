"""What the tests of jobs share."""

import hashlib
import json
from pathlib import Path

from mmgen.batch.crew import Event, answer
from mmgen.batch.foreman import Rules
from mmgen.batch.job import Settings
from mmgen.batch.progress import Progress

SETTINGS = Settings("simulated", device="cpu")
ONE = Rules(workers=1, batch=4)


class Told(Progress):
    """Keeps what it is told."""

    def __init__(self):
        self.records, self.notes = [], []

    def counted(self, record):
        self.records.append(record)

    def note(self, text):
        self.notes.append(text)


class HereCrew:
    """One worker in this very process; for what needs no process of its own."""

    def __init__(self, recruit):
        self._recruit, self._waiting = recruit, []
        self.started = 0

    def start(self, place):
        self.started += 1
        self._worker = self._recruit.worker(place)
        self._waiting = iter([Event(place, "answer", self._worker.about())])

    def ask(self, place, method, *arguments):
        self._waiting = (Event(place, *said) for said in answer(self._worker, method, arguments))

    def events(self):
        return [event for event in [next(self._waiting, None)] if event]

    def room(self, about):
        return 1

    def machines(self):
        return 1

    def stop(self):
        pass


def media(folder):
    """Hashes of the files a job made, by their names; and nothing unfinished is among them."""
    files = [path for path in Path(folder).glob("??/*")]
    assert not [path for path in files if path.suffix == ".tmp"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def manifest(folder):
    """The records of the merged manifest."""
    return [json.loads(line) for line in (Path(folder) / "manifest.jsonl").read_text().splitlines()]
