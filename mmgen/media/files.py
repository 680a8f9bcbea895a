"""Files that are whole or absent, their names, and the folders they go to."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mmgen.errors import OutputError

_SLUG_LENGTH = 80


@contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name once it is complete; on any error or interruption it never does.

    Raises:
        OutputError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(
            path, f"cannot be written ({_reason(error)})", "free space or choose another folder"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def file_name(prompt: str, seed: int, line: int | None = None, ending: str = "png") -> str:
    """A readable name that depends on its arguments only, such as `a-cat-on-a-red-background-7.png`.

    A prompt without Latin letters and digits is told apart by part of a hash.

    Args:
        line: number of the prompt in its file, put in front.
        ending: of the file's format.
    """
    plain = unicodedata.normalize("NFKD", prompt).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_SLUG_LENGTH].strip("-")
    slug = slug or f"picture-{hashlib.sha256(prompt.encode()).hexdigest()[:8]}"
    return f"{slug}-{seed}.{ending}" if line is None else f"{line:04d}-{slug}-{seed}.{ending}"


def check_folder(folder: Path) -> None:
    """Makes sure that files could be written to a folder, which need not exist yet; creates nothing.

    Raises:
        OutputError: they could not.
    """
    existing = folder.absolute()
    while not os.path.lexists(existing) and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise OutputError(existing, "is a file, and a folder is needed", "give another folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise OutputError(existing, "is a folder that cannot be written to", "give another, or change its permissions")


def make_folder(folder: Path) -> None:
    """Creates a folder where it is missing, and makes sure that files can be written to it.

    Raises:
        OutputError: they cannot.
    """
    check_folder(folder)
    probe = folder / f".mmgen.{os.getpid()}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(folder, f"cannot be written to ({_reason(error)})", "give another folder") from error


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
