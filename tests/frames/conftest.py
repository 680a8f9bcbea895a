"""A transformer of 3 frames of 2 x 3 tokens and 11 codes with random weights, whose laws are far from flat."""

from __future__ import annotations

import pytest
from frames.tiny import spread

from mmgen.backbones.masked_frames import MaskedFrameTransformer


@pytest.fixture(scope="session")
def transformer() -> MaskedFrameTransformer:
    return spread(MaskedFrameTransformer(11, 3, 2, 3, 2, size=32, layers=2, heads=2, hidden_size=48))
