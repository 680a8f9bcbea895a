"""Models filled tensor by tensor: right, whole, and in little more memory than they take."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from safetensors.torch import load_file, save_file
from torch import nn

from mmgen.backbones.heads import TokenHeads
from mmgen.backbones.raster import RasterTransformer
from mmgen.checkpoints.folder import Weightless, fill, load_model
from mmgen.checkpoints.weights import Weights
from mmgen.errors import WeightsError
from mmgen.evaluation.features import WEIGHTS_PATH, SceneFeatures, shipped_network
from mmgen.scenes.encoder import SceneEncoder
from mmgen.tokenizers.patch_vq import PatchVQ

BUILDERS = {
    "backbone": lambda: RasterTransformer(11, 3, 4, 2, size=32, layers=2, heads=2, hidden_size=48),
    "draft": lambda: RasterTransformer(11, 3, 4, 7, size=32, layers=1, heads=2, hidden_size=48, condition_size=64),
    "heads": lambda: TokenHeads(32, hidden_size=16, depths=2),
    "encoder": lambda: SceneEncoder(size=64),
    "tokenizer": lambda: PatchVQ(codebook_size=32, image_size=16, size=16, layers=1, heads=2, hidden_size=32),
}


def randomised(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for tensor in model.state_dict().values():
        tensor.normal_(0, 0.3, generator=generator)
    return model.eval()


def works(model):
    """What a model makes of fixed inputs."""
    if isinstance(model, RasterTransformer):
        width = model.config.condition_size or model.config.size
        condition = torch.linspace(-1, 1, width).expand(1, model.condition_length, width)
        return model.teacher_forced(condition, torch.arange(12)[None] % 11)
    if isinstance(model, TokenHeads):
        backbone = randomised(BUILDERS["backbone"](), seed=1)
        return model.teacher_forced(
            backbone, torch.linspace(-1, 1, 32).expand(1, 12, 32), 2, torch.arange(12)[None] % 11
        )
    if isinstance(model, SceneEncoder):
        return model.encode(["a cat", "two stars"])
    return model.decode(model.encode(torch.linspace(-1, 1, 768).view(1, 3, 16, 16)))


@torch.no_grad()
@pytest.mark.parametrize("name", BUILDERS)
def test_a_model_built_without_memory_works_like_the_one_saved(tmp_path, name):
    model = randomised(BUILDERS[name]())
    model.save_pretrained(tmp_path)
    loaded = load_model(type(model), tmp_path)
    assert all(torch.equal(tensor, loaded.state_dict()[key]) for key, tensor in model.state_dict().items())
    assert torch.equal(works(loaded), works(model))
    assert not loaded.training and not any(weight.requires_grad for weight in loaded.parameters())


@torch.no_grad()
def test_the_feature_network_is_filled_too():
    with Weightless():
        network = SceneFeatures()
    fill(network, Weights.open(WEIGHTS_PATH))
    pictures = torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64)
    assert torch.equal(network(pictures), shipped_network()(pictures))


class Odd(ModelMixin, ConfigMixin):
    """A model with buffers of every kind, and a table made where it is built."""

    @register_to_config
    def __init__(self, size: int = 4, unfilled: str | None = None) -> None:
        super().__init__()
        self.layer = nn.Linear(size, size)
        self.norm = nn.BatchNorm1d(size)
        self.register_buffer("used", torch.empty(size, dtype=torch.bool))
        self.register_buffer("frequencies", torch.arange(size) ** -0.5, persistent=False)
        self.table = torch.zeros(size).cumsum(0)
        self.sizes = torch.tensor([1, 2]).tolist()
        if unfilled == "buffer":
            self.layer.register_buffer("mask", torch.empty(size), persistent=False)
        if unfilled == "attribute":
            self.layer.mask = torch.empty(size)


def odd_folder(folder, **options):
    model = Odd(**options)
    model.used.copy_(torch.tensor([True, False] * 2))
    model.norm.num_batches_tracked.fill_(2**40 + 1)
    model.save_pretrained(folder)
    return model


def test_integers_and_booleans_keep_their_type(tmp_path):
    model = odd_folder(tmp_path)
    loaded = load_model(Odd, tmp_path, torch.bfloat16)
    assert loaded.layer.weight.dtype == loaded.norm.running_var.dtype == torch.bfloat16
    assert torch.equal(loaded.used, model.used) and loaded.used.dtype == torch.bool
    assert loaded.norm.num_batches_tracked.item() == 2**40 + 1
    assert torch.equal(loaded.frequencies, model.frequencies) and torch.equal(loaded.table, model.table)


def test_none_is_float32(tmp_path):
    odd_folder(tmp_path)
    path = next(tmp_path.glob("*.safetensors"))
    save_file({key: t.bfloat16() if t.is_floating_point() else t for key, t in load_file(path).items()}, path)
    assert load_model(Odd, tmp_path).layer.weight.dtype == torch.float32
    assert load_model(Odd, tmp_path, torch.float16).layer.weight.dtype == torch.float16


@pytest.mark.parametrize("unfilled", ["buffer", "attribute"])
def test_what_no_file_fills_is_noticed(tmp_path, unfilled):
    odd_folder(tmp_path, unfilled=unfilled)
    with pytest.raises(WeightsError, match=r"layer.mask is not filled by it; give it values where it is built"):
        load_model(Odd, tmp_path)


def test_a_sharded_folder_is_loaded(tmp_path):
    model = randomised(BUILDERS["backbone"]())
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert (tmp_path / "diffusion_pytorch_model.safetensors.index.json").exists()
    loaded = load_model(RasterTransformer, tmp_path)
    assert all(torch.equal(tensor, loaded.state_dict()[key]) for key, tensor in model.state_dict().items())
    next(tmp_path.glob("*-00002-of-*.safetensors")).unlink()
    with pytest.raises(WeightsError, match=r"1 of . shards are missing"):
        load_model(RasterTransformer, tmp_path)


def test_pickled_shards_are_not_taken_for_a_model_folder(tmp_path):
    randomised(BUILDERS["heads"]()).save_pretrained(tmp_path)
    next(tmp_path.glob("*.safetensors")).unlink()
    torch.save({"a": torch.zeros(1)}, tmp_path / "pytorch_model-00001-of-00001.bin")
    index = {"weight_map": {"a": "pytorch_model-00001-of-00001.bin"}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match="is a pickle, which can run code"):
        load_model(TokenHeads, tmp_path)


def test_filling_is_strict():
    with Weightless():
        model = nn.Linear(2, 3)
    weights = Weights.open(WEIGHTS_PATH)
    with pytest.raises(WeightsError, match=r"2 missing keys .bias, weight. and .* unexpected keys"):
        fill(model, weights)
    renamed = weights.renamed(lambda name: {"covered.bias": "bias", "covered.weight": "weight"}.get(name))
    with pytest.raises(WeightsError, match=r"weight has shape \[65, 64\], the configuration needs \[3, 2\]"):
        fill(model, renamed)
    assert model.weight.is_meta


PEAK = """
import sys, torch
from pathlib import Path
from torch import nn
from mmgen.checkpoints.folder import Weightless, fill
from mmgen.checkpoints.weights import Weights

