"""Shards as WebDataset reads them: tar files of media, each beside a JSON file that says what it shows."""

from __future__ import annotations

import io
import itertools
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmgen.batch.job import Job
from mmgen.batch.manifest import DONE, Ledger
from mmgen.media import make_folder, written_whole

_SAID = (
    "id", "prompt", "seed", "line", "decoder", "law", "tokens", "evaluations", "draft_evaluations", "sha256",
)  # fmt: skip
"""What of the manifest goes along: nothing that another run would say otherwise."""


def write_shards(job: Job, ledger: Ledger, size: int) -> list[Path]:
    """Writes the shards of a job to its folder `shards`: the same items are the same bytes.

    Those that hold the very items already are left alone, and those of another size are removed.

    Args:
        size: items of a shard; those that failed leave gaps.

    Returns:
        Their files.

    Raises:
        OutputError: one cannot be written; the others are whole.
    """
    folder = job.folder / "shards"
    make_folder(folder)
    paths = []
    for number, group in itertools.groupby(ledger.records(DONE), lambda record: record["item"] // size):
        records = list(group)
        path = folder / f"{number:06d}.tar"
        paths.append(path)
        if not _holds(path, records):
            _write_shard(path, job.folder, records)
    for path in set(folder.glob("[0-9]*.tar")) - set(paths):
        path.unlink(missing_ok=True)
    return paths


def _holds(path: Path, records: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a shard is whole and of these records: their checksums are in it."""
    try:
        with tarfile.open(path) as tar:
            found = [tar.extractfile(member) for member in tar if member.name.endswith(".json")]
            return [file and file.read() for file in found] == [_said(record) for record in records]
    except (OSError, tarfile.TarError):
        return False


def _write_shard(path: Path, folder: Path, records: Sequence[Mapping[str, Any]]) -> None:
    with written_whole(path) as file, tarfile.open(fileobj=file, mode="w") as tar:
        for record in records:
            media = folder / record["file"]
            _add(tar, media.name, media.read_bytes())
            _add(tar, f"{record['id']}.json", _said(record))


def _said(record: Mapping[str, Any]) -> bytes:
    return json.dumps({name: record[name] for name in _SAID}, ensure_ascii=False).encode()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # of nobody, and of no time
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
