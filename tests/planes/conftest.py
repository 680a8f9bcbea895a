"""Models of planes: the goldens', and tiny random ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmgen.backbones.backbone import Prompt
from mmgen.backbones.neighbour import NeighbourTransformer
from mmgen.checkpoints import nar


def random_transformer(seed: int = 1, **changes: object) -> NeighbourTransformer:
    """A transformer of a 3 x 4 grid and 11 codes with random weights, whose laws are far from flat."""
    config = {"vocabulary_size": 11, "sizes": (3, 4), "size": 32, "layers": 2, "heads": 2, "hidden_size": 48}
    model = NeighbourTransformer(**config | {"classes": 5} | changes)
    generator = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        if weight.ndim > 1:
            weight.data.normal_(0, 0.3, generator=generator)
    return model.eval().requires_grad_(False)


def class_prompts(model: NeighbourTransformer, labels: torch.Tensor) -> tuple[Prompt, Prompt]:
    prompts = model.class_prompt(labels), model.class_prompt(torch.full_like(labels, model.config.classes))
    if not model.config.told:
        return prompts
    told = torch.randn(5, model.layout.length + 1, 32, generator=torch.Generator().manual_seed(6))[labels]
    return tuple(
        Prompt(torch.cat((prompt.embeddings, told * sign), 1)) for prompt, sign in zip(prompts, (1, -1), strict=True)
    )


@pytest.fixture(scope="session")
def transformer() -> NeighbourTransformer:
    return random_transformer()


@pytest.fixture(scope="session")
def video_transformer() -> NeighbourTransformer:
    """One of 2 frames of 2 x 3 codes, with learned positions."""
    return random_transformer(2, sizes=(2, 2, 3), positions="learned")


@pytest.fixture(scope="session")
def told_transformer() -> NeighbourTransformer:
    """One that is told something at every place."""
    return random_transformer(3, told=True)


@pytest.fixture(scope="session")
def nar_goldens(goldens: Path) -> Path:
    return goldens / "nar"


@pytest.fixture(scope="session")
def picture_model(nar_goldens: Path) -> NeighbourTransformer:
    """The goldens' transformer of pictures, of 4 x 4 codes."""
    return nar.load_transformer(nar_goldens / "image_c2i.pt", heads=4, sizes=(4, 4))


@pytest.fixture(scope="session")
def video_model(nar_goldens: Path) -> NeighbourTransformer:
    """The goldens' transformer of videos, of 2 x 4 x 4 codes."""
    return nar.load_transformer(nar_goldens / "video_ar.pt", heads=4, sizes=(2, 4, 4))
