"""Weight files opened without reading them, read tensor by tensor, and arranged under other names."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mmgen.checkpoints import stored
from mmgen.checkpoints.weights import Weights
from mmgen.errors import WeightsError

GOLDENS = Path(__file__).parents[2] / "../shared/goldens"
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
DTYPES += [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]


def numbers(*shape, dtype=torch.float32, seed=0):
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 3
    return drawn.to(dtype) if dtype.is_floating_point else drawn.abs().to(dtype)


@pytest.fixture(params=["safetensors", "zip", "legacy"])
def save(request, tmp_path):
    """Writes a state dict in one of the formats, and returns its path."""

    def write(state):
        if request.param == "safetensors":
            path = tmp_path / "weights.safetensors"
            save_file(state, path)
        else:
            path = tmp_path / "weights.pt"
            torch.save(state, path, _use_new_zipfile_serialization=request.param == "zip")
        return path

    return write


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type_is_read_as_it_was_written(save, dtype):
    state = {"a": numbers(3, 5, dtype=dtype), "scalar": numbers(dtype=dtype, seed=1), "none": numbers(0, 4).to(dtype)}
    weights = Weights.open(save(state))
    assert {name: (entry.shape, entry.dtype) for name, entry in weights.items()} == {
        "a": ((3, 5), dtype),
        "scalar": ((), dtype),
        "none": ((0, 4), dtype),
    }
    for name, tensor in state.items():
        read = weights.read(name)
        assert read.dtype == dtype and torch.equal(read.double(), tensor.double())
        converted = weights.read(name, torch.bfloat16)
        assert converted.dtype == (torch.bfloat16 if dtype.is_floating_point else dtype)
        assert torch.equal(converted, tensor.to(converted.dtype))


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
def test_eight_bit_floats(tmp_path, dtype):
    tensor = numbers(3, 5, dtype=dtype)
    save_file({"a": tensor}, tmp_path / "a.safetensors")
    torch.save({"a": tensor}, tmp_path / "a.pt")
    for name in ("a.safetensors", "a.pt"):
        assert torch.equal(Weights.open(tmp_path / name).read("a", torch.float32), tensor.float())


def test_reading_in_small_parts_changes_nothing(save, monkeypatch):
    state = {"long": numbers(1, 700), "deep": numbers(2, 3, 5, 7, seed=1), "tall": numbers(90, 2, seed=2)}
    weights = Weights.open(save(state))
    for size in (4, 12, 100, 1000):
        monkeypatch.setattr(stored, "_STAGE_BYTES", size)
        for name, tensor in state.items():
            assert torch.equal(weights.read(name), tensor)


def test_what_is_read_is_its_own(save):
    weights = Weights.open(save({"a": torch.zeros(4)}))
    weights.read("a").add_(1)
    assert torch.equal(weights.read("a"), torch.zeros(4))


def test_names_are_translated_dropped_and_joined(save):
    state = {
        "q": numbers(2, 3),
        "k": numbers(1, 3, seed=1),
        "v": numbers(1, 3, dtype=torch.bfloat16),
        "old": numbers(1),
    }
    weights = Weights.open(save(state)).renamed(lambda name: None if name == "old" else f"w{name}")
    assert set(weights) == {"wq", "wk", "wv"}
    joined = weights.arranged({"qkv": ["wq", "wk", "wv"], "copy": ["wk"]})
    assert joined["qkv"].shape == (4, 3) and joined["qkv"].dtype == torch.float32
    assert torch.equal(joined.read("qkv"), torch.cat((state["q"], state["k"], state["v"].float())))
    assert torch.equal(joined.read("copy", torch.float64), state["k"].double())


def test_views_that_cannot_be_are_refused(save):
    weights = Weights.open(save({"a": numbers(2, 3), "b": numbers(2, 4, seed=1), "c": numbers(seed=2)}))
    with pytest.raises(WeightsError, match="a and b are both same"):
        weights.renamed(lambda name: "c" if name == "c" else "same")
    with pytest.raises(WeightsError, match=r"1 missing keys \(d\) and 1 unexpected keys \(c\)"):
        weights.arranged({"x": ["a", "d"], "y": ["b"]})
    with pytest.raises(WeightsError, match=r"x cannot be joined of shapes \[2, 3\], \[2, 4\]"):
        weights.arranged({"x": ["a", "b"], "y": ["c"]})
    with pytest.raises(WeightsError, match=r"x cannot be joined of shapes \[\], \[\]"):
        weights.arranged({"x": ["c", "c"], "y": ["a"], "z": ["b"]})


SHARDS = [{"a": numbers(2, 3)}, {"b": numbers(4, seed=1), "c": numbers(1, seed=2)}]


def save_sharded(folder, ending=".safetensors", stem="model"):
    folder.mkdir(exist_ok=True)
    placed = {}
    for number, state in enumerate(SHARDS, start=1):
        file = f"{stem}-{number:05d}-of-00002{ending}"
        (save_file if ending == ".safetensors" else torch.save)(state, folder / file)
        placed |= dict.fromkeys(state, file)
    index = folder / f"{stem}{ending}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 44}, "weight_map": placed}))
    return index


@pytest.mark.parametrize(
    "ending, stem",
    [(".safetensors", "model"), (".safetensors", "diffusion_pytorch_model"), (".bin", "pytorch_model")],
)
def test_shards_are_one(tmp_path, ending, stem):
    index = save_sharded(tmp_path / "model", ending, stem)
    for path in (index, index.parent, str(index.parent)):
        weights = Weights.open(path)
        for state in SHARDS:
            assert all(torch.equal(weights.read(name), tensor) for name, tensor in state.items())
        assert len(weights) == 3 and weights.path == index


def test_safetensors_are_taken_before_pickles(tmp_path):
    index = save_sharded(tmp_path, ".safetensors")
    save_sharded(tmp_path, ".bin", "pytorch_model")
    assert Weights.open(tmp_path).path == index


@pytest.mark.parametrize(
    "how, words",
    [
        ("shard missing", "1 of 2 shards are missing; fetch model-00002-of-00002.safetensors"),
        ("shard of another", "its shards lack b, c"),
        ("path", r"names '../model-00002-of-00002.safetensors', which is not"),
        ("absolute path", "names '/etc/passwd', which is not"),
        ("pickle", "names 'x.bin', which is not a .safetensors file"),
        ("no map", "has no weight_map"),
        ("bad map", "has no weight_map"),
        ("no json", "cannot be read"),
    ],
)
def test_bad_indices(tmp_path, how, words):
    index = save_sharded(tmp_path / "model")
    shard = index.with_name("model-00002-of-00002.safetensors")
    content = json.loads(index.read_text())
    if how == "shard missing":
        shard.unlink()
    elif how == "shard of another":
        save_file({"z": torch.zeros(1)}, shard)
    elif how == "path":
        shard.rename(tmp_path / shard.name)
        content["weight_map"]["b"] = f"../{shard.name}"
    elif how == "absolute path":
        content["weight_map"]["b"] = "/etc/passwd"
    elif how == "pickle":
        torch.save({"b": torch.zeros(1)}, index.with_name("x.bin"))
        content["weight_map"]["b"] = "x.bin"
    elif how == "no map":
        del content["weight_map"]
    elif how == "bad map":
        content["weight_map"]["b"] = 3
    index.write_text("{" if how == "no json" else json.dumps(content))
    for path in (index, index.parent):
        with pytest.raises(WeightsError, match=words) as caught:
            Weights.open(path)
        assert "\n" not in str(caught.value)


def header(about, data=b"\0" * 8):
    text = about if isinstance(about, bytes) else json.dumps(about).encode()
    return len(text).to_bytes(8, "little") + text + data


def tensor(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "is empty"),
        (b"\0" * 4, "damaged"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "pointer of Git LFS.*git lfs pull"),
        (b"\n<!DOCTYPE html><html>Not found</html>", "web page"),
        ((2**40).to_bytes(8, "little") + b"{}", "damaged"),
        (header({"a": tensor()})[:-4], "damaged"),
        (header({"a": tensor()}, b"\0" * 12), "damaged"),
        (header({"a": tensor(), "b": tensor()}), "damaged"),
        (header({"a": tensor(shape=(2**40,))}), "damaged"),
        (header({"a": tensor(offsets=(8, 16))}), "damaged"),
        (header({"a": tensor(dtype="F99")}), "damaged"),
        (header({"a": tensor(dtype="C64", shape=(1,))}), "a is of type C64; convert it to one of F64"),
        (header(b'{"a": 1}'), "damaged"),
        (header(b"[]"), "damaged"),
    ],
)
def test_damaged_safetensors(tmp_path, content, words):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=words) as caught:
        Weights.open(path)
    assert "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path):
    for name in ("absent.safetensors", "absent.pt", "absent.safetensors.index.json", "absent"):
        with pytest.raises(WeightsError, match="cannot be read"):
            Weights.open(tmp_path / name)
    (tmp_path / "weights.gguf").write_bytes(b"GGUF")
    with pytest.raises(WeightsError, match=r"not known to be a weight file; .* \.safetensors, \.pt"):
        Weights.open(tmp_path / "weights.gguf")
    with pytest.raises(WeightsError, match="no safetensors file"):
        Weights.open(tmp_path)
    for name in ("a.bin", "b.pt"):
        torch.save({"a": torch.zeros(1)}, tmp_path / name)
    with pytest.raises(WeightsError, match="holds 2 pickle files"):
        Weights.open(tmp_path)


@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_a_file_that_shrinks_or_goes_is_noticed(tmp_path, ending):
    path = tmp_path / f"weights.{ending}"
    (save_file if ending == "safetensors" else torch.save)({"a": torch.zeros(1000)}, path)
    weights = Weights.open(path)
    os.truncate(path, 1000)
    with pytest.raises(WeightsError, match="shorter"):
        weights.read("a")
    path.unlink()
    with pytest.raises(WeightsError, match="cannot be read"):
        weights.read("a")


@pytest.mark.skipif(not GOLDENS.is_dir(), reason="the reference inputs and outputs are not beside the repository")
@pytest.mark.parametrize("container", ["ddp", "fsdp"])
def test_the_official_containers_hold_one_model(container):
    folder = GOLDENS / "llamagen"
    expected, weights = Weights.open(folder / "c2i.safetensors"), Weights.open(folder / f"c2i_{container}.pt")
    assert set(weights) == set(expected)
    assert all(torch.equal(weights.read(name), expected.read(name)) for name in expected)


def test_a_transposed_tensor_is_read_once(tmp_path, monkeypatch):
    tensor = numbers(100, 60)
    torch.save({"a": tensor.T}, tmp_path / "a.pt")
    reads, read = [], stored.Stored._read
    monkeypatch.setattr(stored.Stored, "_read", lambda *arguments: (reads.append(arguments), read(*arguments)))
    monkeypatch.setattr(stored, "_STAGE_BYTES", 2400)
    assert torch.equal(Weights.open(tmp_path / "a.pt").read("a"), tensor.T)
    assert len(reads) == 10
