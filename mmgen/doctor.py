"""Whether this machine can run mmgen, and what to do where it cannot.

Each check is a function of plain values, so it can be asked about any machine; `examine` gathers the
values of this one. Libraries are imported in another process only: a broken one must not take the doctor down.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mmgen import catalog
from mmgen.errors import MmgenError

OLDEST_PYTHON = (3, 11)
IMPORTS = {
    "torch": "import torch",
    "torchaudio": "import torchaudio",
    "safetensors": "import safetensors.torch",
    "transformers": "from transformers import PreTrainedModel",
    "diffusers": "from diffusers import DiffusionPipeline, ModelMixin",
}
"""What must be importable, with a statement that truly loads it (the packages themselves load lazily)."""

_PROBE = """
import json, sys
found = {}
for name, statement in json.loads(sys.argv[1]).items():
    try:
        exec(statement)
        found[name] = None
    except BaseException as error:
        found[name] = f"{type(error).__name__}: {error}"
try:
    import torch
    found["device"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    if torch.backends.mps.is_available():
        found["device"] = "mps"
except BaseException:
    found["device"] = None
print(json.dumps(found))
"""
_REQUIREMENT = re.compile(r"^\s*([A-Za-z0-9._-]+)\s*(?:\[[^\]]*\])?\s*\(?([^;)]*)\)?\s*(?:;(.*))?$")
_CLAUSE = re.compile(r"^\s*(>=|<=|==|!=|<|>)\s*([\w.+]+?)\s*$")


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: what was looked at.
        passed: whether it is as it should be.
        found: what is there.
        cure: what to do; empty where it passed.
        required: False where mmgen works without it.
    """

    name: str
    passed: bool
    found: str
    cure: str = ""
    required: bool = True

    def to_dict(self) -> dict[str, object]:
        """The finding by field name."""
        return asdict(self)


@dataclass(frozen=True)
class Requirement:
    """A library mmgen needs: its name, the versions that do (`>=0.42,<0.43`), and whether it must be there."""

    name: str
    versions: str
    required: bool = True


def healthy(checks: Sequence[Check]) -> bool:
    """Whether everything required passed."""
    return all(check.passed for check in checks if check.required)


def check_python(version: tuple[int, ...]) -> Check:
    """Checks the version of Python, such as (3, 11, 7)."""
    oldest, passed = ".".join(map(str, OLDEST_PYTHON)), version >= OLDEST_PYTHON
    cure = "" if passed else f"install Python {oldest} or newer and make the environment again"
    return Check("Python", passed, ".".join(map(str, version)), cure)


def check_library(requirement: Requirement, version: str | None) -> Check:
    """Checks an installed version, None where there is none, against what is supported."""
    install = f'pip install "{requirement.name}{requirement.versions}"'
    if version is None:
        found, passed = "not installed", False
    else:
        passed = in_range(version, requirement.versions)
        found = version if passed else f"{version}, supported is {requirement.versions}"
    if not requirement.required:
        install += "; it is optional: `mmgen app` needs it"
    return Check(requirement.name, passed, found, "" if passed else install, requirement.required)


def check_pair(torch: str | None, torchaudio: str | None) -> Check:
    """Checks that torch and torchaudio are of one release: another torchaudio breaks `import transformers`."""
    found = f"torch {torch or 'not installed'}, torchaudio {torchaudio or 'not installed'}"
    if torch is None or torchaudio is None:
        return Check("torch and torchaudio", True, f"{found}: no pair to compare")
    if release(torch)[:2] == release(torchaudio)[:2]:
        return Check("torch and torchaudio", True, found)
    base = ".".join(map(str, release(torch)))
    cure = f"pip install torchaudio=={base}, or where there is none: pip install torch==2.11.0 torchaudio==2.11.0"
    return Check("torch and torchaudio", False, f"{found}: not a matched pair, which breaks transformers", cure)


def check_import(name: str, error: str | None) -> Check:
    """Checks the outcome of an import: None, or what it raised."""
    found = "imports" if error is None else " ".join(error.split())[:300]
    cure = "" if error is None else f"pip install --force-reinstall {name}, after curing what is listed above"
    return Check(f"import {name}", error is None, found, cure)


def check_shadow(folder: Path) -> Check:
    """Checks that a folder holds no package that stands in front of Hugging Face's `tokenizers`."""
    file = folder / "tokenizers" / "__init__.py"
    if not file.exists():
        return Check("tokenizers package", True, "not shadowed")
    return Check("tokenizers package", False, f"{file} shadows Hugging Face's package", f"remove {file}")


def check_pipeline(name: str, folder: Path) -> Check:
    """Checks that every component of a pipeline's folder is there and whole."""
    try:
        faults = _faults(folder)
    except MmgenError as error:
        faults = [str(error)]
    cure = "" if not faults else "fetch the folder again (`git checkout` or reinstall), or remake it with `mmgen train`"
    return Check(f"pipeline {name}", not faults, "; ".join(faults) or "complete", cure)


def check_shipped(count: int) -> Check:
    """Checks that any pipeline is shipped."""
    return Check(
        "shipped pipelines", count > 0, str(count), "" if count else "reinstall mmgen with its `pipelines` folder"
    )


def check_device(device: str | None) -> Check:
    """Checks that there is something to compute on."""
    return Check("device", device is not None, device or "none", "" if device else "make `import torch` work first")


def check_writing(folder: Path) -> Check:
    """Checks that a file can be made in a folder."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".mmgen."):
            return Check("write permission", True, str(folder))
    except OSError as error:
        found = f"{folder}: {error.strerror}"
        return Check("write permission", False, found, "give --out another folder", required=False)


def release(version: str) -> tuple[int, ...]:
    """The release numbers of a version: (2, 11, 0) of `2.11.0+cpu`; what follows them is left out."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def in_range(version: str, versions: str) -> bool:
    """Whether a version satisfies clauses such as `>=0.42,<0.43`; only release numbers are compared."""
    for clause in filter(None, versions.split(",")):
        match = _CLAUSE.match(clause)
        if not match:
            continue
        given, bound = release(version), release(match[2])
        length = max(len(given), len(bound))
        given, bound = (part + (0,) * (length - len(part)) for part in (given, bound))
        holds = {
            ">=": given >= bound, "<=": given <= bound, "==": given == bound,
            "!=": given != bound, "<": given < bound, ">": given > bound,
        }  # fmt: skip
        if not holds[match[1]]:
            return False
    return True


def parse_requirements(lines: Sequence[str]) -> list[Requirement]:
    """Requirements as package metadata states them; those of the extra `web` are optional, other extras left out."""
    found = []
    for line in lines:
        match = _REQUIREMENT.match(line)
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", match[3] or "") if match else None
        if match and (extra is None or extra[1] == "web"):
            found.append(Requirement(match[1], match[2].replace(" ", ""), extra is None))
    return found


def requirements() -> list[Requirement]:
    """What this mmgen needs: from its installed metadata, else from the clone's `pyproject.toml`."""
    project = catalog.root() / "pyproject.toml"
    if project.is_file():
        about = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        web = [f"{line}; extra == 'web'" for line in about["optional-dependencies"]["web"]]
        return parse_requirements([*about["dependencies"], *web])
    return parse_requirements(importlib.metadata.requires("mmgen") or [])


def installed(name: str) -> str | None:
    """The version of an installed library, read from its metadata without importing it."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def probe(statements: Mapping[str, str] = IMPORTS) -> dict[str, str | None]:
    """Runs import statements in another process.

    Returns:
        What each raised, None where it worked; and under `device` what torch would compute on.
    """
    # -P keeps the current folder out, as the installed command does; `check_shadow` looks at that folder.
    words = [sys.executable, "-P", "-c", _PROBE, json.dumps(dict(statements))]
    result = subprocess.run(words, capture_output=True, text=True)
    lines = result.stdout.strip().splitlines()
    if result.returncode or not lines:
        fault = f"the interpreter stopped with code {result.returncode}: {result.stderr.strip()[-200:]}"
        return {name: fault for name in statements} | {"device": None}
    return json.loads(lines[-1])


def examine() -> list[Check]:
    """Examines this machine."""
    needed = requirements()
    versions = {requirement.name: installed(requirement.name) for requirement in needed}
    outcomes = probe()
    shipped = catalog.pipelines()
    return [
        check_python(sys.version_info[:3]),
        *(check_library(requirement, versions[requirement.name]) for requirement in needed),
        check_pair(installed("torch"), installed("torchaudio")),
        check_shadow(Path.cwd()),
        *(check_import(name, outcomes[name]) for name in IMPORTS),
        check_device(outcomes["device"]),
        check_shipped(len(shipped)),
        *(check_pipeline(name, Path(entry.path)) for name, entry in shipped.items()),
        check_writing(Path.cwd()),
    ]


def _faults(folder: Path) -> list[str]:
    """What is missing or damaged in a pipeline's folder."""
    shared, shipped = catalog.describe(folder)["shared"], catalog.tokenizers()
    index = catalog.read_json(folder / "model_index.json")
    faults = []
    present = (key for key, value in index.items() if isinstance(value, list) and value[:1] != [None])
    for name in present:
        place = shipped.get(shared[name], folder / name) if name in shared else folder / name
        if name == "decoder":
            faults += (
                [] if (place / "decoder_config.json").is_file() else [f"{place / 'decoder_config.json'} is missing"]
            )
            continue
        if not (place / "config.json").is_file():
            faults.append(f"{place / 'config.json'} is missing")
        weights = sorted(place.glob("*.safetensors"))
        faults += [f"{file} is damaged" for file in weights if not _whole(file)]
        if not weights:
            faults.append(f"{place} has no safetensors file")
    return faults


def _whole(file: Path) -> bool:
    """Whether a safetensors file is as long as its header says."""
    try:
        with open(file, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            size = file.stat().st_size
            header = json.loads(stream.read(length)) if length < size else {}
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
        return bool(ends) and max(ends) + 8 + length == size
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
