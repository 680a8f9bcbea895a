"""Workers as processes: killed at random moments, interrupted, and replaced."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jobs import Told, manifest, media
from simulated import Meeting, Simulation

from mmgen.batch.crew import WorkerError
from mmgen.batch.foreman import Rules

PROGRAM = """
import sys
sys.path.insert(0, {folder!r})
from pathlib import Path
from simulated import Simulation
from mmgen.batch import rows
from mmgen.batch.crew import LocalCrew, Recruit
from mmgen.batch.crew import WorkerError
from mmgen.batch.foreman import Rules
from mmgen.batch.job import Settings
from mmgen.batch.progress import Lines
from mmgen.batch.run import Extras, run

if __name__ == "__main__":
    settings = Settings("simulated", device="cpu")
    recruit = Recruit(settings, Simulation(float(sys.argv[3])))
    with rows.opened(sys.argv[1]) as source:
        summary = run(
            source, settings, Path(sys.argv[2]), Rules(workers=2, batch=3, retries=30), Lines(seconds=0.0),
            lambda: LocalCrew(recruit), Extras(),
        )
    print(summary)
    sys.exit(bool(summary.interrupted or summary.trouble))
"""
PROMPTS = [f"prompt {number}" for number in range(300)]


@pytest.fixture
def program(tmp_path):
    """Starts a job of two workers in a process of its own; what it says can be read line by line."""
    path, source = tmp_path / "program.py", tmp_path / "requests.jsonl"
    path.write_text(PROGRAM.format(folder=str(Path(__file__).parent)))
    started = []

    def start(seconds=0.002):
        if not source.exists():
            source.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in PROMPTS))
        words = [sys.executable, str(path), str(source), str(tmp_path / "out"), str(seconds)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        started.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def heard(process, event):
    """Reads on until an event is said; False at the end."""
    return any(json.loads(line)["event"] == event for line in process.stdout if line.startswith("{"))


def workers_of(process):
    """Ids of the living workers of a job."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == process.pid and b"spawn_main" in (place / "cmdline").read_bytes():
                found.append(int(place.name))
        except (OSError, IndexError):
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds workers in /proc")
def test_killed_twenty_times_a_job_makes_the_very_files_of_an_undisturbed_one(program, work, tmp_path):
    work(PROMPTS, out="plain")
    chance, killed, done = random.Random(0), {"worker": 0, "parent": 0}, False
    while not done:
        process = program()
        for _ in range(chance.randint(1, 3)):
            if not heard(process, "progress"):
                break
            time.sleep(chance.uniform(0, 0.02))
            found = workers_of(process)
            if found and killed["worker"] < 12:
                os.kill(chance.choice(found), signal.SIGKILL)
                killed["worker"] += 1
        if killed["parent"] < 10 and heard(process, "progress"):
            time.sleep(chance.uniform(0, 0.02))
            process.kill()
            killed["parent"] += 1
        done = process.wait() == 0
    assert sum(killed.values()) >= 20 and killed["parent"] >= 5, killed
    assert media(tmp_path / "out") == media(tmp_path / "plain")
    assert [record["status"] for record in manifest(tmp_path / "out")] == ["done"] * len(PROMPTS)


def test_two_workers_share_the_work_and_make_the_same_files(work, local, tmp_path):
    work(PROMPTS, out="plain")
    (tmp_path / "workers").mkdir()
    load = Meeting(0.001, folder=str(tmp_path / "workers"))
    summary = work(PROMPTS, crew=local, rules=Rules(workers=2, batch=5), load=load)
    assert summary.done == len(PROMPTS) and media(tmp_path / "out") == media(tmp_path / "plain")
    assert len({record["worker"] for record in manifest(tmp_path / "out")}) == 2


def test_a_row_that_kills_its_worker_is_found_and_given_up(work, local, tmp_path):
    rows = [*PROMPTS[:9], "deadly", *PROMPTS[9:20]]
    told = Told()
    summary = work(rows, crew=local, rules=Rules(workers=1, batch=8, retries=1), told=told)
    assert (summary.done, summary.failed) == (20, 1)
    (record,) = (record for record in manifest(tmp_path / "out") if record["status"] == "failed")
    assert record["line"] == 10 and record["attempt"] == 2 and "killed by SIGKILL" in record["error"]
    assert len(told.notes) == 3, "once among others, twice alone"


def test_ctrl_c_finishes_what_is_in_hand(program, work, tmp_path):
    process = program(0.02)
    assert heard(process, "progress")
    process.send_signal(signal.SIGINT)
    said = process.stdout.read()
    assert process.wait() == 1 and "interrupted=True" in said and "trouble=''" in said
    made = len(media(tmp_path / "out"))
    assert 0 < made < len(PROMPTS) and len(manifest(tmp_path / "out")) == made
    assert program().wait() == 0
    work(PROMPTS, out="plain")
    assert media(tmp_path / "out") == media(tmp_path / "plain")


def test_a_second_ctrl_c_stops_at_once(program, tmp_path):
    process = program(0.2)  # a batch takes 0.6 seconds
    assert heard(process, "begin") and heard(process, "progress")
    process.send_signal(signal.SIGINT)
    found = workers_of(process)
    asked = time.monotonic()
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    assert process.wait() != 0 and time.monotonic() - asked < 30
    while any(Path(f"/proc/{pid}").exists() for pid in found):
        assert time.monotonic() - asked < 30, "a worker goes on"
        time.sleep(0.01)
    assert len(list((tmp_path / "out").glob("??/*"))) < len(PROMPTS)


def test_workers_that_die_at_once_end_the_job(work, local):
    with pytest.raises(WorkerError, match="the worker was ended with code 3"):
        work(PROMPTS, crew=local, load=Simulation(ends=True))
