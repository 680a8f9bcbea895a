"""Ray as the engine: slow to start, so one test uses it. That runs on the cluster of `RAY_ADDRESS`, else on its own."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from jobs import Told, manifest, media

from mmgen.batch.cluster import RayCrew
from mmgen.batch.crew import WorkerError
from mmgen.batch.foreman import Rules

OWN = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 10**8}
"""A cluster of this machine alone; that of the address is as it is, with `tests/batch` in its PYTHONPATH."""


@pytest.mark.parametrize("address, cure", [("far:6379", "far:6379 runs, and set RAY_AUTH_MODE"), ("", "again")])
def test_a_cluster_that_cannot_be_had_is_said(monkeypatch, address, cure):
    def init(**_):
        raise ConnectionError("no answer")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False, init=init))
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(WorkerError, match=rf"Ray cannot be had \(ConnectionError: no answer\); .*{cure}"):
        RayCrew(None)


@pytest.mark.timeout(1500)
def test_ray_makes_the_same_files_with_the_same_worker(work, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="needs mmgen[ray]")
    # Workers of Ray import what the tests do.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)]))
    rows = [*(f"prompt {number}" for number in range(30)), "deadly", "poison"]
    work(rows[:30], out="plain")
    told = Told()
    ray.init(log_to_driver=False, logging_level="ERROR", **({} if os.environ.get("RAY_ADDRESS") else OWN))
    try:
        summary = work(rows, crew=RayCrew, rules=Rules(workers=2, batch=4, retries=1), told=told)
    finally:
        ray.shutdown()
    assert (summary.done, summary.failed, summary.trouble) == (30, 2, "")
    assert media(tmp_path / "out") == media(tmp_path / "plain")
    failed = {record["prompt"]: record["error"] for record in manifest(tmp_path / "out") if "error" in record}
    assert "lost by Ray" in failed["deadly"] and "poisoned" in failed["poison"]
    assert len({record["worker"] for record in manifest(tmp_path / "out") if record["worker"]}) >= 2 and told.notes
