"""What an evaluation takes on top of the cache does not grow with the frames that are written."""

from __future__ import annotations

import torch

from mmgen import decoding
from mmgen.backbones.backbone import Prompt
from mmgen.backbones.raster import RasterTransformer
from mmgen.evaluation.memory import peak_memory
from mmgen.rng import Rng
from mmgen.sampling import Sampling
from mmgen.sessions.raster import RasterSession

FRAMES, AREA, WINDOW = 40, 16, 8


def test_evaluations_of_late_frames_take_no_more_than_those_of_early_ones():
    transformer = RasterTransformer(64, 4, 4, 2, size=32, layers=2, heads=2, hidden_size=64, frames=FRAMES).eval()
    told = Prompt(torch.randn(1, 2, 32, generator=torch.Generator().manual_seed(0)))
    session = RasterSession(transformer, transformer.layout, told, told, Sampling(guidance=1.5))
    steps = decoding.make("jacobi", window=WINDOW).steps(session, Rng([1]))
    peaks: dict[int, int] = {}
    while True:
        step, bytes_taken = peak_memory(lambda: next(steps, None))
        if step is None:
            break
        peaks.setdefault(int(step.committed[0]) // AREA, bytes_taken)
    early, late = peaks[1], peaks[FRAMES - 2]
    # The mask says of every slot whether it is read: four bytes a slot for each row and query, made twice over.
    masks = 2 * 2 * WINDOW * 4 * FRAMES * AREA
    assert late - early <= masks
