"""Rows of a file of requests, one after another, with the numbers of their lines: never all of them in memory."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmgen.errors import MissingDependencyError, MmgenError, OptionError, OutputError

_SHOWN = 10
MOST_FAULTS = 100
"""After so many rows that cannot be drawn, the others are not looked at."""

_NUMBERS = {
    "seed": int, "count": int, "height": int, "width": int, "frames": int, "top_k": int,
    "guidance": float, "temperature": float, "top_p": float, "duration": float,
}  # fmt: skip
"""What cells of a CSV file are, where they are not text."""

_MAPPINGS = ("options", "conditions")
"""Cells that are JSON."""


class RowsError(MmgenError, ValueError):
    """Rows of a file that are no requests, or requests that cannot be drawn.

    Args:
        faults: number of the line and what is wrong with it, for each row.
    """

    def __init__(self, faults: list[tuple[int, str]]) -> None:
        self.faults = faults
        lines = "; ".join(f"line {line}: {fault}" for line, fault in faults[:_SHOWN])
        more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        count = f"{len(faults)} or more rows" if len(faults) >= MOST_FAULTS else f"{len(faults)} of the rows"
        super().__init__(f"{count} cannot be drawn: {lines}{more}")


@dataclass(frozen=True, slots=True)
class Row:
    """A row as it stands in its file.

    Attributes:
        line: its number, from 1; of Parquet, the row's.
        fields: values by name.
        fault: why it cannot be read; empty where it can.
    """

    line: int
    fields: dict[str, Any] = field(default_factory=dict)
    fault: str = ""


@dataclass(frozen=True)
class Source:
    """A file of requests.

    Attributes:
        name: what the user called it.
        path: where it is; standard input is copied to a file first.
        kind: its format: a key of `READERS`.
        digest: sha256 of its bytes, in hexadecimal.
    """

    name: str
    path: Path
    kind: str
    digest: str

    def rows(self) -> Iterator[Row]:
        """Its rows that are not blank."""
        return READERS[self.kind](self.path)


@contextmanager
def opened(name: str) -> Iterator[Source]:
    """A source by the name of its file; `-` is standard input: requests in JSON where it begins with `{`, else prompts.

    Raises:
        OutputError: it cannot be read.
        OptionError: its ending is none of `READERS`.
    """
    if name != "-":
        path = Path(name)
        kind = path.suffix.lower()
        if kind not in READERS:
            raise OptionError("file", name, f"a file that ends in one of {', '.join(READERS)}, or - for standard input")
        yield Source(name, path, kind, _digest(path))
        return
    with tempfile.NamedTemporaryFile(prefix="mmgen-") as copy:
        while block := sys.stdin.buffer.read(2**20):
            copy.write(block)
        copy.flush()
        path = Path(copy.name)
        yield Source("standard input", path, _kind_by_beginning(path), _digest(path))


def blocks(values: Iterator[Any], size: int) -> Iterator[list[Any]]:
    """Values in lists of `size`, the last one shorter."""
    while block := list(itertools.islice(values, size)):
        yield block


def _digest(path: Path) -> str:
    with _opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _opened(path: Path) -> io.BufferedReader:
    try:
        return open(path, "rb")
    except OSError as error:
        raise OutputError(path, f"cannot be read ({error.strerror})", "give a file of requests") from error


def _kind_by_beginning(path: Path) -> str:
    with _opened(path) as file:
        beginning = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    return ".jsonl" if beginning.startswith(b"{") else ".txt"


def _lines(path: Path) -> Iterator[tuple[int, str | None]]:
    """Lines that are not blank, stripped; None where one is not UTF-8."""
    with _opened(path) as file:
        for number, raw in enumerate(file, start=1):
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError:
                yield number, None
                continue
            if text:
                yield number, text


def _text_rows(path: Path) -> Iterator[Row]:
    for number, text in _lines(path):
        yield Row(number, fault="is not UTF-8 text") if text is None else Row(number, {"prompt": text})


def _json_rows(path: Path) -> Iterator[Row]:
    for number, text in _lines(path):
        if text is None:
            yield Row(number, fault="is not UTF-8 text")
            continue
        try:
            value = json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            yield Row(number, fault=f"is not JSON ({error})")
            continue
        yield Row(number, value) if isinstance(value, dict) else Row(number, fault="is not a JSON object")


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no number of JSON")


def _csv_rows(path: Path) -> Iterator[Row]:
    with io.TextIOWrapper(_opened(path), encoding="utf-8-sig", newline="", errors="surrogateescape") as file:
        reader = csv.DictReader(file)
        try:
            for cells in reader:
                yield _csv_row(reader.line_num, cells)
        except csv.Error as error:
            reason = f"is not CSV (line {reader.line_num}: {error})"
            raise OutputError(path, reason, "save it as CSV in UTF-8") from error


def _csv_row(line: int, cells: dict[Any, Any]) -> Row:
    if cells.pop(None, None) is not None:
        return Row(line, fault="has more cells than the first line names")
    try:
        "".join(map(str, (*cells, *cells.values()))).encode()
    except UnicodeEncodeError:  # half characters stand for bytes that are none
        return Row(line, fault="is not UTF-8 text")
    return _typed(line, cells, _cell)


def _typed(line: int, cells: dict[str, Any], read: Callable[[str, Any], Any]) -> Row:
    """A row of cells, each read as what it is by its name."""
    fields: dict[str, Any] = {}
    for name, cell in cells.items():
        try:
            fields[name] = read(name, cell)
        except (ValueError, RecursionError):
            return Row(line, fault=f"{name}={cell!r:.100} cannot be read")
    return Row(line, fields)


def _cell(name: str, word: str | None) -> Any:
    if not word:
        return None
    if name in _MAPPINGS:
        return json.loads(word, parse_constant=_refuse)
    return _NUMBERS.get(name, str)(word)


def _value(name: str, value: Any) -> Any:
    """A value of Parquet: whole numbers of a column with gaps come as 7.0, and structs with what only others say."""
    if name in _MAPPINGS and isinstance(value, str):
        return _cell(name, value)
    if name in _MAPPINGS and isinstance(value, dict):
        return {key: inner for key, inner in value.items() if inner is not None}
    return int(value) if _NUMBERS.get(name) is int and isinstance(value, float) and value.is_integer() else value


def _parquet_rows(path: Path) -> Iterator[Row]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        cure = "install mmgen[parquet]: pip install 'mmgen[parquet]', or save the requests as .jsonl"
        raise MissingDependencyError("pyarrow is not installed, and Parquet needs it", cure) from error
    number = 0
    try:
        with ParquetFile(_opened(path)) as file:
            for block in file.iter_batches(1024):
                for fields in block.to_pylist():
                    number += 1
                    yield _typed(number, fields, _value)
    except ArrowException as error:
        raise OutputError(path, f"is not Parquet ({error})", "give a Parquet file") from error


READERS = {".jsonl": _json_rows, ".txt": _text_rows, ".csv": _csv_rows, ".parquet": _parquet_rows}
"""Formats of files of requests, by their ending."""
