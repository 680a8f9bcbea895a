"""How often the drafts of a companion model would be kept: the overlap of its laws with the backbone's."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor

from mmgen.backbones.heads import TokenHeads
from mmgen.backbones.raster import RasterTransformer
from mmgen.evaluation.adherence import held_out_scenes
from mmgen.pipelines.text_to_image import TextToImagePipeline
from mmgen.sampling import Sampling

_ROWS = 16
"""Pictures of one forward pass."""


def overlap(p: Tensor, q: Tensor) -> Tensor:
    """Probability [...] that speculative sampling keeps a draft of law q [..., V] where p is wanted: sum of min(p, q).

    Leviathan et al. 2023, theorem 3.5.
    """
    return torch.minimum(p, q).sum(-1)


@torch.no_grad()
def measure_draft(draft: RasterTransformer, pipe: TextToImagePipeline, pictures: int = 64) -> float:
    """Mean overlap of a draft model's laws with the backbone's along pictures that the pipeline drew."""
    sampling = Sampling(**pipe.config.sampling)
    kept = [
        overlap(
            sampling.probabilities(*(pipe.transformer.teacher_forced(side, tokens) for side in sides)),
            sampling.probabilities(*(draft.teacher_forced(side, tokens) for side in sides)),
        )
        for *sides, tokens in draw_held_out(pipe, pictures)
    ]
    return float(torch.cat(kept).mean())


@torch.no_grad()
def measure_heads(heads: TokenHeads, pipe: TextToImagePipeline, pictures: int = 64) -> list[float]:
    """Mean overlap of each head's laws with the backbone's, where all drafts before it were kept."""
    sampling = Sampling(**pipe.config.sampling)
    kept: list[list[Tensor]] = [[] for _ in range(heads.depths)]
    for *sides, tokens in draw_held_out(pipe, pictures):
        features = [pipe.transformer.teacher_forced_features(side, tokens) for side in sides]
        wanted = sampling.probabilities(*(pipe.transformer.head(side) for side in features))
        for depth in range(1, heads.depths + 1):
            drafts = (heads.teacher_forced(pipe.transformer, side, depth, tokens) for side in features)
            kept[depth - 1].append(overlap(wanted[:, depth:], sampling.probabilities(*drafts)))
    return [float(torch.cat(values).mean()) for values in kept]


def draw_held_out(pipe: TextToImagePipeline, pictures: int) -> Iterator[list[Tensor]]:
    """Draws pictures of captions kept out of training, at the pipeline's defaults.

    Yields:
        For some pictures at a time, the conditions [R, P, C] that guidance compares (the caption's, and that of
        no caption), then the tokens int64 [R, N].
    """
    encoder = pipe.text_encoder
    prompts = [encoder.grammar.describe(scene) for scene in held_out_scenes(pictures, 0, encoder.config.objects)]
    for start in range(0, pictures, _ROWS):
        some = prompts[start : start + _ROWS]
        seeds = list(range(start, start + len(some)))
        generation = deque(pipe.draw(some, seed=seeds), maxlen=1).pop().generation
        assert generation is not None
        conditions = [encoder.encode(some)]
        if Sampling(**pipe.config.sampling).guided:
            conditions.append(encoder(encoder.null_ids(len(some))))
        yield [*conditions, generation.tokens]
