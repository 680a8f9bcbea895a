"""`mmgen batch`, as a person uses and misuses it."""

import io
import json
import signal
import sys
from pathlib import Path

import pytest
import simulated
from jobs import media

from mmgen.batch import crew
from mmgen.cli import loading, main


@pytest.fixture
def batch(tmp_path, monkeypatch, capsys):
    """Runs `mmgen batch` in an empty folder with the simulated pipeline. Returns code, lines of JSON, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mmgen.batch.worker.Loader", simulated.Loader)
    monkeypatch.setattr(loading, "source", lambda name: name or "simulated")
    (tmp_path / "p.txt").write_text("a cat\na dog\ntwo stars\n")

    def call(*words):
        words = [*words, "--device", "cpu", "--batch-size", "2", "--workers", "1"] if "--out" in words else words
        code = main(["batch", *map(str, words)])
        said = capsys.readouterr()
        return code, [json.loads(line) for line in said.out.splitlines()], said.err

    return call


def test_a_file_of_prompts_becomes_files(batch):
    code, said, err = batch("p.txt", "--out", "out")
    assert (code, err) == (0, "")
    assert [line["event"] for line in said] == ["begin", "end", "summary"]
    assert said[0].items() >= {"items": 3, "done": 0, "workers": 1}.items()
    assert said[-1].items() >= {"items": 3, "done": 3, "failed": 0, "left": 0, "made": 3}.items()
    assert len(media("out")) == 3
    code, said, err = batch("p.txt", "--out", "out")
    assert code == 0 and said[-1]["made"] == 0 and len(said) == 1


def test_standard_input_csv_and_text_are_alike(batch, monkeypatch):
    batch("p.txt", "--out", "one", "--guidance", 3, "--option", "window=7", "--condition", "style=oil", "--count", 2)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a cat\na dog\ntwo stars\n")))
    batch("-", "--out", "two", "--guidance", 3, "--option", "window=7", "--condition", "style=oil", "--count", 2)
    with open("p.csv", "w") as file:
        file.write("prompt,guidance,options,style,count\n")
        file.writelines(f'{prompt},3,"{{""window"": 7}}",oil,2\n' for prompt in ("a cat", "a dog", "two stars"))
    assert batch("p.csv", "--out", "three")[0] == 0
    assert media("one") == media("two") == media("three") and len(media("one")) == 6


def test_failures_are_told_and_counted(batch):
    with open("p.jsonl", "w") as file:
        file.write('{"prompt": "a cat"}\n{"prompt": "poison"}\n')
    code, said, _ = batch("p.jsonl", "--out", "out", "--retries", 0)
    assert code == 3
    (failed,) = (line for line in said if line["event"] == "failed")
    assert failed["line"] == 2 and "poisoned" in failed["error"]
    code, (stand,), _ = batch("status", "out")
    assert code == 3 and stand["done"] == 1 and stand["failed"] == 1 and stand["left"] == 0
    assert list(stand["errors"].values()) == [1] and stand["seconds_each"] > 0
    code, said, err = batch("p.jsonl", "--out", "out", "--retries", 0, "--retry-failed", "--max-errors", 0)
    assert code == 3 and "more than --max-errors" in err


def test_rows_that_cannot_be_drawn_are_one_line(batch):
    with open("p.txt", "a") as file:
        file.write("refused\nrefused\n")
    for words in ([], ["--dry-run"]):
        code, said, err = batch("p.txt", "--out", "out", *words)
        assert (code, said) == (2, []) and err.startswith("mmgen: error: 2 of the rows cannot be drawn: line 4: prompt")
        assert err.count("\n") == 1 and media("out") == {}


@pytest.mark.parametrize(
    "words, expected, code",
    [
        (["absent.txt", "--out", "out"], "cannot be read", 1),
        (["p.doc", "--out", "out"], ".jsonl, .txt, .csv, .parquet", 2),
        (["p.txt"], "--out DIR", 2),
        (["status"], "status DIR", 2),
        (["status", "."], "holds no job", 1),
        (["status", "other"], "is not of a job of mmgen", 1),
        (["p.txt", "--out", "p.txt"], "a folder is needed", 1),
        (["p.txt", "--out", "out", "--option", "window"], "NAME=VALUE", 2),
        (["p.txt", "--out", "out", "--format", "mp4"], "one of png", 2),
        (["p.txt", "--out", "out", "--engine", "spark"], "spark", 2),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(batch, words, expected, code):
    Path("other").mkdir()
    Path("other/job.json").write_text('{"name": "nightly"}')
    found, said, err = batch(*words)
    assert (found, said) == (code, []) and expected in err and err.count("\n") == 1 and "Traceback" not in err


def test_other_settings_are_refused(batch):
    batch("p.txt", "--out", "out")
    code, _, err = batch("p.txt", "--out", "out", "--guidance", 3)
    assert code == 1 and "settings.defaults.guidance was None and is 3" in err


@pytest.mark.parametrize("module, words", [("pyarrow", ["--parquet"]), ("ray", ["--engine", "ray"])])
def test_extras_say_what_to_install(batch, monkeypatch, module, words):
    monkeypatch.setitem(sys.modules, module, None)
    code, _, err = batch("p.txt", "--out", "out", *words)
    assert code == 1 and "not installed" in err and "pip install 'mmgen[" in err


def test_a_dry_run_draws_a_few_and_writes_nothing(batch, tmp_path):
    with open("p.jsonl", "w") as file:
        file.writelines(json.dumps({"prompt": f"{n}", "guidance": 1 + n % 2}) + "\n" for n in range(100))
    code, (plan,), _ = batch("p.jsonl", "--out", "out", "--dry-run", "--count", 2)
    assert code == 0 and not (tmp_path / "out").exists()
    assert plan | {"requests": 100, "items": 200, "left": 200, "workers": 1, "batch": 2} == plan
    assert sorted(plan["groups"].values()) == [100, 100] and plan["measured"] == "a probe of 2 items"
    assert plan["seconds"] == pytest.approx(200 * plan["seconds_each"]) and plan["seconds"] > 0
    assert plan["bytes"] == pytest.approx(200 * plan["bytes_each"], abs=1) and plan["bytes"] > 200 * 100


def test_a_dry_run_of_a_job_that_was_begun_asks_its_manifest(batch, monkeypatch):
    batch("p.txt", "--out", "out")
    path = next(iter(media("out")))
    (open(f"out/{path[:2]}/{path}", "wb")).close()
    monkeypatch.setattr(crew.LocalCrew, "start", None)
    code, (plan,), _ = batch("p.txt", "--out", "out", "--dry-run")
    assert code == 0 and plan["measured"] == "the manifest" and plan["left"] == 1


def test_ctrl_c_says_how_to_go_on(batch, monkeypatch):
    class Interrupting(crew.LocalCrew):
        def ask(self, place, method, *arguments):
            super().ask(place, method, *arguments)
            if method == "draw":
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(crew, "LocalCrew", Interrupting)
    code, _, err = batch("p.txt", "--out", "out")
    assert code == 130 and "interrupted: 2 of 3 done, 0 failed; the same command goes on with out" in err
    assert len(media("out")) == 2
