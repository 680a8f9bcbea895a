"""Help and lists come at once: no heavy library is imported for them."""

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "torchaudio", "diffusers", "transformers", "gradio", "matplotlib")
PROGRAM = """
import json, sys
from mmgen.cli import main
code = main(json.loads(sys.argv[1]))
print(json.dumps({"code": code, "modules": sorted(sys.modules)}))
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["generate", "--help"],
        ["list"],
        ["list", "--json"],
        ["list", "--words"],
        ["generate", "a cat", "--pipeline", "absent"],
        ["generate"],
    ],
    ids=" ".join,
)
def test_light_commands_import_nothing_heavy(arguments):
    words = [sys.executable, "-c", PROGRAM, json.dumps(arguments)]
    result = subprocess.run(words, capture_output=True, text=True, check=True)
    modules = set(json.loads(result.stdout.splitlines()[-1])["modules"])
    assert "mmgen.cli" in modules
    assert not modules & set(HEAVY)


def test_what_reads_and_writes_files_needs_no_torch():
    program = "import sys, mmgen, mmgen.media, mmgen.doctor, mmgen.catalog; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not set(result.stdout.split()) & set(HEAVY)
