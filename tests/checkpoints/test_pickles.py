"""Pickled checkpoints: every container people publish is read, and nothing in a file is ever run."""

import argparse
import collections
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from mmgen.checkpoints import stored
from mmgen.checkpoints.weights import Weights
from mmgen.errors import WeightsError

STATE = {"embedding.weight": torch.arange(12.0).view(4, 3), "norm.weight": torch.tensor([1.0, 2.0]).bfloat16()}
FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def save(content, path, zipped=True):
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def holds(weights, state):
    return set(weights) == set(state) and all(torch.equal(weights.read(name), state[name]) for name in state)


@FORMATS
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        collections.OrderedDict,
        lambda state: {"model": state},
        lambda state: {"module": state},
        lambda state: {"state_dict": state, "epoch": 3, "global_step": 7},
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {name: nn.Parameter(value) for name, value in state.items()},
        lambda state: {
            "model": state,
            "optimizer": {"state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.zeros(4, 3)}}, "param_groups": []},
            "steps": 9,
            "args": argparse.Namespace(lr=1e-4, model="GPT-B", betas=(0.9, 0.95), ema=None, modes={"a", b"b"}),
        },
    ],
    ids=["bare", "ordered", "ddp", "deepspeed", "lightning", "prefixed", "parameters", "training"],
)
def test_every_container(tmp_path, wrap, zipped):
    assert holds(Weights.open(save(wrap(STATE), tmp_path / "a.pt", zipped)), STATE)


def test_a_prefix_of_some_names_stays(tmp_path):
    state = {"module.a": torch.zeros(1), "b": torch.ones(1)}
    assert holds(Weights.open(save(state, tmp_path / "a.pt")), state)


@FORMATS
def test_a_subclass_rebuilt_by_its_type(tmp_path, zipped):
    tensor = torch.arange(3.0)
    tensor.tag = "an attribute makes torch write `_rebuild_from_type_v2`"
    assert holds(Weights.open(save({"a": tensor}, tmp_path / "a.pt", zipped)), {"a": tensor})


@FORMATS
@pytest.mark.parametrize("stage", [4, 40, 2**20])
def test_views_are_read_by_their_strides(tmp_path, monkeypatch, zipped, stage):
    monkeypatch.setattr(stored, "_STAGE_BYTES", stage)
    base = torch.arange(120.0).view(4, 5, 6)
    state = {
        "base": base,
        "transposed": base.transpose(0, 2),
        "part": base[1:3, ::2, 1:],
        "column": base[:, 3, 2],
        "element": base[2, 2, 2],
        "expanded": base[0, 0, :1].expand(7),
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "empty": base[:0],
    }
    weights = Weights.open(save(state, tmp_path / "a.pt", zipped))
    assert holds(weights, state)
    assert all(torch.equal(weights.read(name, torch.float16), tensor.half()) for name, tensor in state.items())


class Run:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.fixture
def mark(tmp_path):
    return tmp_path / "it-ran"


def attacks(mark):
    touch = Run(os.system, f"touch {mark}")
    return {
        "bare": touch,
        "value": {"a": torch.zeros(1), "b": touch},
        "beside the weights": {"model": STATE, "args": argparse.Namespace(deep=[{"x": (touch,)}])},
        "eval": {"a": Run(eval, f"open({str(mark)!r}, 'w')")},
        "attribute": {"a": Run(getattr, os, "system")},
        "path": {"model": STATE, "args": Path("x")},
        "import": {"a": Run(__import__, "antigravity")},
    }


@FORMATS
@pytest.mark.parametrize("attack", attacks(Path()))
def test_nothing_is_run(tmp_path, mark, attack, zipped):
    try:
        path = save(attacks(mark)[attack], tmp_path / "a.pt", zipped)
    except TypeError:  # Modules cannot be pickled by name.
        path = tmp_path / "a.pt"
        path.write_bytes(b"cos\nsystem\n.")
    with pytest.raises(WeightsError, match=r"would run [a-z_]+\.[A-Za-z_]+, which weights do not need; open it where"):
        Weights.open(path)
    assert not mark.exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_is_run_in_any_protocol(tmp_path, mark, protocol):
    path = tmp_path / "a.pt"
    path.write_bytes(pickle.dumps(attacks(mark)["value"]["b"], protocol))
    with pytest.raises(WeightsError, match=r"would run posix.system"):
        Weights.open(path)
    torch.save(attacks(mark)["value"], path, pickle_protocol=max(2, protocol))
    with pytest.raises(WeightsError, match=r"would run posix.system"):
        Weights.open(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "instructions, what",
    [
        (b"(S'x'\nios\nsystem\n.", "os.system"),
        (b"cos\nsystem\n(S'x'\ntR.", "os.system"),
        (b"\x80\x02\x82\x01.", "extension 1"),
    ],
)
def test_nothing_is_run_by_rare_instructions(tmp_path, instructions, what):
    (tmp_path / "a.pt").write_bytes(instructions)
    with pytest.raises(WeightsError, match=f"would run {what}"):
        Weights.open(tmp_path / "a.pt")


def rewrite(path, record, content):
    """Replaces a record of a zip checkpoint."""
    with zipfile.ZipFile(path) as archive:
        records = {info.filename: archive.read(info) for info in archive.infolist()}
    name = next(name for name in records if name.endswith(record))
    records[name] = content(records[name]) if callable(content) else content
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in records.items():
            archive.writestr(name, value)
    return path


