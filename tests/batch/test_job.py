"""Jobs from beginning to end: what is written, what is refused, and what becomes of harm."""

import json
import os
import random
import resource
import tarfile

import pytest
from jobs import HereCrew, Told, manifest, media
from simulated import Simulation

from mmgen.batch.foreman import Rules
from mmgen.batch.job import Job
from mmgen.batch.manifest import Ledger, Part, merge
from mmgen.batch.rows import RowsError
from mmgen.batch.run import Extras
from mmgen.errors import OptionError, OutputError
from mmgen.media import read_metadata

PROMPTS = [f"prompt {number}" for number in range(20)]
MIXED = [{"prompt": f"prompt {number}", "guidance": 1 + number % 3, "count": 1 + number % 2} for number in range(30)]


class Never:
    """A crew that must not be needed."""

    def __init__(self, recruit):
        raise AssertionError("nothing is left to do")


def records(out, **wanted):
    return [record for record in manifest(out) if wanted.items() <= record.items()]


def test_every_item_is_a_file_that_says_what_it_is(work, tmp_path):
    rows = [{"prompt": "a cat", "id": "cat", "seed": 3, "count": 2}, {"prompt": "a dog", "guidance": 1.5}]
    told = Told()
    summary = work(rows, told=told)
    assert (summary.items, summary.done, summary.failed, summary.left) == (3, 3, 0, 0)
    first, second, dog = manifest(tmp_path / "out")
    assert first.items() >= {
        "item": 0, "id": "cat-0", "status": "done", "line": 1, "prompt": "a cat", "seed": 3, "attempt": 1,
        "file": "ca/cat-0.png", "decoder": "simulated", "law": "exact", "tokens": 16, "evaluations": 4,
    }.items()  # fmt: skip
    assert (second["id"], second["seed"]) == ("cat-1", 4)
    assert dog["file"] == f"{dog['id'][:2]}/{dog['id']}.png" and len(dog["id"]) == 16
    hashes = media(tmp_path / "out")
    assert {record["file"][3:]: record["sha256"] for record in (first, second, dog)} == hashes
    said = read_metadata(tmp_path / "out" / dog["file"])
    assert said["id"] == dog["id"] and said["seed"] == dog["seed"] and said["sampling"]["guidance"] == 1.5
    assert sorted(record["item"] for record in told.records) == [0, 1, 2]


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_bytes_depend_on_the_item_alone(work, tmp_path, batch):
    work(MIXED, out="plain")
    shuffled = random.Random(batch).sample(MIXED, len(MIXED))
    summary = work(shuffled, out="other", rules=Rules(workers=1, batch=batch))
    assert summary.done == sum(row["count"] for row in MIXED)
    assert media(tmp_path / "other") == media(tmp_path / "plain")
    assert [record["item"] for record in manifest(tmp_path / "other")] == list(range(summary.items))


def test_another_seed_of_the_job_is_another_job(work, tmp_path):
    work(PROMPTS, out="one")
    work(PROMPTS, out="two", seed=1)
    assert not set(media(tmp_path / "one")) & set(media(tmp_path / "two"))
    work([{"prompt": "a", "id": "mine"}], out="three")
    work([{"prompt": "a", "id": "mine"}], out="four", seed=1)
    assert media(tmp_path / "three") != media(tmp_path / "four"), "and requests with names draw other pictures"


def test_a_finished_job_does_nothing(work, tmp_path):
    work(PROMPTS)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.name != ".lock"}
    summary = work(PROMPTS, crew=Never)
    assert (summary.done, summary.made) == (20, 0)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.name != ".lock"}


def test_a_job_that_was_killed_behind_its_last_item_gets_its_manifest(work, tmp_path):
    work(PROMPTS)
    out = tmp_path / "out"
    whole = (out / "manifest.jsonl").read_bytes()
    (out / "manifest.jsonl").rename(out / "manifests" / "host-1-a.jsonl")
    work(PROMPTS, crew=Never)
    assert (out / "manifest.jsonl").read_bytes() == whole and not list((out / "manifests").iterdir())


