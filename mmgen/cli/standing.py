"""How a job stands and what it will take, in words and in JSON."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

from mmgen.cli.report import Interrupted, UsageError, print_json, print_table


def end(summary: Any, out: Path, json: bool) -> int:
    """Says how a job stands after a run, and gives the exit code."""
    from mmgen.batch.crew import WorkerError

    counts = f"{summary.done} of {summary.items} done, {summary.failed} failed"
    if summary.trouble:
        raise WorkerError(f"{summary.trouble}; {counts}; the same command goes on with {out}")
    if summary.interrupted:
        raise Interrupted(f"interrupted: {counts}; the same command goes on with {out}")
    if sys.stderr.isatty() and not json:
        each = f" in {summary.seconds:.0f} s" if summary.made else ""
        print(f"{counts}: {out}{each}", file=sys.stderr)
    else:
        print_json({"event": "summary", **summary.to_dict()})
    if summary.too_many_failed:
        print(f"mmgen: stopped: {summary.failed} items failed, more than --max-errors", file=sys.stderr)
    return 3 if summary.failed else 0


def show(estimate: Any, json: bool) -> None:
    """Prints what a job will take."""
    if json or not sys.stdout.isatty():
        print_json(estimate.to_dict())
        return
    rows = [
        ("requests", estimate.requests), ("items", estimate.items), ("left", estimate.left),
        ("workers", estimate.workers), ("batch", estimate.batch or "by memory"),
        ("seconds an item", f"{estimate.seconds_each:.2f}"), ("time", _duration(estimate.seconds)),
        ("bytes an item", round(estimate.bytes_each)), ("disk", f"{estimate.bytes / 1e6:.1f} MB"),
        ("free", f"{estimate.free_bytes / 1e6:.0f} MB"), ("measured by", estimate.measured),
    ]  # fmt: skip
    groups = enumerate(estimate.groups.items(), start=1)
    rows += [(f"group {number}", f"{items} items: {name}") for number, (name, items) in groups]
    print_table(("", ""), rows)
    if estimate.bytes > estimate.free_bytes:
        print("mmgen: the disk is too small for it", file=sys.stderr)


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"


def status(folder: Path | None, json: bool) -> int:
    """Prints how the job of a folder stands, while it runs and afterwards.

    Returns:
        The exit code: 0, or 3 where items failed.
    """
    from mmgen.batch.job import Job
    from mmgen.batch.run import stand
    from mmgen.errors import OutputError

    if folder is None:
        raise UsageError("write `mmgen batch status DIR`")
    job = Job.at(folder)
    if not job.frozen:
        raise OutputError(folder, "holds no job", "give the folder of `mmgen batch FILE --out DIR`")
    summary, told = stand(job), _told(folder)
    fields = {name: value for name, value in summary.to_dict().items() if name in ("items", "done", "failed", "left")}
    if json or not sys.stdout.isatty():
        print_json({**fields, **told, "pipeline": job.frozen["settings"]["pipeline"]})
    else:
        reasons = told.pop("errors")
        print_table(("", ""), [*fields.items(), *((name.replace("_", " "), value) for name, value in told.items())])
        for reason, times in reasons.items():
            print(f"{times} failed: {reason}")
    return 3 if summary.failed else 0


def _told(folder: Path) -> dict[str, Any]:
    """What the manifest tells of the pace, and of why items failed."""
    from mmgen.batch.manifest import FAILED, Ledger

    made, seconds, first, last = 0, 0.0, float("inf"), 0.0
    errors: Counter[str] = Counter()
    for record in Ledger(folder).records():
        if record["status"] == FAILED:
            reason = record["error"]
            errors[reason if reason in errors or len(errors) < 100 else "other reasons"] += 1
            continue
        made, seconds = made + 1, seconds + record["seconds"]
        first, last = min(first, record["finished"]), max(last, record["finished"])
    return {
        "seconds_each": round(seconds / made, 4) if made else None,
        "seconds_from_first_to_last": round(last - first, 1) if made else None,
        "errors": dict(errors.most_common(10)),
    }
