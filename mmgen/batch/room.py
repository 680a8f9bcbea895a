"""How many items fit into memory at once, found out by trying one and two."""

from __future__ import annotations

import itertools
from typing import Any

import torch

from mmgen.batch.chunks import Chunk
from mmgen.batch.machine import free_memory
from mmgen.evaluation.memory import peak_memory

_EVALUATIONS = 12
"""Enough for every scale of those that draw by scales; others have made room for all tokens with the first."""

_SHARE = 0.5
"""Of the memory that is free; what is rendered, and what operations need for themselves, has the rest."""

MOST_ON_CPU, MOST_ON_GPU = 16, 256
"""More at once makes nothing faster there."""


def items_that_fit(pipe: Any, example: Chunk, device: str, workers: int) -> int:
    """How many items such as these a pipeline may draw at once, 1 or more.

    Measured: what the first evaluations of one item hold, and of two, caches among it.

    Args:
        workers: how many share the machine's memory; a GPU is a worker's own.
    """
    on_gpu = device.startswith("cuda")
    one = peak_memory(lambda: _begin(pipe, example, 1), device)[1]
    two = peak_memory(lambda: _begin(pipe, example, 2), device)[1]
    each = max(two - one, one // 4, 1)
    free = torch.cuda.mem_get_info(device)[0] if on_gpu else free_memory() // workers
    return max(1, min(int(free * _SHARE) // each, MOST_ON_GPU if on_gpu else MOST_ON_CPU))


def _begin(pipe: Any, example: Chunk, items: int) -> None:
    chosen = list(itertools.islice(itertools.cycle(example.items), items))
    prompts, seeds = [item.prompt for item in chosen], [item.seed for item in chosen]
    steps = pipe.draw(prompts, seed=seeds, **example.settings)
    for _ in itertools.islice(steps, _EVALUATIONS):
        pass
    steps.close()