def test_files_that_are_gone_or_cut_are_made_again(work, tmp_path):
    work(PROMPTS)
    whole = media(tmp_path / "out")
    gone, cut = (tmp_path / "out" / record["file"] for record in manifest(tmp_path / "out")[3:5])
    gone.unlink()
    os.truncate(cut, 10)
    assert work(PROMPTS).made == 2
    assert media(tmp_path / "out") == whole and len(manifest(tmp_path / "out")) == 20


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"dtype": "bfloat16"}, "settings.dtype was 'float32' and is 'bfloat16'"),
        ({"defaults": {"guidance": 3}}, "settings.defaults.guidance was None and is 3"),
        ({"seed": 9}, "settings.seed was 0 and is 9"),
        ({"source": PROMPTS[:-1]}, "input.sha256 was"),
    ],
)
def test_other_settings_are_refused_by_name(work, tmp_path, changed, words):
    work(PROMPTS)
    (tmp_path / "out" / manifest(tmp_path / "out")[0]["file"]).unlink()
    with pytest.raises(OutputError, match=words):
        work(**({"source": PROMPTS, "crew": Never} | changed))


def test_another_pipeline_behind_the_name_is_refused(work, tmp_path, monkeypatch):
    work(PROMPTS)
    (tmp_path / "out" / manifest(tmp_path / "out")[0]["file"]).unlink()
    monkeypatch.setattr("simulated.Pipe.revision", "other0000000")
    with pytest.raises(OutputError, match=r"made_by\.revision was 'simulated000' and is 'other0000000'"):
        work(PROMPTS)


def test_a_folder_is_one_command_at_a_time(work, tmp_path):
    class Greedy(HereCrew):
        def __init__(self, recruit):
            super().__init__(recruit)
            with pytest.raises(OutputError, match="is being worked on"):
                work(PROMPTS)

    assert work(PROMPTS, crew=Greedy).done == 20


def test_rows_that_cannot_be_drawn_are_listed_and_nothing_is_begun(work, tmp_path):
    rows = ["a", "refused", {"prompt": "b", "gidance": 2}, "a", {"prompt": "c", "seed": 2**63 - 1, "count": 2}]
    with pytest.raises(RowsError) as caught:
        work(rows)
    assert [line for line, _ in caught.value.faults] == [2, 3, 4, 5]
    for words in ("4 of the rows cannot be drawn", "line 2: prompt 'refused'", "'guidance'", "line 1", "seed="):
        assert words in str(caught.value)
    assert not (tmp_path / "out" / "job.json").exists() and media(tmp_path / "out") == {}
    assert work(PROMPTS).done == 20, "and the folder is free"


def test_names_must_differ_by_more_than_case(work):
    with pytest.raises(RowsError, match=r"line 2: id='A-1'.*line 1"):
        work([{"prompt": "x", "id": "a", "count": 2}, {"prompt": "y", "id": "A-1"}])


def test_many_faults_are_cut_short(work):
    with pytest.raises(RowsError, match=r"or more rows cannot be drawn.*and .* more"):
        work(["refused"] * 1000)


def test_an_empty_source_is_refused(work):
    with pytest.raises(OutputError, match="holds no request"):
        work([])


def test_a_format_of_another_medium_is_refused(work):
    with pytest.raises(OptionError, match="one of png"):
        work(PROMPTS, format="mp4")


# Harm


def test_a_poisoned_row_fails_alone(work, tmp_path):
    rows = [*PROMPTS[:10], "poison", *PROMPTS[10:]]
    summary = work(rows, rules=Rules(workers=1, batch=8, retries=1))
    assert (summary.done, summary.failed) == (20, 1)
    (record,) = records(tmp_path / "out", status="failed")
    assert record["attempt"] == 2 and record["line"] == 11 and record["error"].startswith("ValueError: poisoned (")
    work(PROMPTS, out="plain")
    assert media(tmp_path / "out") == media(tmp_path / "plain")
    assert work(rows, crew=Never).failed == 1, "what was given up is left alone"
    assert work(rows, rules=Rules(workers=1, batch=8, retry_failed=True)).failed == 1


def test_an_item_that_works_the_second_time_is_done(work, tmp_path):
    rows = [*PROMPTS, f"second {tmp_path / 'flag'}"]
    assert work(rows, rules=Rules(workers=1, batch=1)).done == 21
    assert records(tmp_path / "out", prompt=rows[-1])[0].items() >= {"status": "done", "attempt": 2}.items()


def test_what_failed_is_tried_again_on_demand(work, tmp_path):
    rows = [*PROMPTS, f"second {tmp_path / 'flag'}"]
    assert work(rows, rules=Rules(workers=1, batch=1, retries=0)).failed == 1
    summary = work(rows, rules=Rules(workers=1, batch=1, retries=0, retry_failed=True))
    assert (summary.done, summary.failed, summary.made) == (21, 0, 1)
    assert not records(tmp_path / "out", status="failed")


