"""Batches of captioned scenes for the recipes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mmgen.scenes.encoder import SceneEncoder
from mmgen.scenes.grammar import Scene
from mmgen.scenes.render import draw_scenes, render, sample_scene
from mmgen.tokenizers.patch_vq import PatchVQ


def draw_batch(
    seed: tuple[int, ...], count: int, objects: Sequence[str], held_out: bool = False
) -> tuple[list[Scene], Tensor]:
    """Draws scenes at random and their pictures.

    Args:
        seed: decides the batch.
        held_out: draw only combinations kept out of training; otherwise only the others.

    Returns:
        Scenes, and pictures [count, 3, 64, 64] in [-1, 1].
    """
    generator = np.random.default_rng(seed)
    scenes = draw_scenes(lambda: sample_scene(generator, objects), count, held_out)
    return scenes, to_images([render(scene, generator) for scene in scenes])


@torch.no_grad()
def draw_lines(
    seed: tuple[int, ...], count: int, text_encoder: SceneEncoder, tokenizer: PatchVQ, unconditional: float
) -> tuple[Tensor, Tensor]:
    """Draws captioned scenes for training as a backbone reads them.

    Args:
        seed: decides the batch.
        unconditional: share of pictures whose caption is dropped, for classifier-free guidance (Ho and
            Salimans 2022); rounded to whole pictures of a batch, so 0.1 of 16 is 2.

    Returns:
        Caption fields int64 [count, P], and tokens int64 [count, N] on the text encoder's device.
    """
    scenes, images = draw_batch(seed, count, text_encoder.config.objects)
    ids = text_encoder.ids(scenes)
    ids[: round(count * unconditional)] = text_encoder.null_ids(1)
    codes = tokenizer.encode(images.to(tokenizer.device))
    return ids, tokenizer.layout.flatten(codes).to(text_encoder.device)


def to_images(pictures: Sequence[np.ndarray]) -> Tensor:
    """uint8 pictures [H, W, 3] to one tensor [B, 3, H, W] in [-1, 1]."""
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return stacked.float() / 127.5 - 1