def test_a_namespace_cannot_be_made_to_run_anything(tmp_path, mark):
    # A bag whose second BUILD would call the `__setstate__` that its first one set: with what is allowed alone.
    instructions = b"\x80\x02cargparse\nNamespace\n)\x81}U\x0c__setstate__ccollections\nOrderedDict\nsb]b."
    before = torch.serialization.get_safe_globals()
    path = rewrite(save({"model": STATE}, tmp_path / "a.pt"), "data.pkl", instructions)
    with pytest.raises(WeightsError):
        Weights.open(path)
    hostile = instructions.replace(b"ccollections\nOrderedDict\n", b"cos\nsystem\n")
    rewrite(path, "data.pkl", hostile)
    with pytest.raises(WeightsError, match=r"would run os.system"):
        Weights.open(path)
    assert set(torch.serialization.get_safe_globals()) == set(before)


def test_an_unknown_class_is_named(tmp_path):
    path = save(
        {"state_dict": STATE, "callbacks": {argparse.ArgumentParser: 1, collections.Counter: 2}}, tmp_path / "a.ckpt"
    )
    with pytest.raises(
        WeightsError, match=r"run argparse.ArgumentParser, collections.Counter, which .* as safetensors"
    ):
        Weights.open(path)


@FORMATS
@pytest.mark.parametrize(
    "content, words",
    [
        ({}, "holds the keys ; tensors by name are needed, alone or under model, module, state_dict"),
        ({"net": STATE, "step": 3}, "holds the keys net, step"),
        ({"model": {"a": 3}}, "holds the keys model"),
        ({1: torch.zeros(1)}, "holds the keys 1"),
        (torch.zeros(3), "holds a Tensor"),
        ([torch.zeros(3)], "holds a list"),
        ({"a": torch.zeros(2, dtype=torch.complex64)}, "would run torch.ComplexFloatStorage"),
        ({"a": torch.eye(2).to_sparse()}, "would run torch"),
    ],
)
def test_what_is_no_state_dict(tmp_path, content, words, zipped):
    with pytest.raises(WeightsError, match=words):
        Weights.open(save(content, tmp_path / "a.pt", zipped))


@FORMATS
def test_cut_files_are_damaged(tmp_path, zipped):
    path = save({"model": {"a": torch.randn(500)}}, tmp_path / "a.pt", zipped)
    whole = path.read_bytes()
    for length in [*range(1, 40), *range(40, len(whole) - 1, 97)]:
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError) as caught:
            Weights.open(path)
        assert "\n" not in str(caught.value) and "weights_only" not in str(caught.value)


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "pointer of Git LFS"),
        (b"<html>404</html>", "web page"),
        (b"\x1f\x8b not a checkpoint", "damaged or not a file of `torch.save`"),
        (pickle.dumps({"a": 1}), "a pickle, but not of `torch.save`"),
        (pickle.dumps([1, 2, 3], 2), "a pickle, but not of `torch.save`"),
    ],
)
def test_other_files(tmp_path, content, words):
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(WeightsError, match=words):
        Weights.open(tmp_path / "a.pt")


def zip_of(path, compression=zipfile.ZIP_STORED, **records):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in records.items():
            archive.writestr(f"a/{name.replace('__', '/').replace('_', '.')}", content)
    return path


def test_other_zip_files(tmp_path):
    with pytest.raises(WeightsError, match="zip file, but not of"):
        Weights.open(zip_of(tmp_path / "a.pt", readme_txt="hello"))
    program = torch.jit.script(nn.Linear(2, 2))
    torch.jit.save(program, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match="TorchScript"):
        Weights.open(tmp_path / "a.pt")
    with pytest.raises(WeightsError, match="big-endian"):
        Weights.open(rewrite(save(STATE, tmp_path / "a.pt"), "byteorder", b"big"))


def test_bombs_are_refused(tmp_path):
    path = zip_of(tmp_path / "a.pt", zipfile.ZIP_DEFLATED, data_pkl=b"\0" * 10**7)
    with pytest.raises(WeightsError, match="compressed"):
        Weights.open(path)
    save({"a": torch.zeros(1).expand(2**40)}, path)
    with pytest.raises(WeightsError, match="a says that it is larger than the file"):
        Weights.open(path)
    save({"a": torch.zeros(1).expand(2**40)}, path, zipped=False)
    with pytest.raises(WeightsError, match="a says that it is larger than the file"):
        Weights.open(path)


def claim(places):
    """Rewrites a pickle whose storage (place 0) and tensor (place 1) of 300 elements are to claim 60000."""

    def rewritten(pickled):
        parts = pickled.split(struct.pack("<cH", b"M", 300))
        assert len(parts) == 3
        sizes = [struct.pack("<cH", b"M", 60000 if place in places else 300) for place in (0, 1)]
        return parts[0] + sizes[0] + parts[1] + sizes[1] + parts[2]

    return rewritten


@pytest.mark.parametrize("places", [(0,), (1,), (0, 1)], ids=["storage", "view", "both"])
def test_sizes_that_are_lies(tmp_path, places):
    path = save({"a": torch.zeros(300), "z": torch.zeros(70000)}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match="does not hold the 240000 bytes of a"):
        Weights.open(rewrite(path, "data.pkl", claim(places)))
    legacy = io.BytesIO()
    torch.save({"a": torch.zeros(300), "z": torch.zeros(70000)}, legacy, _use_new_zipfile_serialization=False)
    path.write_bytes(claim(places)(legacy.getvalue()))
    with pytest.raises(WeightsError, match="damaged"):
        Weights.open(path)


def test_a_directory_that_lies(tmp_path):
    path = rewrite(save({"a": torch.zeros(300)}, tmp_path / "a.pt"), "data/0", b"\0" * 1200)
    content, size = path.read_bytes(), struct.pack("<II", 1200, 1200)
    place = content.rindex(size)
    path.write_bytes(content[:place] + struct.pack("<II", 240000, 240000) + content[place + 8 :])
    with pytest.raises(WeightsError, match="says that it holds more bytes than it has"):
        Weights.open(path)
