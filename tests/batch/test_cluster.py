"""Ray as the engine: slow to start, so there is one test."""

import os
import sys
from pathlib import Path

import pytest
from jobs import Told, manifest, media

from mmgen.batch.foreman import Rules


def test_ray_makes_the_same_files_with_the_same_worker(work, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="needs mmgen[ray]")
    from mmgen.batch.cluster import RayCrew

    # Workers of Ray import what the tests do.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)]))
    rows = [*(f"prompt {number}" for number in range(30)), "deadly", "poison"]
    work(rows[:30], out="plain")
    told = Told()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        summary = work(rows, crew=RayCrew, rules=Rules(workers=2, batch=4, retries=1), told=told)
    finally:
        ray.shutdown()
    assert (summary.done, summary.failed, summary.trouble) == (30, 2, "")
    assert media(tmp_path / "out") == media(tmp_path / "plain")
    failed = {record["prompt"]: record["error"] for record in manifest(tmp_path / "out") if "error" in record}
    assert "lost by Ray" in failed["deadly"] and "poisoned" in failed["poison"]
    assert len({record["worker"] for record in manifest(tmp_path / "out") if record["worker"]}) >= 2 and told.notes
