"""What several test files share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from mmgen.backbones.raster import RasterTransformer


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
    return backbone.eval()
