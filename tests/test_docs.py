"""Everything the documents show is run: Python blocks and `mmgen` commands, each document in one folder."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mmgen.scenes.grammar import BACKGROUNDS, Grammar
from mmgen.scenes.objects import ALIASES, CHARACTERS

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("pipelines/*/*.md"), *ROOT.glob("tokenizers/*/*.md")]
)
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SLOW = ("mmgen train", "mmgen app", "mmgen bench", "mmgen evaluate")
"""Commands that are checked for valid options only."""


def documents_with(language: str) -> list:
    found = [(path, [code for kind, code in BLOCK.findall(path.read_text()) if kind == language]) for path in DOCUMENTS]
    return [pytest.param(path, codes, id=str(path.relative_to(ROOT))) for path, codes in found if codes]


@pytest.mark.parametrize("path, codes", documents_with("python"))
def test_python_blocks_run(path, codes, tmp_path):
    program = "\n".join(codes)
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("path, codes", documents_with("sh"))
def test_commands_run(path, codes, tmp_path):
    commands = [line for code in codes for line in code.splitlines() if line.startswith("mmgen ")]
    for command in commands:
        if command.startswith(SLOW):
            check_options(command)
            continue
        result = subprocess.run(
            [sys.executable, "-m", *shlex.split(command, comments=True)], cwd=tmp_path, capture_output=True, text=True
        )
        assert result.returncode == 0, f"{command}\n{result.stderr}"


def check_options(command: str) -> None:
    words = shlex.split(command, comments=True)
    help_text = subprocess.run(
        [sys.executable, "-m", "mmgen", words[1], "--help"], capture_output=True, text=True, env=wide_terminal()
    ).stdout
    for word in words[2:]:
        if word.startswith("--"):
            assert word in help_text, f"{command}: no option {word}"


def wide_terminal() -> dict[str, str]:
    import os

    return {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}


def test_the_grammar_page_names_everything():
    page = " ".join((ROOT / "docs" / "captions.md").read_text().split())
    for word in (*CHARACTERS, *ALIASES, *BACKGROUNDS):
        assert word in page, word
    for caption in re.findall(r"^\| (an? .*?|two stars) \|", (ROOT / "docs" / "captions.md").read_text(), re.MULTILINE):
        Grammar().parse(caption)


def test_root_folders_hold_no_code():
    for folder in ("tokenizers", "pipelines"):
        assert not list((ROOT / folder).rglob("*.py"))


def test_shipped_weights_are_small():
    files = [path for root in ("mmgen", "pipelines", "tokenizers") for path in (ROOT / root).rglob("*.safetensors")]
    assert files and sum(path.stat().st_size for path in files) < 100e6


@pytest.mark.parametrize("kind", ["decoders", "acceptance", "drafter"])
def test_the_page_of_decoders_names_them_all_with_their_law(kind):
    from mmgen import decoding
    from mmgen.decoding.options import parts

    page = (ROOT / "docs" / "decoders.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    for name, part in (decoding.decoders() if kind == "decoders" else parts(kind)).items():
        row = next((row for row in rows if f"`{name}`" in row.split("|")[1]), None)
        assert row is not None, f"docs/decoders.md has no row for {name}"
        if kind == "acceptance":
            assert row.split("|")[2].strip() == part.law, name
        if kind == "decoders" and part.seeded:
            assert "seeded" in row.split("|")[2], name
