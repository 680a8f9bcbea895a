"""Models of VAR's kind: the goldens', and tiny random ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from next_scale.official import SIZES_256, write

from mmgen.backbones.next_scale import NextScaleTransformer
from mmgen.checkpoints import var
from mmgen.tokenizers.multi_scale_vq import MultiScaleVQ

SIZES = (1, 2, 3, 4)


def random_model(model: torch.nn.Module, seed: int, spread: float = 0.3) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data.normal_(0, 0.1, generator=generator)
        elif parameter.ndim > 1 and not name.endswith("sharpness"):
            parameter.data.normal_(0, spread, generator=generator)
    return model.eval().requires_grad_(False)


def random_transformer(seed: int, **changes) -> NextScaleTransformer:
    config = {"vocabulary_size": 24, "code_channels": 8, "sizes": SIZES, "size": 32, "layers": 2, "heads": 2}
    return random_model(NextScaleTransformer(**config | {"hidden_size": 64, "classes": 10} | changes), seed)


@pytest.fixture(scope="session")
def tokenizer() -> MultiScaleVQ:
    """24 codes of 8 channels on 4 scales, and pictures of 8x8 pixels."""
    model = MultiScaleVQ(24, 8, channels=32, multipliers=(1, 1), blocks=1, sizes=SIZES)
    model = random_model(model, 3, spread=0.05)
    model.vectors.normal_(0, 1, generator=torch.Generator().manual_seed(4))
    return model


@pytest.fixture(scope="session")
def transformer() -> NextScaleTransformer:
    return random_transformer(1)


@pytest.fixture(scope="session")
def small() -> NextScaleTransformer:
    return random_transformer(2, size=16, layers=1, hidden_size=32)


@pytest.fixture(scope="session")
def shared_files(goldens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the goldens' VAR with shared modulation and five scales, and its tokenizer."""
    folder = tmp_path_factory.mktemp("shared")
    write(folder, goldens, "var_saln", "vae", "vae_ch160v4096z32.pth", (1, 2, 3, 4, 6))
    return write(folder, goldens, "var_saln", "var", "var_d2.pth", (1, 2, 3, 4, 6)).parent


@pytest.fixture(scope="session")
def pair_files(goldens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the goldens' CoDe: a large model, a small one and their tokenizer."""
    folder = tmp_path_factory.mktemp("pair")
    write(folder, goldens, "code", "vae", "vae_ch160v4096z32.pth", SIZES_256)
    write(folder, goldens, "code", "refine", "refiner_8.pth", SIZES_256)
    return write(folder, goldens, "code", "draft", "drafter_8.pth", SIZES_256).parent


@pytest.fixture(scope="session")
def shared_pipeline(shared_files: Path):
    return var.load(shared_files / "var_d2.pth")


@pytest.fixture(scope="session")
def pair_pipeline(pair_files: Path):
    return var.load(pair_files / "drafter_8.pth")
