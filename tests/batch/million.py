"""What the engine costs beside drawing: `python tests/batch/million.py 10000 1000000` makes so many simulated items.

The pipeline draws a colour of 4 by 4 pixels at once; everything else is that of a real job: the requests are read,
checked and kept, two processes draw, a file for each item and its line of the manifest are written, and the manifest
is merged. Then the job is started again, to see what finding nothing to do costs. A million items take 4 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from jobs import SETTINGS
from simulated import Simulation

from mmgen.batch import rows
from mmgen.batch.crew import LocalCrew, Recruit
from mmgen.batch.foreman import Rules
from mmgen.batch.machine import taken_memory
from mmgen.batch.progress import Progress
from mmgen.batch.run import Extras, Summary, run

RULES = Rules(workers=2, batch=16)
SAID = 20
"""Lines of progress for each job."""


@dataclass(frozen=True)
class Spent:
    """What two processes and their parent have taken so far."""

    seconds: float
    parent: float
    workers: float

    @classmethod
    def now(cls) -> Spent:
        own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return cls(time.perf_counter(), own.ru_utime + own.ru_stime, children.ru_utime + children.ru_stime)

    def since(self, before: Spent) -> str:
        parent, workers = self.parent - before.parent, self.workers - before.workers
        whole = self.seconds - before.seconds
        return f"{whole:.0f} s, of processors {parent:.0f} s (parent) and {workers:.0f} s (workers)"


class Told(Progress):
    """Says how much memory the parent has taken, now and then."""

    def started(self, workers: int) -> None:
        say(f"  planned; parent {megabytes(taken_memory())}")

    def counted(self, record: object) -> None:
        if self.done % max(1, self.items // SAID) == 0:
            say(f"  {self.done} done, {self.rate:.0f} a second; parent {megabytes(taken_memory())}")


def measure(folder: Path, items: int) -> None:
    source = folder / "requests.jsonl"
    with open(source, "w") as file:
        file.writelines(json.dumps({"prompt": f"prompt {number}", "seed": number}) + "\n" for number in range(items))
    before = Spent.now()
    summary = work(source, folder / "out")
    after = Spent.now()
    assert summary.done == summary.made == items, summary
    cost = (after.parent + after.workers - before.parent - before.workers) / items
    say(f"{items} items: {after.since(before)}; {1000 * cost:.2f} ms an item")
    say(f"  at most: parent {megabytes(taken_memory())}, a worker {megabytes(of_workers())}")
    assert work(source, folder / "out").made == 0
    say(f"  started again: {Spent.now().since(after)}; parent {megabytes(taken_memory())}")


def work(source: Path, out: Path) -> Summary:
    recruit = Recruit(SETTINGS, Simulation())
    with rows.opened(str(source)) as opened:
        return run(opened, SETTINGS, out, RULES, Told(), lambda: LocalCrew(recruit), Extras())


def of_workers() -> int:
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return most * (1 if sys.platform == "darwin" else 1024)


def megabytes(size: int) -> str:
    return f"{size / 2**20:.1f} MB"


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("items", type=int, nargs="+", help="of each job; ascending, since peaks of memory are kept")
    for items in sorted(parser.parse_args().items):
        place = Path(tempfile.mkdtemp(prefix="mmgen-"))
        try:
            measure(place, items)
        finally:
            shutil.rmtree(place)
