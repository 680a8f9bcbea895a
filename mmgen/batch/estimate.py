"""What a job will take: time and disk, before it is begun or in the middle of it."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmgen.batch.chunks import Chunks
from mmgen.batch.crew import Crew
from mmgen.batch.foreman import Rules, ask, hear_out
from mmgen.batch.job import Job, Settings
from mmgen.batch.manifest import DONE, Ledger
from mmgen.batch.request import canonical
from mmgen.batch.rows import Source
from mmgen.batch.run import stand

_SAMPLED = 8
"""Items that are drawn to see how long one takes."""

_ASKED = 1000
"""Items of the manifest that are asked for the same."""

_GROUPS = 10


@dataclass(frozen=True)
class Estimate:
    """What is left of a job.

    Attributes:
        requests: rows of the source.
        items: pictures, clips or recordings.
        left: of them, to be made.
        groups: how many items have equal settings, those of the largest groups; of a plan only.
        workers: how many would work.
        batch: items a worker draws at once.
        seconds_each: one worker's time for an item.
        seconds: time for all.
        bytes_each: of a file.
        bytes: of all files to be written.
        free_bytes: of the disk.
        measured: where the numbers come from: `a probe of 8 items`, or `the manifest`.
    """

    requests: int
    items: int
    left: int
    groups: dict[str, int]
    workers: int
    batch: int | None
    seconds_each: float
    seconds: float
    bytes_each: float
    bytes: int
    free_bytes: int
    measured: str

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def estimate(source: Source, settings: Settings, folder: Path, rules: Rules, recruit: Callable[[], Crew]) -> Estimate:
    """Checks the requests of a job and says what it will take; nothing is written to its folder.

    Of a job that was begun, the manifest says how long items take. Else a few of them are drawn.

    Raises:
        OutputError: the folder holds a job that was started otherwise.
        RowsError: there are requests that cannot be drawn.
        WorkerError: the pipeline cannot be loaded.
    """
    job = Job.at(folder)
    if job.frozen:
        job.check(source, settings)
        ledger = Ledger(folder)
        known = list(itertools.islice(ledger.records(DONE), _ASKED))
        if known:
            workers = rules.workers or len({record["worker"] for record in known})
            return _estimate(job, folder, stand(job).left, known, workers, rules.batch, "the manifest")
    with tempfile.TemporaryDirectory(prefix="mmgen-") as place:
        return _probe(source, settings, Job(Path(place)), folder, rules, recruit())


def _probe(source: Source, settings: Settings, job: Job, folder: Path, rules: Rules, crew: Crew) -> Estimate:
    try:
        crew.start(0)
        about = hear_out(crew)[-1]
        job.plan(source, settings, about, lambda requests: ask(crew, 0, "check", requests)[-1])
        workers = min(rules.workers or crew.room(about), job.items)
        chunks = Chunks(job.each())
        batch = ask(crew, 0, "settle", workers, rules.batch, chunks.peek())[-1]
        chunk = chunks.take(min(batch, _SAMPLED))
        started = time.perf_counter()
        outcomes = ask(crew, 0, "draw", job, chunk)[:-1]
        seconds = (time.perf_counter() - started) / len(outcomes)
    finally:
        crew.stop()
    records = [{"bytes": 0, "seconds": 0.0} | outcome.record | {"seconds": seconds} for outcome in outcomes]
    return _estimate(job, folder, job.items, records, workers, batch, f"a probe of {len(records)} items")


def _estimate(
    job: Job, folder: Path, left: int, records: list[dict[str, Any]], workers: int, batch: int | None, measured: str
) -> Estimate:
    seconds = sum(record["seconds"] for record in records) / len(records)
    size = sum(record["bytes"] for record in records) / len(records)
    existing = folder.absolute()
    while not existing.is_dir():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    return Estimate(
        job.frozen["requests"], job.items, left, _groups(job), workers, batch, seconds, seconds * left / workers, size,
        round(size * left), free, measured,
    )  # fmt: skip


def _groups(job: Job) -> dict[str, int]:
    """Items by settings, the most common ones."""
    counts: Counter[str] = Counter()
    for request in job.requests():
        name = canonical(request.settings)
        counts[name if name in counts or len(counts) < 1000 else "other settings"] += request.count
    return dict(counts.most_common(_GROUPS))