def test_too_little_memory_makes_smaller_batches(work, tmp_path):
    summary = work([{"prompt": "heavy 3", "seed": number} for number in range(40)], rules=Rules(workers=1, batch=16))
    assert (summary.done, summary.failed) == (40, 0)
    assert work([{"prompt": "heavy 0"}], out="never", rules=Rules(1, 4, retries=0)).failed == 1


def test_a_job_stops_after_too_many_errors(work, tmp_path):
    rows = [{"prompt": "poison", "seed": number} for number in range(50)]
    summary = work(rows, rules=Rules(workers=1, batch=1, retries=0, max_errors=4))
    assert summary.too_many_failed and (summary.failed, summary.left) == (5, 45)


def test_a_full_disk_stops_the_job_and_loses_nothing(work, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))  # of the manifest; a picture is smaller
    try:
        summary = work(PROMPTS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "manifests" in summary.trouble and "cannot be written" in summary.trouble and summary.left
    summary = work(PROMPTS)
    assert summary.done == 20 and 0 < summary.made < 20
    work(PROMPTS, out="plain")
    assert media(tmp_path / "out") == media(tmp_path / "plain") and len(manifest(tmp_path / "out")) == 20


def test_a_folder_that_cannot_be_made_stops_the_job(work, tmp_path):
    work(PROMPTS, out="plain")
    name = sorted(media(tmp_path / "plain"))[0][:2]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).touch()
    summary = work(PROMPTS)
    assert "cannot be made" in summary.trouble and summary.left
    (tmp_path / "out" / name).unlink()
    assert work(PROMPTS).done == 20 and media(tmp_path / "out") == media(tmp_path / "plain")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="a folder is needed"):
        work(PROMPTS, out="file")


def test_broken_lines_of_a_manifest_are_passed_over(work, tmp_path):
    work(PROMPTS)
    whole, path = media(tmp_path / "out"), tmp_path / "out" / "manifest.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    short = [b'{"item": "3", "status": "done"}\n', b'{"item": 3, "status": "done", "id": "a"}\n']
    broken = [b"\xff\xfe\n", b"null\n", *short, b'{"item": 4, "status": "failed"}\n', b"\n", lines[19][:-30]]
    path.write_bytes(b"".join([*lines[:15], *broken]))
    assert work(PROMPTS).made == 5
    assert media(tmp_path / "out") == whole and len(manifest(tmp_path / "out")) == 20


def test_a_job_that_cannot_be_read_says_so(work, tmp_path):
    work(PROMPTS)
    path = tmp_path / "out" / "job.json"
    frozen = path.read_text()
    for content, words in (("{", "cannot be read; remove job.json"), ('{"scripts": {}}', "is not of a job of mmgen")):
        path.write_text(content)
        with pytest.raises(OutputError, match=words):
            Job.at(tmp_path / "out")
    path.write_text(frozen)
    assert Job.at(tmp_path / "out").items == len(PROMPTS)


def test_requests_that_were_lost_are_missed_and_can_be_planned_anew(work, tmp_path):
    work(PROMPTS)
    path = tmp_path / "out" / "requests.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    for content, words in (("".join(lines[:5]), "holds 5 of 20 requests"), (lines[0][:-9], "cannot be read")):
        path.write_text(content)
        with pytest.raises(OutputError, match=f"{words}.*remove job.json and run the same command again"):
            work(PROMPTS, crew=Never)
    path.unlink()
    with pytest.raises(OutputError, match="cannot be read"):
        work(PROMPTS, crew=Never)
    (tmp_path / "out" / "job.json").unlink()
    assert work(PROMPTS).to_dict().items() >= {"done": 20, "made": 0}.items()


def test_what_killed_workers_left_is_swept_up(work, tmp_path):
    work(PROMPTS)
    folder = (tmp_path / "out" / manifest(tmp_path / "out")[0]["file"]).parent
    (folder / ".a.png.123.tmp").touch()
    (folder / ".mine.tmp").touch()
    work(PROMPTS, crew=Never)
    assert not (folder / ".a.png.123.tmp").exists() and (folder / ".mine.tmp").exists()


# The manifest, shards

DONE = {"status": "done", "id": "a", "finished": 1, "file": "a/a.png", "bytes": 1, "sha256": "", "seconds": 1}
FAILED = {"status": "failed", "id": "a", "finished": 1, "error": "poisoned"}


def test_a_torn_line_of_the_manifest_harms_no_other(tmp_path):
    part = Part(tmp_path)
    base = DONE | {"id": "a" * 100}
    part.write(base | {"item": 0})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, before[1]))
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            part.write(base | {"item": 1})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert part.path.stat().st_size == 300
    part.write(base | {"item": 2})
    assert [record["item"] for record in Ledger(tmp_path).records()] == [0, 2]


def test_done_outweighs_failed_and_the_latest_counts(tmp_path):
    first, second = sorted((Part(tmp_path), Part(tmp_path)), key=lambda part: part.path)
    for attempt, (part, item, base) in enumerate(
        ((first, 0, FAILED), (first, 0, DONE), (second, 0, FAILED), (second, 1, FAILED), (first, 1, FAILED)), start=1
    ):
        part.write(base | {"item": item, "attempt": attempt, "finished": attempt})
    merge(tmp_path)
    assert [(r["item"], r["status"], r["attempt"]) for r in manifest(tmp_path)] == [(0, "done", 2), (1, "failed", 5)]
    assert not list((tmp_path / "manifests").iterdir())


def test_shards_are_the_same_for_the_same_items(work, tmp_path):
    rows = [*PROMPTS, "poison"]
    for out, batch in (("one", 1), ("two", 7)):
        work(rows, out=out, rules=Rules(workers=1, batch=batch), extras=Extras(shards=8))
    names = sorted(path.name for path in (tmp_path / "one" / "shards").iterdir())
    assert names == ["000000.tar", "000001.tar", "000002.tar"]
    for name in names:
        assert (tmp_path / "one/shards" / name).read_bytes() == (tmp_path / "two/shards" / name).read_bytes()
    with tarfile.open(tmp_path / "one/shards/000002.tar") as tar:
        members = tar.getnames()
        assert len(members) == 8 and all(a[:-4] == b[:-5] for a, b in zip(members[::2], members[1::2], strict=True))
        assert json.load(tar.extractfile(members[1]))["prompt"] == "prompt 16"


def test_shards_are_made_of_a_finished_job(work, tmp_path):
    work(PROMPTS)
    work(PROMPTS, crew=Never, extras=Extras(shards=100))
    path = tmp_path / "out" / "shards" / "000000.tar"
    made = path.stat().st_mtime_ns
    work(PROMPTS, crew=Never, extras=Extras(shards=100))
    assert path.stat().st_mtime_ns == made


def test_shards_that_are_stale_are_written_again(work, tmp_path):
    def shards(out):
        return {path.name: path.read_bytes() for path in (tmp_path / out / "shards").iterdir()}

    rows = [*PROMPTS, f"second {tmp_path / 'flag'}"]
    work(rows, rules=Rules(workers=1, batch=4, retries=0), extras=Extras(shards=10))
    work(rows, crew=Never, extras=Extras(shards=7))
    assert sorted(shards("out")) == ["000000.tar", "000001.tar", "000002.tar"]
    with tarfile.open(tmp_path / "out/shards/000001.tar") as tar:
        assert json.load(tar.extractfile(tar.getmembers()[1]))["prompt"] == "prompt 7"
    path = tmp_path / "out/shards/000001.tar"
    os.truncate(path, path.stat().st_size // 2)
    work(rows, rules=Rules(workers=1, batch=4, retry_failed=True))  # as if killed before its shards were written
    work(rows, crew=Never, extras=Extras(shards=7))
    work(rows, out="whole", extras=Extras(shards=7))
    assert shards("out") == shards("whole") and len(shards("out")) == 3


def test_a_part_that_is_merged_meanwhile_can_still_be_read(tmp_path):
    Part(tmp_path).write(DONE | {"item": 0})
    ledger = Ledger(tmp_path)
    merge(tmp_path)
    assert [record["item"] for record in ledger.records()] == [0]


def test_parquet_holds_the_manifest(work, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs mmgen[parquet]")
    work([*PROMPTS, {"prompt": 7}], extras=Extras(parquet=True))
    table = parquet.read_table(tmp_path / "out" / "manifest.parquet").to_pylist()
    assert [row["sha256"] for row in table] == [record["sha256"] for record in manifest(tmp_path / "out")]
    assert table[-1]["prompt"] == "7" and table[0]["error"] is None
    path = tmp_path / "out" / "manifest.parquet"
    path.write_bytes(b"of an earlier run, which was killed")
    os.utime(path, (0, 0))
    work([*PROMPTS, {"prompt": 7}], crew=Never, extras=Extras(parquet=True))
    assert parquet.read_table(path).num_rows == 21


def test_a_pipeline_that_cannot_be_loaded_says_why(work, local):
    with pytest.raises(Exception, match="no such weights"):
        work(PROMPTS, crew=local, load=Simulation(broken=True))
