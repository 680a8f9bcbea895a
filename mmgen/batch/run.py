"""A job from beginning to end, whatever was done of it before."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from mmgen.batch.chunks import Chunks
from mmgen.batch.crew import Crew
from mmgen.batch.foreman import Foreman, Listener, Rules, ask, hear_out
from mmgen.batch.interruption import Interruption
from mmgen.batch.job import Job, Settings, fixed
from mmgen.batch.manifest import DONE, FAILED, Ledger, is_parquet_written, merge, write_parquet
from mmgen.batch.request import Item
from mmgen.batch.rows import Source
from mmgen.batch.shards import write_shards
from mmgen.errors import OutputError
from mmgen.media import make_folder

_TEMPORARY = re.compile(r"\..+\.\d+\.tmp")
"""Names of files that `mmgen.media.written_whole` has not finished."""


@dataclass(frozen=True)
class Summary:
    """How a job stands.

    Attributes:
        items: of the job.
        done: made, now or before.
        failed: given up, now or before.
        made: made by this run.
        seconds: this run took.
        trouble: why it ended before its time; empty where it did not.
        interrupted: whether Ctrl-C ended it.
        too_many_failed: whether its failures ended it.
    """

    items: int
    done: int
    failed: int
    made: int = 0
    seconds: float = 0.0
    trouble: str = ""
    interrupted: bool = False
    too_many_failed: bool = False

    @property
    def left(self) -> int:
        """Items that are neither made nor given up."""
        return self.items - self.done - self.failed

    def to_dict(self) -> dict[str, Any]:
        """The fields and `left` by name."""
        return asdict(self) | {"left": self.left}


class Reporter(Listener, Protocol):
    """Shows how a job goes on."""

    def begin(self, items: int, done: int, failed: int, workers: int) -> None:
        """Work starts, with so much done before."""

    def end(self) -> None:
        """Work has ended."""


@dataclass(frozen=True)
class Extras:
    """What is made of a job beside its files.

    Attributes:
        parquet: whether the manifest is written as Parquet, too.
        shards: items in a WebDataset shard; None writes none.
    """

    parquet: bool = False
    shards: int | None = None


def run(
    source: Source,
    settings: Settings,
    folder: Path,
    rules: Rules,
    reporter: Reporter,
    recruit: Callable[[], Crew],
    extras: Extras,
) -> Summary:
    """Plans a job, or goes on with the one that is in the folder.

    Args:
        source: the requests.
        settings: what all items share; of a job that was begun they must be the same.
        folder: for files and manifest, made if missing.
        rules: how it is worked off.
        reporter: shows how it goes.
        recruit: makes the crew; it is not called where there is nothing to do.

    Raises:
        OutputError: the folder cannot be written to, is in use, or holds a job that was started otherwise.
        RowsError: there are requests that cannot be drawn; nothing was drawn.
        WorkerError: the pipeline cannot be loaded.
        KeyboardInterrupt: by Ctrl-C before work starts, or by a second one; what was written stays.
    """
    folder = folder.absolute()  # workers of a cluster stand elsewhere
    make_folder(folder)
    with _alone(folder):
        job = Job.at(folder)
        summary = None
        if job.frozen:
            job.check(source, settings)
            _sweep(folder)
            merge(folder)  # what a run has left that was killed
            summary = stand(job)
        if summary is None or summary.left or (rules.retry_failed and summary.failed):
            crew = recruit()
            try:
                job, summary = _work(source, settings, job, rules, reporter, crew)
            finally:
                crew.stop()
            _sweep(folder)
            merge(folder)
        if not summary.left:
            _write_extras(job, extras)
        return summary


def stand(job: Job) -> Summary:
    """How a job stands, by its manifest and its files."""
    ledger = Ledger(job.folder)
    if ledger.empty:
        return Summary(job.items, 0, 0)
    states = Counter(_state(job, ledger, item) for _, item in job.each())
    return Summary(job.items, states[DONE], states[FAILED])


def _state(job: Job, ledger: Ledger, item: Item) -> str | None:
    """Whether an item is done or failed. One whose file is gone, or not as long as it was, is neither."""
    entry = ledger.entry(item.number)
    if entry is None or entry[0] != DONE:
        return entry and entry[0]
    try:
        return DONE if job.path(item.id).stat().st_size == entry[1] else None
    except OSError:
        return None


def _work(
    source: Source, settings: Settings, job: Job, rules: Rules, reporter: Reporter, crew: Crew
) -> tuple[Job, Summary]:
    crew.start(0)
    about = hear_out(crew)[-1]
    if job.frozen:
        job.check_made_by(fixed(about, settings))
    else:
        job.plan(source, settings, about, lambda requests: ask(crew, 0, "check", requests)[-1], rules.most_items)
    before = stand(job)
    left = before.left + before.failed * rules.retry_failed
    workers = min(rules.workers or crew.room(about), left)
    kept = 0 if rules.retry_failed else before.failed
    reporter.begin(job.items, before.done, kept, workers)
    started = time.perf_counter()
    try:
        with Interruption() as interruption:
            chunks = Chunks(_wanted(job, rules.retry_failed))
            renewing = about.get("renews", False)
            foreman = Foreman(crew, job, settings, rules, workers, left, chunks, interruption, reporter, renewing)
            foreman.work()
    finally:
        reporter.end()
    seconds = time.perf_counter() - started
    done, failed = before.done + foreman.made, kept + foreman.failed
    ends = foreman.trouble, interruption.asked and done + failed < job.items, foreman.too_many_failed
    return job, Summary(job.items, done, failed, foreman.made, seconds, *ends)


def _wanted(job: Job, failed_too: bool) -> Iterator[tuple[Any, Item]]:
    """Items that are still to be made."""
    ledger = Ledger(job.folder)
    if ledger.empty:
        return job.each()
    skipped = (DONE,) if failed_too else (DONE, FAILED)
    return (pair for pair in job.each() if _state(job, ledger, pair[1]) not in skipped)


def _write_extras(job: Job, extras: Extras) -> None:
    ledger = Ledger(job.folder)
    if extras.parquet and not is_parquet_written(job.folder):
        write_parquet(job.folder, ledger)
    if extras.shards:
        write_shards(job, ledger, extras.shards)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Makes sure that nobody else works on the job of a folder."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        cure = "wait for it, or choose another folder"
        raise OutputError(folder, "is being worked on by another command", cure) from error
    try:
        yield
    finally:
        lock.release()


def _sweep(folder: Path) -> None:
    """Removes what workers that were killed had begun to write."""
    for pattern in (".*.tmp", "?/.*.tmp", "??/.*.tmp", "shards/.*.tmp"):
        for left in folder.glob(pattern):
            if _TEMPORARY.fullmatch(left.name):
                left.unlink(missing_ok=True)
