"""A job's folder: what it was started with, its requests as they were checked, and its items."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmgen import __version__, catalog
from mmgen.batch.checks import check_all
from mmgen.batch.request import Item, Request, RequestReader
from mmgen.batch.rows import Source
from mmgen.errors import OptionError, OutputError, WeightsError
from mmgen.media import FORMATS, written_whole

_FROZEN = {"input", "settings", "made_by", "requests", "items"}

_ANEW = "remove job.json and run the same command again: what is done is kept"


@dataclass(frozen=True)
class Settings:
    """What all items of a job share, and what their bytes depend on.

    Attributes:
        pipeline: what `mmgen.load` takes.
        dtype: type of the weights.
        device: `cpu`, `cuda`, ...; a GPU where there is one if None.
        weight_bits: 8 or None; see `mmgen.quantisation`.
        cache_bits: 16, 8 or None; likewise.
        defaults: settings of requests that do not say otherwise.
        seed: another number gives requests without seeds others.
        format: ending of the files; the first of the medium's if None.
        metadata: whether files say what made them.
    """

    pipeline: str
    dtype: str = "float32"
    device: str | None = None
    weight_bits: int | None = None
    cache_bits: int | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    format: str | None = None
    metadata: bool = True


@dataclass
class Job:
    """A folder that holds a job, or will.

    Attributes:
        folder: where it is.
        frozen: what `job.json` says; empty before the job is planned.
    """

    folder: Path
    frozen: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def at(cls, folder: Path) -> Job:
        """The job of a folder, if it has one.

        Raises:
            OutputError: its file cannot be read, or says something else.
        """
        path = folder / "job.json"
        try:
            frozen = catalog.read_json(path, missing={})
        except WeightsError as error:
            raise OutputError(path, "cannot be read", _ANEW) from error
        if frozen and not frozen.keys() >= _FROZEN:
            raise OutputError(path, "is not of a job of mmgen", "choose another folder")
        return cls(folder, frozen)

    @property
    def items(self) -> int:
        """How many items it has."""
        return self.frozen["items"]

    @property
    def ending(self) -> str:
        """Of the files it writes."""
        return self.frozen["made_by"]["format"]

    def path(self, item: str) -> Path:
        """The file of an item, by its name."""
        return self.folder / item[:2] / f"{item}.{self.ending}"

    def check(self, source: Source, settings: Settings) -> None:
        """Makes sure that the job was planned from this source with these settings.

        Raises:
            OutputError: it was not; the message names the difference.
        """
        self._compare(_said(source, settings))

    def check_made_by(self, made_by: Mapping[str, Any]) -> None:
        """Makes sure that a pipeline is the one the job was planned for; `made_by` returns it.

        Raises:
            OutputError: it is not; the message names the difference.
        """
        self._compare({"made_by": dict(made_by)})

    def _compare(self, given: Mapping[str, Any]) -> None:
        was, now = _flat({name: self.frozen.get(name) for name in given}), _flat(given)
        changed = [
            f"{name} was {was.get(name)!r} and is {now.get(name)!r}"
            for name in sorted(was | now)
            if was.get(name) != now.get(name) and not name.startswith("input.name")
        ]
        if changed:
            reason = f"holds a job that was started otherwise: {'; '.join(changed)}"
            raise OutputError(self.folder, reason, "go on with its own settings, or choose another folder")

    def plan(
        self,
        source: Source,
        settings: Settings,
        about: Mapping[str, Any],
        check: Callable[[list[Request]], list[tuple[int, str]]],
        most: int | None = None,
    ) -> None:
        """Checks every request of a source, keeps them in the folder, and freezes what the job depends on.

        Args:
            about: what a worker says of its pipeline.
            check: faults of requests, as pairs of line and reason.
            most: items that may be asked for; None has no limit.

        Raises:
            RowsError: there are requests that cannot be drawn, or too many.
            OutputError: the source cannot be read or is empty, or the folder cannot be written to.
        """
        made_by = fixed(about, settings)
        reader = RequestReader(settings.pipeline, about["choices"], settings.defaults, _naming(made_by, settings))
        path = self.folder / "requests.jsonl"
        try:
            with open(path, "w", encoding="utf-8") as file:
                requests, items = check_all(source, reader, check, file.write, most)
        except OutputError:
            raise
        except OSError as error:
            raise OutputError(path, f"cannot be written ({error.strerror})", "free space") from error
        if not requests:
            raise OutputError(source.name, "holds no request", "write one a line")
        self.frozen = {**_said(source, settings), "made_by": made_by, "requests": requests, "items": items}
        with written_whole(self.folder / "job.json") as whole:
            whole.write(json.dumps(self.frozen, ensure_ascii=False, indent=2).encode() + b"\n")

    def requests(self) -> Iterator[Request]:
        """Its requests, in the order of the source.

        Raises:
            OutputError: they are not those that were checked.
        """
        path, read = self.folder / "requests.jsonl", 0
        try:
            with open(path, encoding="utf-8", newline="\n") as file:
                for line in file:
                    yield Request.from_json(line)
                    read += 1
        except (OSError, ValueError, TypeError) as error:
            raise OutputError(path, f"cannot be read ({error})", _ANEW) from error
        if read != self.frozen["requests"]:
            raise OutputError(path, f"holds {read} of {self.frozen['requests']} requests", _ANEW)

    def each(self) -> Iterator[tuple[dict[str, Any], Item]]:
        """Its items, each with the settings of its call."""
        first = 0
        for request in self.requests():
            for item in request.items(first, self.frozen["settings"]["seed"]):
                yield request.settings, item
            first += request.count


def fixed(about: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """What the bytes of an item depend on beside its request: the pipeline, its own settings, versions, the format.

    Raises:
        OptionError: the medium is not written in that format.
    """
    formats = FORMATS[about["medium"]]
    if settings.format not in (None, *formats):
        raise OptionError("format", settings.format, f"one of {', '.join(formats)}")
    names = ("revision", "decoder", "options", "sampling", "device", "torch")
    return {name: about[name] for name in names} | {"format": settings.format or formats[0], "mmgen": __version__}


def _naming(made_by: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """What names of requests depend on beside what they say: not on versions or devices."""
    pipeline = {name: made_by[name] for name in ("revision", "decoder", "options", "sampling")}
    own = {name: getattr(settings, name) for name in ("dtype", "weight_bits", "cache_bits")}
    return {"pipeline": pipeline, "weights": own, "job": settings.seed}


def _said(source: Source, settings: Settings) -> dict[str, Any]:
    """What a command says; the device counts once it is known which it is."""
    said = {name: value for name, value in asdict(settings).items() if name not in ("device", "format")}
    return {"input": {"name": source.name, "sha256": source.digest}, "settings": json.loads(json.dumps(said))}


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Leaves of nested mappings, by names with dots."""
    if not isinstance(value, Mapping):
        return {name: value}
    leaves: dict[str, Any] = {}
    for key, inner in value.items():
        leaves |= _flat(inner, f"{name}.{key}" if name else key)
    return leaves