def memory(what):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what + ":"))

def load(path, sizes):
    with Weightless():
        model = nn.ModuleDict({f"layer{i:03d}": nn.Linear(1024, size) for i, size in enumerate(sizes)})
    return fill(model, Weights.open(path), getattr(torch, sys.argv[3]))

load(sys.argv[1], [8])
before = memory("VmRSS")
model = load(sys.argv[2], map(int, sys.argv[4:]))
size = sum(weight.nbytes for weight in model.parameters())
print(size, (memory("VmHWM") - before) / size)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")
@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_peak_memory_is_the_size_of_the_model(tmp_path, ending):
    """Of a file of 200 MB in float32, loaded as bfloat16: many tensors, the last of them a third of it."""
    sizes = [*[1024] * 24, *[256] * 32, 16384]
    write = save_file if ending == "safetensors" else torch.save
    for name, layers in (("small", [8]), ("large", sizes)):
        model = nn.ModuleDict({f"layer{i:03d}": nn.Linear(1024, size) for i, size in enumerate(layers)})
        write(model.state_dict(), tmp_path / f"{name}.{ending}")
    files = [str(tmp_path / f"{name}.{ending}") for name in ("small", "large")]
    words = [sys.executable, "-c", PEAK, *files, "bfloat16", *map(str, sizes)]
    size, ratio = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    assert int(size) > 95e6
    assert 0.9 < float(ratio) < 1.2
