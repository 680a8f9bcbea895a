"""The doctor, asked about machines it has never seen."""

import json
import sys

import pytest

from mmgen import catalog, doctor
from mmgen.cli import main
from mmgen.doctor import Check, Requirement


@pytest.mark.parametrize(
    "torch, torchaudio, matched",
    [
        ("2.11.0", "2.11.0", True),
        ("2.11.0+cpu", "2.11.1", True),
        ("2.13.0+cpu", "2.11.0", False),
        ("2.11.0", "2.1.0", False),
        ("2.11.0", "3.11.0", False),
        ("2.11.0", None, True),
        (None, "2.11.0", True),
    ],
)
def test_a_mismatched_pair_is_found(torch, torchaudio, matched):
    check = doctor.check_pair(torch, torchaudio)
    assert check.passed is matched and check.required
    assert bool(check.cure) is not matched
    if not matched:
        assert torch in check.found and torchaudio in check.found
        assert f"torchaudio=={torch.split('+')[0]}" in check.cure


@pytest.mark.parametrize(
    "version, versions, inside",
    [
        ("0.42.1", ">=0.42,<0.43", True),
        ("0.42", ">=0.42.0,<0.43", True),
        ("0.43.0", ">=0.42,<0.43", False),
        ("0.41.9", ">=0.42,<0.43", False),
        ("5.100.0", ">=5.23,<6", True),
        ("6.0.0", ">=5.23,<6", False),
        ("2.11.0+cu128", ">=2.11", True),
        ("2.9.1", ">=2.11", False),
        ("1.0", "==1.0.0", True),
        ("1.0", "!=1.0", False),
        ("1.0", "", True),
    ],
)
def test_versions_are_compared_as_numbers(version, versions, inside):
    assert doctor.in_range(version, versions) is inside


def test_libraries_outside_their_range_are_found():
    needed = Requirement("diffusers", ">=0.42,<0.43")
    assert doctor.check_library(needed, "0.42.1") == Check("diffusers", True, "0.42.1")
    for version in ("0.40.0", None):
        check = doctor.check_library(needed, version)
        assert not check.passed and check.required
        assert 'pip install "diffusers>=0.42,<0.43"' in check.cure


def test_optional_libraries_do_not_make_a_machine_ill():
    absent = doctor.check_library(Requirement("gradio", ">=6.31,<7", required=False), None)
    assert not absent.passed and not absent.required and "optional" in absent.cure
    assert doctor.healthy([absent])
    assert not doctor.healthy([absent, doctor.check_python((3, 10, 9))])
    assert doctor.check_python((3, 11, 0)).passed and doctor.check_python((3, 14, 0)).passed


def test_requirements_are_those_of_the_package():
    found = doctor.parse_requirements(
        ["torch>=2.11", "diffusers<0.43,>=0.42", "gradio<7,>=6.31; extra == 'web'", 'pytest>=9; extra == "dev"']
    )
    assert found == [
        Requirement("torch", ">=2.11"),
        Requirement("diffusers", "<0.43,>=0.42"),
        Requirement("gradio", "<7,>=6.31", required=False),
    ]
    own = {requirement.name: requirement for requirement in doctor.requirements()}
    assert {"torch", "torchaudio", "diffusers", "transformers", "safetensors"} <= own.keys()
    assert not own["gradio"].required and own["torch"].required and "pytest" not in own


def test_imports_are_tried_in_another_process():
    outcomes = doctor.probe(
        {"json": "import json", "absent": "import no_such_module", "broken": "raise OSError('libc10')"}
    )
    assert outcomes["json"] is None
    assert outcomes["absent"].startswith("ModuleNotFoundError") and outcomes["broken"] == "OSError: libc10"
    assert not doctor.check_import("torchaudio", outcomes["broken"]).passed
    assert "no_such_module" not in sys.modules


def test_a_library_that_kills_the_interpreter_is_reported():
    outcomes = doctor.probe({"deadly": "import os; os.abort()"})
    assert "the interpreter stopped" in outcomes["deadly"] and outcomes["device"] is None
    assert not doctor.check_device(outcomes["device"]).passed


def test_a_package_that_shadows_tokenizers_is_found(tmp_path):
    (tmp_path / "tokenizers").mkdir()
    assert doctor.check_shadow(tmp_path).passed
    (tmp_path / "tokenizers" / "__init__.py").touch()
    check = doctor.check_shadow(tmp_path)
    assert not check.passed and check.required and "remove" in check.cure


def shipped() -> tuple[str, str]:
    name, entry = next(iter(catalog.pipelines().items()))
    return name, entry.path


def copied_pipeline(tmp_path):
    import shutil

    return shutil.copytree(shipped()[1], tmp_path / "copy")


def test_the_shipped_pipelines_are_complete():
    from pathlib import Path

    for name, entry in catalog.pipelines().items():
        assert doctor.check_pipeline(name, Path(entry.path)).passed
    assert doctor.check_shipped(1).passed and not doctor.check_shipped(0).passed


@pytest.mark.parametrize("damage", ["missing", "truncated", "pointer", "config", "decoder", "index"])
def test_damaged_pipelines_are_found(tmp_path, damage):
    folder = copied_pipeline(tmp_path)
    weights = folder / "text_encoder" / "model.safetensors"
    assert doctor.check_pipeline("copy", folder).passed
    if damage == "missing":
        weights.unlink()
    elif damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif damage == "pointer":
        weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 213848\n")
    else:
        names = {
            "config": "transformer/config.json",
            "decoder": "decoder/decoder_config.json",
            "index": "model_index.json",
        }
        (folder / names[damage]).unlink()
    check = doctor.check_pipeline("copy", folder)
    assert not check.passed and check.required and check.cure


def test_writing_is_tried(tmp_path):
    assert doctor.check_writing(tmp_path).passed
    absent = doctor.check_writing(tmp_path / "absent")
    assert not absent.passed and not absent.required and "--out" in absent.cure


def test_the_command_reports_and_fails_only_where_something_required_is_broken(monkeypatch, capsys):
    well = [Check("Python", True, "3.12.0"), Check("gradio", False, "not installed", "pip install", required=False)]
    broken = [*well, doctor.check_pair("2.13.0", "2.11.0")]
    for checks, code in ((well, 0), (broken, 1)):
        monkeypatch.setattr(doctor, "examine", lambda checks=checks: checks)
        assert main(["doctor"]) == code
        assert "note  gradio" in capsys.readouterr().out
        assert main(["doctor", "--json"]) == code
        report = json.loads(capsys.readouterr().out)
        assert report["healthy"] is (code == 0)
        assert [check["name"] for check in report["checks"]] == [check.name for check in checks]


def test_this_machine_is_well(capsys):
    assert main(["doctor", "--json"]) == 0
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["torch and torchaudio"]["passed"] and checks["import diffusers"]["passed"]
