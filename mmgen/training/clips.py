"""Batches of captioned clips for the recipes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mmgen.scenes.motion import MovingScene
from mmgen.scenes.motion_encoder import MovingSceneEncoder
from mmgen.scenes.motion_render import FRAMES, render_clip, sample_moving_scene
from mmgen.scenes.render import draw_scenes
from mmgen.tokenizers.causal_patches import CausalPatchVQ


def draw_clips(
    seed: tuple[int, ...],
    count: int,
    objects: Sequence[str],
    held_out: bool = False,
    frames: int = FRAMES,
    pairs: float = 0.4,
) -> tuple[list[MovingScene], Tensor]:
    """Draws moving scenes at random and their clips.

    Args:
        seed: decides the batch.
        held_out: draw only combinations kept out of training; otherwise only the others.
        pairs: share of the scenes that have two objects.

    Returns:
        Scenes, and clips [count, 3, frames, 64, 64] in [-1, 1].
    """
    generator = np.random.default_rng(seed)
    scenes = draw_scenes(lambda: sample_moving_scene(generator, objects, pairs), count, held_out)
    return scenes, to_videos([render_clip(scene, generator, frames) for scene in scenes])


@torch.no_grad()
def draw_clip_codes(
    seed: tuple[int, ...],
    count: int,
    text_encoder: MovingSceneEncoder,
    tokenizer: CausalPatchVQ,
    unconditional: float = 0.0,
    held_out: bool = False,
    pairs: float = 0.4,
) -> tuple[Tensor, Tensor]:
    """Draws captioned clips for training.

    Args:
        seed: decides the batch.
        unconditional: share of clips whose caption is dropped, for classifier-free guidance (Ho and
            Salimans 2022); rounded to whole clips of a batch, so 0.1 of 16 is 2.
        held_out: draw only combinations kept out of training; otherwise only the others.
        pairs: share of the clips that have two objects.

    Returns:
        Caption fields int64 [count, P], and codes int64 [count, 1, t, h, w] on the text encoder's device.
    """
    scenes, clips = draw_clips(seed, count, text_encoder.config.objects, held_out, pairs=pairs)
    ids = text_encoder.ids(scenes)
    ids[: round(count * unconditional)] = text_encoder.null_ids(1)
    return ids, tokenizer.encode(clips.to(tokenizer.device)).to(text_encoder.device)


def to_videos(clips: Sequence[np.ndarray]) -> Tensor:
    """uint8 clips [T, H, W, 3] to one tensor [B, 3, T, H, W] in [-1, 1]."""
    stacked = torch.from_numpy(np.stack(clips)).permute(0, 4, 1, 2, 3)
    return stacked.float() / 127.5 - 1
