"""Checkpoints by name: paths stay, repositories are fetched once, and what goes wrong is one sentence."""

import json
import os
import subprocess
import sys

import huggingface_hub
import pytest
from huggingface_hub import errors

from mmgen.checkpoints.hub import locate
from mmgen.errors import WeightsError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """What would be fetched; nothing is."""
    made = []

    def snapshot_download(repository, revision=None, allow_patterns=None):
        made.append((repository, revision, allow_patterns))
        return str(tmp_path / "snapshot")

    def hf_hub_download(repository, file, revision=None):
        made.append((repository, revision, file))
        return str(tmp_path / "snapshot" / file)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hf_hub_download)
    monkeypatch.chdir(tmp_path)
    return made


def test_paths_stay_as_they_are(calls, tmp_path):
    folder = tmp_path / "owner" / "name"
    folder.mkdir(parents=True)
    (folder / "a.pt").touch()
    for name in ("owner/name", "owner/../owner/name", "owner/name/a.pt", str(folder), folder):
        assert str(locate(name)) == str(name)
    assert calls == []


PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model", "*.tiktoken"]


@pytest.mark.parametrize(
    "name, call",
    [
        ("deepseek-ai/Janus-1.3B", ("deepseek-ai/Janus-1.3B", None, PATTERNS)),
        ("a/b_c@v1.0", ("a/b_c", "v1.0", PATTERNS)),
        ("a/b@refs/pr/1", ("a/b", "refs/pr/1", PATTERNS)),
        ("a/b:c2i_B_256.pt", ("a/b", None, "c2i_B_256.pt")),
        ("a/b@main:sub/vq.pt", ("a/b", "main", "sub/vq.pt")),
    ],
)
def test_repositories_are_fetched(calls, tmp_path, name, call):
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "model.safetensors").touch()
    assert locate(name) == tmp_path / "snapshot" / (call[2] if isinstance(call[2], str) else "")
    assert calls == [call]


def test_pickles_are_fetched_where_there_are_no_safetensors(calls):
    locate("deepseek-ai/Janus-Pro-1B")
    assert [patterns for _, _, patterns in calls] == [PATTERNS, ["*.bin", "models/7b/*.pth", "tokenizer/*.ckpt"]]


@pytest.mark.parametrize("folder", ["", "llm/"])
def test_an_index_brings_its_shards(calls, tmp_path, folder):
    index = tmp_path / "snapshot" / f"{folder}pytorch_model.bin.index.json"
    index.parent.mkdir(parents=True)
    index.write_text(json.dumps({"weight_map": {"x": "p-1.bin", "y": "p-2.bin", "z": "p-1.bin"}}))
    assert locate(f"a/b@main:{folder}{index.name}") == index
    assert calls[1:] == [("a/b", "main", [f"{folder}p-1.bin", f"{folder}p-2.bin"])]
    index.write_text(json.dumps({"weight_map": {"x": "../../p-1.bin"}}))
    with pytest.raises(WeightsError, match=r"^[^:]*pytorch_model.bin.index.json: names .*which is not a .bin file"):
        locate(f"a/b:{folder}{index.name}")


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "absent",
            "/absent/folder",
            "../absent",
            "a/../b",
            "a/b/c",
            "./a/b",
            "~/a",
            "a/b:../c.pt",
            "a/b:c/../d.pt",
            "a/b:/c.pt",
        ),
        *("a/b@../c", "a/b@", "a/b:", "a b/c", "-a/b", "http://a/b", "a/b\n", "a\\b"),
    ],
)
def test_names_that_are_neither_are_never_asked_for(calls, name):
    with pytest.raises(WeightsError, match="neither here nor the name of a repository; give a path that exists, or"):
        locate(name)
    assert calls == []


def hub_error(kind, message="long\nstory"):
    """An error of the Hub's library, without the answer of a server it is usually made from."""
    error = kind.__new__(kind)
    error.args = (message,)
    return error


@pytest.mark.parametrize(
    "kind, words",
    [
        (
            errors.GatedRepoError,
            "gated repository.*accept its terms at https://huggingface.co/a/b and run `hf auth login`",
        ),
        (errors.RepositoryNotFoundError, "neither a path here nor on the Hugging Face Hub; check the name"),
        (errors.RevisionNotFoundError, "has no revision v2"),
        (
            errors.RemoteEntryNotFoundError,
            "has no file c.pt; choose from the files at https://huggingface.co/a/b/tree/v2",
        ),
        (errors.LocalEntryNotFoundError, "cannot be reached; connect to the network"),
        (errors.HFValidationError, "cannot be fetched .long.; check the network and the disk"),
        (ConnectionError, "cannot be fetched .long.; check the network and the disk"),
        (PermissionError, "cannot be fetched"),
        (RuntimeError, "cannot be fetched .long."),
    ],
)
def test_what_goes_wrong_is_one_sentence(monkeypatch, kind, words):
    def fail(*arguments, **options):
        raise hub_error(kind)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(WeightsError, match=words) as caught:
        locate("a/b@v2:c.pt")
    assert "\n" not in str(caught.value) and str(caught.value).startswith("a/b@v2:c.pt: ")


def cached(home):
    """A cache of the Hub's library that holds one commit of a repository."""
    folder = home / "hub" / "models--owner--name"
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot / "a.pt").write_bytes(b"weights")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    return snapshot


def test_without_a_network_the_cache_serves(tmp_path):
    snapshot = cached(tmp_path)
    names = ["owner/name", "owner/name@main", f"owner/name@{COMMIT}", "owner/name:a.pt"]
    missing = ["owner/other", "owner/name@v2", "owner/name:b.pt"]
    program = (
        "import sys\n"
        "from mmgen.checkpoints.hub import locate\n"
        "for name in sys.argv[1:]:\n"
        "    try: print(locate(name))\n"
        "    except Exception as error: print(type(error).__name__, error)\n"
        "print('torch' in sys.modules)\n"
    )
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    environment.pop("HF_HUB_CACHE", None)
    result = subprocess.run(
        [sys.executable, "-c", program, *names, *missing], env=environment, capture_output=True, text=True, check=True
    )
    lines = result.stdout.splitlines()
    assert lines[:4] == [str(snapshot)] * 3 + [str(snapshot / "a.pt")]
    assert len(lines) == 8 and lines[7] == "False"
    for name, line in zip(missing, lines[4:7], strict=True):
        assert line.startswith(f"WeightsError {name}: is neither here nor in the cache, and")
