"""Files: whole or absent, with metadata that reads back and a command that a shell reads back."""

import itertools
import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from mmgen import __version__, media
from mmgen.errors import OutputError

STATISTICS = {
    "prompt": "a cat, 'quoted' – 雪 on a blue background",
    "seed": 2**63 - 1,
    "pipeline": "somewhere else",
    "decoder": "jacobi",
    "law": "exact",
    "tokens": 256,
    "evaluations": 64,
    "draft_evaluations": 0,
    "tokens_per_evaluation": 4.0,
    "seconds": 1.5,
    "complete": True,
    "options": {"window": 16, "adaptive": False, "drafter": "uniform"},
    "sampling": {"guidance": 1.5, "temperature": 1.0, "top_k": 0, "top_p": 0.9},
    "conditions": {"negative_prompt": "grey 'n dull"},
    "size": [64, 48],
    "revision": "0123456789ab",
}


@pytest.fixture
def picture():
    return Image.frombytes("RGB", (4, 4), bytes(range(48)))


@pytest.fixture
def about():
    return media.describe(STATISTICS, "emoji-64", "bfloat16", "cpu")


def flags(command: str) -> dict[str, list[str]]:
    words, found = shlex.split(command), {}
    for name, value in itertools.pairwise(words):
        if name.startswith("--") and name != "--":
            found.setdefault(name, []).append(value)
    return found


def test_metadata_reads_back_with_the_pixels(tmp_path, picture, about):
    path = tmp_path / "one.png"
    media.write_png(path, picture, about)
    assert media.read_metadata(path) == about
    assert about["pipeline"] == "emoji-64" and about["mmgen"] == __version__ and about["dtype"] == "bfloat16"
    assert "seconds" not in about
    with Image.open(path) as read:
        assert read.tobytes() == picture.tobytes()
        assert isinstance(read.info["parameters"], PngImagePlugin.iTXt)
        assert json.loads(read.info["parameters"]) == about


def test_the_same_picture_is_the_same_file(tmp_path, picture, about):
    media.write_png(tmp_path / "a.png", picture, about)
    media.write_png(tmp_path / "b.png", picture, media.describe({**STATISTICS, "seconds": 9.0}, "emoji-64", "bfloat16"))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_without_metadata_there_is_none(tmp_path, picture):
    media.write_png(tmp_path / "one.png", picture, None)
    with Image.open(tmp_path / "one.png") as read:
        assert "parameters" not in read.info
    with pytest.raises(OutputError, match="carries no metadata"):
        media.read_metadata(tmp_path / "one.png")


@pytest.mark.parametrize(
    "text", ["Steps: 20, Sampler: Euler", "[1]", '{"prompt": "a cat"}', '{"prompt": 1, "seed": 2}']
)
def test_metadata_of_other_programs_is_refused(tmp_path, picture, text):
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", text)
    picture.save(tmp_path / "other.png", pnginfo=info)
    with pytest.raises(OutputError, match="carries no metadata of mmgen"):
        media.read_metadata(tmp_path / "other.png")


def test_what_is_no_picture_is_refused(tmp_path):
    (tmp_path / "text.png").write_text("not a picture")
    for path, words in (
        (tmp_path / "text.png", "not a picture"),
        (tmp_path, "not a picture"),
        (tmp_path / "no", "no such"),
    ):
        with pytest.raises(OutputError, match=words):
            media.read_metadata(path)


def test_the_command_says_everything(about):
    found = flags(media.command(about))
    assert shlex.split(media.command(about))[:3] == ["mmgen", "generate", STATISTICS["prompt"]]
    assert found["--option"] == ["window=16", "adaptive=false", "drafter=uniform"]
    expected = {
        "--pipeline": "emoji-64", "--seed": str(2**63 - 1), "--count": "1", "--decoder": "jacobi", "--guidance": "1.5",
        "--temperature": "1.0", "--top-k": "0", "--top-p": "0.9", "--dtype": "bfloat16", "--device": "cpu",
        "--condition": "negative_prompt=grey 'n dull", "--height": "64", "--width": "48", "--out": ".",
    }  # fmt: skip
    assert {name: values for name, values in found.items() if name != "--option"} == {
        name: [value] for name, value in expected.items()
    }


@pytest.mark.parametrize(
    "prompt",
    ["a cat\non a red background", "a $(touch x) `cat`; rm", "- a cat", "a  'b'\t\\ \x07 – 雪\u200b", '"%s"'],
)
def test_any_prompt_is_one_word_of_one_line(about, prompt):
    command = media.command({**about, "prompt": prompt})
    assert "\n" not in command
    printed = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True).stdout
    words = printed.decode().split("\0")[:-1]
    assert words.count(prompt) == 1
    if prompt.startswith("-"):
        assert words[-2:] == ["--", prompt]


def test_an_error_while_writing_leaves_nothing_and_spares_the_older_file(tmp_path):
    (tmp_path / "old.png").write_bytes(b"old")
    for error in (OSError(28, "No space left on device"), KeyboardInterrupt()):
        for name in ("old.png", "new.png"):
            with pytest.raises((OutputError, KeyboardInterrupt)), media.written_whole(tmp_path / name) as file:
                file.write(b"half of it")
                raise error
    assert [path.name for path in tmp_path.iterdir()] == ["old.png"]
    assert (tmp_path / "old.png").read_bytes() == b"old"


def test_a_file_is_not_seen_under_its_name_before_it_is_complete(tmp_path):
    with media.written_whole(tmp_path / "new.png") as file:
        file.write(b"all of it")
        assert not (tmp_path / "new.png").exists()
    assert (tmp_path / "new.png").read_bytes() == b"all of it"
    assert len(list(tmp_path.iterdir())) == 1


def test_names_are_readable_and_stable():
    assert media.file_name("A red apple, please!", 7) == "a-red-apple-please-7.png"
    assert media.file_name("a café", 0, line=12) == "0012-a-cafe-0.png"
    assert media.file_name("雪", 3) == "picture-53058fe2-3.png" != media.file_name("月", 3)
    assert media.file_name("../../etc/passwd", 3) == "etc-passwd-3.png"
    assert len(media.file_name("cat " * 50, 2**63 - 1)) < 120


def test_folders_are_checked_before_they_are_made(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        for function in (media.check_folder, media.make_folder):
            with pytest.raises(OutputError, match="is a file, and a folder is needed"):
                function(folder)
    media.check_folder(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()
    media.make_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_folder_without_permission_is_refused(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    # Root may write everywhere but where the kernel itself refuses.
    locked = Path("/proc") if os.geteuid() == 0 else tmp_path / "locked"
    with pytest.raises(OutputError, match="cannot be written"):
        media.make_folder(locked / "below")
    with pytest.raises(OutputError, match="cannot be written"):
        media.write_png(locked / "one.png", Image.new("RGB", (4, 4)), None)


def test_an_unwritable_place_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="cannot be written to"):
        media.check_folder(tmp_path / "new")
