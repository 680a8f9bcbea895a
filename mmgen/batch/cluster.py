"""Workers as actors of Ray: on several GPUs and machines."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from mmgen.batch.crew import Event, Recruit, WorkerError, answer
from mmgen.batch.outcome import reason
from mmgen.errors import MissingDependencyError

_PATIENCE = 1.0
"""Seconds of one wait; between two, Ctrl-C is heard."""


_LOST = "lost by Ray, as after SIGKILL"
"""Ray does not tell a machine that is gone from a process that took too much memory."""


class _Actor:
    """A worker where Ray has room for it."""

    def __init__(self, recruit: Recruit) -> None:
        self._recruit = recruit
        self._worker: Any = None

    def answer(self, method: str, arguments: tuple) -> list[tuple[str, Any]]:
        try:
            self._worker = self._worker or self._recruit.worker(0)  # of the GPUs it was given, it sees no others
        except Exception as error:
            return [("broken", reason(error))]
        return list(answer(self._worker, method, arguments))


class RayCrew:
    """Workers on a cluster of Ray: that of the variable `RAY_ADDRESS`, else one of this machine alone.

    The job's folder must be the same on all machines, and mmgen installed on them. An answer comes as a whole: of
    a worker that dies, all that it had in hand is drawn again.

    Raises:
        MissingDependencyError: Ray is not installed.
        WorkerError: it does not start, or the cluster lets nobody in.
    """

    def __init__(self, recruit: Recruit) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as error:
            cure = "install mmgen[ray]: pip install 'mmgen[ray]', or leave --engine ray out"
            raise MissingDependencyError("Ray is not installed", cure) from error
        self._ray: Any = ray
        self._ours = not ray.is_initialized()
        if self._ours:
            self._begin()
        on_gpu = recruit.settings.device is None or recruit.settings.device.startswith("cuda")
        self._resources = ray.cluster_resources()
        self._gpus = int(self._resources.get("GPU", 0)) if on_gpu else 0
        self._recruit = recruit
        self._actors: dict[int, Any] = {}
        self._answers: dict[Any, int] = {}

    def _begin(self) -> None:
        address = os.environ.get("RAY_ADDRESS")
        alone = {} if address else {"include_dashboard": False}
        try:
            self._ray.init(log_to_driver=False, logging_level="ERROR", **alone)
        except Exception as error:  # its own, of the system, or none of both
            cure = f"see that {address} runs, and set RAY_AUTH_MODE=token if it has a token" if address else "try again"
            raise WorkerError(f"Ray cannot be had ({reason(error)}); {cure}") from error

    def start(self, place: int) -> None:
        kind = self._ray.remote(num_cpus=1, num_gpus=1 if self._gpus else 0)(_Actor)
        self._actors[place] = kind.remote(self._recruit)
        self.ask(place, "about")

    def ask(self, place: int, method: str, *arguments: Any) -> None:
        self._answers[self._actors[place].answer.remote(method, arguments)] = place

    def events(self) -> list[Event]:
        ready: list[Any] = []
        while not ready:
            ready, _ = self._ray.wait(list(self._answers), num_returns=1, timeout=_PATIENCE)
        return [event for answer in ready for event in self._of(answer)]

    def _of(self, answer: Any) -> list[Event]:
        place = self._answers.pop(answer)
        try:
            return [Event(place, kind, value) for kind, value in self._ray.get(answer)]
        except self._ray.exceptions.RayActorError:
            return [Event(place, "died", _LOST)]
        except self._ray.exceptions.RayError as error:
            return [Event(place, "broken", str(error).strip().splitlines()[-1])]

    def room(self, about: Mapping[str, Any]) -> int:
        """One for each GPU of the cluster; else one for each of its cores, one kept free."""
        return self._gpus or max(1, int(self._resources.get("CPU", 1)) - 1)

    def machines(self) -> int:
        return max(1, sum(node["Alive"] for node in self._ray.nodes()))

    def stop(self) -> None:
        for actor in self._actors.values():
            self._ray.kill(actor)
        self._actors.clear()
        self._answers.clear()
        if self._ours:
            self._ray.shutdown()
