"""Tiny models of random weights that draw scenes scale by scale."""

from __future__ import annotations

import torch
from torch import nn

from mmgen.backbones.captioned_scales import CaptionedScaleTransformer
from mmgen.decoding import scales
from mmgen.pipelines.text_to_image_scales import TextToImageScalesPipeline
from mmgen.scenes.encoder import SceneEncoder
from mmgen.tokenizers.patch_pyramid import PatchPyramid

SIZES = (1, 2, 4)
COLOURS, PATCHES = 12, 20


def random_weights(model: nn.Module, seed: int, spread: float) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 or name.endswith("bias"):
            parameter.data.normal_(0, spread, generator=generator)
    return model.eval().requires_grad_(False)


def pyramid(sizes: tuple[int, ...] = SIZES) -> PatchPyramid:
    """Pictures of four pixels for each code of the last scale."""
    patches = {"codebook_size": PATCHES, "image_size": 4 * sizes[-1], "size": 16, "layers": 1, "heads": 2}
    return random_weights(PatchPyramid(sizes, COLOURS, patches | {"hidden_size": 32}), 0, 0.4)


def captioned(seed: int, sizes: tuple[int, ...] = SIZES, **changes) -> CaptionedScaleTransformer:
    """A transformer whose laws are far from flat."""
    config = {"vocabulary_size": COLOURS + PATCHES, "coarse_codes": COLOURS, "size": 32, "layers": 2, "heads": 2}
    return random_weights(CaptionedScaleTransformer(sizes=sizes, hidden_size=48, **config | changes), seed, 0.3)


def scene_pipeline(sizes: tuple[int, ...] = SIZES) -> TextToImageScalesPipeline:
    """A pipeline with a draft model of half the channels."""
    draft = captioned(3, sizes, size=16, layers=1, condition_size=32)
    parts = pyramid(sizes), random_weights(SceneEncoder(size=32), 1, 0.5), captioned(2, sizes)
    made = TextToImageScalesPipeline(*parts, scales.make("scale-wise"), {"guidance": 2.0}, draft=draft)
    made.set_progress_bar_config(disable=True)
    return made
