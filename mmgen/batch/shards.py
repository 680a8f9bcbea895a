"""Shards as WebDataset reads them: tar files of media, each beside a JSON file that says what it shows."""

from __future__ import annotations

import io
import itertools
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmgen.batch.job import Job
from mmgen.batch.manifest import DONE, Ledger
from mmgen.media import make_folder, written_whole

_SAID = (
    "id", "prompt", "seed", "line", "decoder", "law", "tokens", "evaluations", "draft_evaluations", "sha256",
)  # fmt: skip
"""What of the manifest goes along: nothing that another run would say otherwise."""


def write_shards(job: Job, ledger: Ledger, size: int, anew: bool = True) -> list[Path]:
    """Writes the shards of a job to its folder `shards`: the same items are the same bytes.

    Args:
        size: items of a shard; those that failed leave gaps.
        anew: whether those that exist are written again.

    Returns:
        Their files.

    Raises:
        OutputError: one cannot be written; the others are whole.
    """
    folder = job.folder / "shards"
    make_folder(folder)
    paths = []
    for number, records in itertools.groupby(ledger.records(DONE), lambda record: record["item"] // size):
        path = folder / f"{number:06d}.tar"
        paths.append(path)
        if anew or not path.exists():
            _write_shard(path, job.folder, records)
    return paths


def _write_shard(path: Path, folder: Path, records: Iterable[Mapping[str, Any]]) -> None:
    with written_whole(path) as file, tarfile.open(fileobj=file, mode="w") as tar:
        for record in records:
            media = folder / record["file"]
            _add(tar, media.name, media.read_bytes())
            said = {name: record[name] for name in _SAID}
            _add(tar, f"{record['id']}.json", json.dumps(said, ensure_ascii=False).encode())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # of nobody, and of no time
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
