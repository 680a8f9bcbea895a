"""The manifest: one line of JSON for every item that was made or given up, written by whoever did it."""

from __future__ import annotations

import json
import os
import secrets
import socket
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from mmgen.batch.rows import blocks
from mmgen.errors import MissingDependencyError, OutputError
from mmgen.media import written_whole

MANIFEST = "manifest.jsonl"
PARTS = "manifests"
"""Folder of what each worker has written since the last merge."""

DONE, FAILED = "done", "failed"

_NEEDED = {DONE: ("id", "finished", "file", "bytes", "sha256", "seconds"), FAILED: ("id", "finished", "error")}
"""What a line says at least; one that does not is no record."""


class Part:
    """The lines of one writer, in a file of its own: appended whole, one by one.

    Args:
        folder: of the job.
    """

    def __init__(self, folder: Path) -> None:
        name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
        self.path = folder / PARTS / name
        self._torn = False

    def write(self, record: Mapping[str, Any]) -> None:
        """Appends a record.

        Raises:
            OutputError: it cannot be written. What there is of its line is no record, and the next starts a new one.
        """
        line = _line(record)
        try:
            self.path.parent.mkdir(exist_ok=True)
            with open(self.path, "ab", buffering=0) as file:
                written = file.write(b"\n" + line if self._torn else line)
                self._torn = written < len(line)
            if self._torn:
                raise OSError(28, "No space left on device")
        except OSError as error:
            self._torn = True
            reason = f"cannot be written ({error.strerror})"
            raise OutputError(self.path, reason, "free space, and run the same command again") from error


class Ledger:
    """What the manifest of a job says of each item, kept outside of memory; done outweighs failed, later earlier.

    Lines that are no records are passed over: their items count as not made.

    Args:
        folder: of the job.
    """

    def __init__(self, folder: Path) -> None:
        self._files = [folder / MANIFEST, *_parts(folder)]
        self._opened: dict[int, IO[bytes]] = {}  # for good: a job that ends meanwhile takes the parts away
        self._database = sqlite3.connect("")  # a file without a name: on disk where it grows, gone once it is closed
        self._database.execute(
            "CREATE TABLE item"
            " (number INTEGER PRIMARY KEY, status TEXT, size INTEGER, finished REAL, file INTEGER, place INTEGER)"
        )
        for index, path in enumerate(self._files):
            self._database.executemany(
                "INSERT INTO item VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET status = excluded.status,"
                " size = excluded.size, finished = excluded.finished, file = excluded.file, place = excluded.place"
                f" WHERE excluded.status = '{DONE}' OR status = '{FAILED}' AND excluded.finished >= finished",
                self._rows(index, path),
            )

    def entry(self, number: int) -> tuple[str, int | None] | None:
        """Whether an item is done or failed, and the bytes of its file; None where it was not reached."""
        return self._database.execute("SELECT status, size FROM item WHERE number = ?", (number,)).fetchone()

    @property
    def empty(self) -> bool:
        """Whether there is no record."""
        return self._database.execute("SELECT 1 FROM item LIMIT 1").fetchone() is None

    def records(self, status: str | None = None) -> Iterator[dict[str, Any]]:
        """All records, of one status if it is given, in the order of the items."""
        rows = self._database.execute("SELECT file, place, status FROM item ORDER BY number")
        return (self._read(file, place) for file, place, found in rows if status in (None, found))

    def _rows(self, index: int, path: Path) -> Iterator[tuple]:
        try:
            self._opened[index] = open(path, "rb")  # noqa: SIM115  (kept)
        except FileNotFoundError:
            return
        for place, record in _records(self._opened[index]):
            yield record["item"], record["status"], record.get("bytes"), record["finished"], index, place

    def _read(self, file: int, place: int) -> dict[str, Any]:
        self._opened[file].seek(place)
        return json.loads(self._opened[file].readline())


def merge(folder: Path) -> None:
    """Makes one file of the manifest and its parts, in the order of the items; where there is no part, nothing.

    Raises:
        OutputError: it cannot be written; the parts stay.
    """
    parts = _parts(folder)
    if not parts:
        return
    ledger = Ledger(folder)
    with written_whole(folder / MANIFEST) as file:
        for record in ledger.records():
            file.write(_line(record))
    for path in parts:
        path.unlink(missing_ok=True)


def _parts(folder: Path) -> list[Path]:
    return sorted((folder / PARTS).glob("*.jsonl"))


def _line(record: Mapping[str, Any]) -> bytes:
    """A record as a line; half a character, which UTF-8 has not, is escaped as JSON does."""
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _records(file: IO[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Where the records of a file begin, and what they say."""
    place = 0
    for line in file:
        record = _record(line)
        if record is not None:
            yield place, record
        place += len(line)


def _record(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):  # torn, or being written
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or type(record.get("item")) is not int:
        return None
    needed = _NEEDED.get(str(record.get("status")))
    return record if needed and all(name in record for name in needed) else None


def check_parquet() -> None:
    """Makes sure that Parquet can be written.

    Raises:
        MissingDependencyError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        cure = "install mmgen[parquet]: pip install 'mmgen[parquet]', or leave --parquet out"
        raise MissingDependencyError("pyarrow is not installed, and Parquet needs it", cure) from error


def is_parquet_written(folder: Path) -> bool:
    """Whether there is a `manifest.parquet`, of the manifest as it is."""
    path = folder / "manifest.parquet"
    return path.exists() and path.stat().st_mtime_ns >= (folder / MANIFEST).stat().st_mtime_ns


def write_parquet(folder: Path, ledger: Ledger) -> Path:
    """Writes the manifest as `manifest.parquet`; what is no number or text is JSON there.

    Raises:
        OutputError: it cannot be written.
    """
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    words, whole, real = pyarrow.string(), pyarrow.int64(), pyarrow.float64()
    kinds = {
        "item": whole, "id": words, "status": words, "line": whole, "prompt": words, "seed": whole, "attempt": whole,
        "file": words, "bytes": whole, "sha256": words, "decoder": words, "law": words, "tokens": whole,
        "evaluations": whole, "draft_evaluations": whole, "seconds": real, "finished": real, "worker": words,
        "error": words,
    }  # fmt: skip
    schema = pyarrow.schema(kinds.items())
    path = folder / "manifest.parquet"
    with written_whole(path) as file, ParquetWriter(file, schema) as writer:
        for rows in blocks(ledger.records(), 4096):
            writer.write_batch(
                pyarrow.RecordBatch.from_pylist([{name: row.get(name) for name in kinds} for row in rows], schema)
            )
    return path
