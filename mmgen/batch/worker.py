"""A worker: a pipeline that draws chunk after chunk and writes each item to its file. The same for every engine."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmgen import media
from mmgen.batch.chunks import Chunk
from mmgen.batch.drawing import choices, drawn, renews
from mmgen.batch.job import Job, Settings
from mmgen.batch.machine import cores, device_of, devices_of, is_out_of_memory, release_memory, taken_memory
from mmgen.batch.manifest import DONE, FAILED, Part
from mmgen.batch.outcome import Outcome, reason, record_of
from mmgen.batch.request import Item, Request, canonical
from mmgen.errors import MmgenError, OutputError

_COUNTED = ("decoder", "law", "tokens", "evaluations", "draft_evaluations", "seconds")
"""What the manifest says of how an item was drawn."""


class UnwritableError(MmgenError):
    """A file cannot be written: what is wrong is not the item."""


@dataclass(frozen=True)
class Loader:
    """Loads the pipeline of a job on a device."""

    settings: Settings

    def __call__(self, device: str) -> Any:
        from mmgen.cli import loading

        own = self.settings
        pipe = loading.load(own.pipeline, loading.Dtype(own.dtype), device, own.weight_bits, own.cache_bits)
        pipe.set_progress_bar_config(disable=True)
        return pipe


class Worker:
    """A loaded pipeline and what it writes.

    Args:
        settings: of the job.
        load: makes the pipeline of a device.
        place: which worker of its machine it is; with several GPUs, each worker has its own.
    """

    def __init__(self, settings: Settings, load: Callable[[str], Any], place: int = 0) -> None:
        self._settings = settings
        self._device = device_of(settings.device, place)
        self._pipe = load(self._device)
        self._batch = 1
        self._part: Part | None = None
        self._name = f"{socket.gethostname()}:{os.getpid()}"

    def about(self) -> dict[str, Any]:
        """The pipeline and the machine: what a job depends on, what a request may say, what there is to work with."""
        pipe, torch = self._pipe, sys.modules.get("torch")
        return {
            "revision": pipe.revision,
            "decoder": pipe.decoder.name,
            "options": pipe.decoder.options(),
            "sampling": dict(pipe.config.sampling),
            "medium": pipe.medium,
            "device": self._device.partition(":")[0],
            "torch": torch.__version__ if torch else None,
            "choices": choices(pipe),
            "renews": getattr(pipe.decoder, "renews", False),
            "devices": devices_of(self._settings.device, self._device),
            "bytes": taken_memory(),
        }

    def settle(self, workers: int, batch: int | None, example: Chunk | None = None) -> int:
        """Takes its share of the machine.

        Args:
            workers: how many share the machine.
            batch: items to draw at once; None takes what memory has room for.
            example: items such as it will draw, to measure with.

        Returns:
            How many items it draws at once.
        """
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(max(1, cores() // workers))
        if batch is None and example is not None:
            from mmgen.batch.room import items_that_fit

            batch = items_that_fit(self._pipe, example, self._device, workers)
        self._batch = batch or 1
        return self._batch

    def check(self, requests: Sequence[Request]) -> list[tuple[int, str]]:
        """Faults of requests that the pipeline cannot draw, with their lines. Evaluates nothing."""
        faults: list[tuple[int, str]] = []
        groups: dict[str, list[Request]] = {}
        for request in requests:
            groups.setdefault(canonical(request.settings), []).append(request)
        for group in groups.values():
            if self._fault(group):
                alone = ((request.line, self._fault([request])) for request in group)
                faults += [(line, fault) for line, fault in alone if fault]
        return faults

    def _fault(self, requests: Sequence[Request]) -> str:
        from mmgen.cli.files import Files

        last = [(request.seed or 0) + request.count - 1 for request in requests]
        try:
            planned = self._pipe.plan([request.prompt for request in requests], seed=last, **requests[0].settings)
            ending = self._settings.format or media.FORMATS[self._pipe.medium][0]
            Files(Path(), None, ending, True).check_size(self._pipe.size(planned.layout))
        except Exception as error:  # of what a request may hold, a pipeline may stumble over anything
            return reason(error)
        return ""

    def draw(self, job: Job, chunk: Chunk) -> Iterator[Outcome]:
        """Draws items, writes their files, and says so in the manifest, one by one.

        What cannot be drawn together for lack of memory is drawn in halves from then on; where something else fails,
        each item is drawn alone, so that one of them does not spoil the others.

        Raises:
            UnwritableError: a file cannot be written.
            OutputError: the manifest cannot.
        """
        waiting = deque([chunk.items])
        while waiting:
            some = waiting.popleft()
            if len(some) > self._batch and not renews(self._pipe, some[0], chunk.settings):
                waiting.extendleft((some[self._batch :], some[: self._batch]))
                continue
            left = {item.number: item for item in some}
            fault: Exception | None = None
            try:
                for outcome in self._made(job, some, chunk.settings):
                    del left[outcome.item.number]
                    yield outcome
            except UnwritableError:
                raise
            except Exception as error:
                fault = error
            if fault is not None:
                yield from self._without(job, fault, list(left.values()), waiting)

    def _without(self, job: Job, fault: Exception, left: list[Item], waiting: deque[list[Item]]) -> Iterator[Outcome]:
        """Goes on after something failed: in smaller parts, or without the item."""
        if len(left) == 1:
            yield self._failed(job, left[0], fault)
        elif is_out_of_memory(fault):
            self._batch = max(1, min(len(left), self._batch) // 2)
            waiting.appendleft(left)
        else:
            waiting.extendleft([item] for item in reversed(left))
        fault.__traceback__ = None  # it holds the tensors of the call
        release_memory()

    def _made(self, job: Job, items: list[Item], settings: Mapping[str, Any]) -> Iterator[Outcome]:
        for item, result, output, statistics in drawn(self._pipe, items, settings, self._batch):
            try:
                kept = self._keep(job, item, result, output, statistics)
                outcome = self._record(job, item, DONE, kept | {name: statistics[name] for name in _COUNTED})
            except OSError as error:
                raise UnwritableError(reason(error)) from error
            yield outcome

    def _keep(self, job: Job, item: Item, result: Any, output: Any, statistics: Any) -> dict[str, Any]:
        """Writes the file of an item; returns what the manifest says of the file."""
        from mmgen.cli import files

        own, path = self._settings, job.path(item.id)
        made_with = {"dtype": own.dtype, "device": job.frozen["made_by"]["device"]}
        made_with |= {"weight_bits": own.weight_bits, "cache_bits": own.cache_bits}
        if job.ending != media.FORMATS[self._pipe.medium][0]:
            made_with["format"] = job.ending
        about = media.describe(statistics, own.pipeline, **made_with) | {"id": item.id}
        try:
            path.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(path.parent, f"cannot be made ({error.strerror})", "change its permissions") from error
        files.write(path, result, output, about if own.metadata else None)
        raw = path.read_bytes()
        name = str(path.relative_to(job.folder))
        return {"file": name, "bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}

    def _failed(self, job: Job, item: Item, error: Exception) -> Outcome:
        where = traceback.extract_tb(error.__traceback__)[-1:]
        place = f" ({Path(where[0].filename).name}, line {where[0].lineno})" if where else ""
        own = isinstance(error, MmgenError)
        return self._record(job, item, FAILED, {"error": reason(error) + ("" if own else place)}, own)

    def _record(self, job: Job, item: Item, status: str, what: dict[str, Any], final: bool = True) -> Outcome:
        record = record_of(item, status, self._name) | what
        self._part = self._part or Part(job.folder)
        self._part.write(record)
        return Outcome(item, record, final)
