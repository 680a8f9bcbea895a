"""The requests of a source, checked before a job is planned."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from mmgen.batch.request import Request, RequestReader
from mmgen.batch.rows import MOST_FAULTS, RowsError, Source, blocks
from mmgen.errors import MmgenError, OptionError

_BLOCK = 256
"""Requests that are checked at a time."""


def check_all(
    source: Source,
    reader: RequestReader,
    check: Callable[[list[Request]], list[tuple[int, str]]],
    write: Callable[[str], Any],
    most: int | None = None,
) -> tuple[int, int]:
    """Checks every request of a source before any is drawn.

    Args:
        source: of the rows.
        reader: makes requests of them.
        check: faults of requests, as pairs of line and reason; asked of some at a time.
        write: is given the requests, one a line, in the order of the source.
        most: items that may be asked for; None has no limit.

    Returns:
        Numbers of requests and of items.

    Raises:
        RowsError: there are requests that cannot be drawn, that have one name, or that ask for too much.
        OutputError: the source cannot be read.
    """
    counted, items, asked = 0, 0, 0
    faults: list[tuple[int, str]] = []
    names = _Names()
    for rows in blocks(source.rows(), _BLOCK):
        requests = []
        for row in rows:
            try:
                if row.fault:
                    raise RowsError([(row.line, row.fault)])
                request = reader.read(row)
                asked += request.count
                if most is not None and asked > most:  # before anything is made for each of them
                    raise OptionError("count", asked, f"at most {most} results; `mmgen batch` has no limit")
                names.add(request)
                requests.append(request)
            except RowsError as error:
                faults += error.faults
            except MmgenError as error:
                faults.append((row.line, str(error)))
        faults += check(requests)
        if len(faults) >= MOST_FAULTS:
            break
        counted, items = counted + len(requests), items + sum(request.count for request in requests)
        write("".join(request.to_json() + "\n" for request in requests))
    if faults:
        raise RowsError(sorted(faults))
    return counted, items


class _Names:
    """Names of items, so that none is given twice; kept outside of memory. Some disks take `A` and `a` for one."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("")
        self._database.execute("CREATE TABLE name (name TEXT PRIMARY KEY, line INTEGER) WITHOUT ROWID")

    def add(self, request: Request) -> None:
        """Takes the names of a request's items.

        Raises:
            OptionError: one of them is taken.
        """
        for item in request.items():
            try:
                self._database.execute("INSERT INTO name VALUES (?, ?)", (item.id.lower(), item.line))
            except sqlite3.IntegrityError:
                query = self._database.execute("SELECT line FROM name WHERE name = ?", (item.id.lower(),))
                needed = f"another than that of line {query.fetchone()[0]}; for more of one prompt say count or seed"
                raise OptionError("id", item.id, needed) from None
