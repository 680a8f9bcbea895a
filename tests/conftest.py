"""What several test files share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from mmgen.backbones.raster import RasterTransformer

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # each worker has one core,
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # and so have the programs that it starts

GOLDENS = Path(__file__).parents[1] / "../shared/goldens"


@pytest.fixture(scope="session")
def goldens() -> Path:
    """The folder of reference inputs and outputs, which is not part of the project."""
    if not GOLDENS.is_dir():
        pytest.skip(f"needs the goldens in {GOLDENS}")
    return GOLDENS


@pytest.fixture(scope="session")
def tiny_backbone() -> RasterTransformer:
    """A raster transformer of 3 x 4 tokens and 11 codes with random weights, whose laws are far from flat."""
    backbone = RasterTransformer(
        vocabulary_size=11, height=3, width=4, condition_length=2, size=32, layers=2, heads=2, hidden_size=48
    )
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in backbone.parameters():
            if weight.ndim > 1:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.35)
        backbone.head.weight.mul_(0.6)
    return backbone.eval()


@pytest.fixture(scope="session")
def tiny_pipeline():
    """A text-to-image pipeline of 16x16 pixels and 16 tokens, with random weights whose laws are far from flat."""
    from mmgen import decoding
    from mmgen.backbones.raster import RasterTransformer
    from mmgen.pipelines.text_to_image import TextToImagePipeline
    from mmgen.scenes.encoder import SceneEncoder
    from mmgen.tokenizers.patch_vq import PatchVQ

    generator = torch.Generator().manual_seed(0)
    tokenizer = PatchVQ(codebook_size=32, image_size=16, size=16, layers=1, heads=2, hidden_size=32)
    text_encoder = SceneEncoder(size=32)
    transformer = RasterTransformer(32, 4, 4, text_encoder.length, size=32, layers=2, heads=2, hidden_size=64)
    for model in (tokenizer, text_encoder, transformer):
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.data.normal_(0, 0.3, generator=generator)
        model.eval().requires_grad_(False)
    pipe = TextToImagePipeline(
        tokenizer, text_encoder, transformer, decoding.make("jacobi", window=8), {"guidance": 1.5}
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe
