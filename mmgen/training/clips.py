"""Batches of captioned clips for the recipes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mmgen.scenes.motion import StagedScene
from mmgen.scenes.motion_encoder import MovingSceneEncoder, StoryboardEncoder
from mmgen.scenes.motion_render import FRAMES, render_staged, sample_moving_scene, stage
from mmgen.scenes.render import draw_scenes
from mmgen.tokenizers.causal_patches import CausalPatchVQ

_UNSAID = 8
"""Of so many clips one does not say where things start, to encoders that are told."""


def draw_clips(
    seed: tuple[int, ...],
    count: int,
    objects: Sequence[str],
    held_out: bool = False,
    frames: int = FRAMES,
    pairs: float = 0.4,
) -> tuple[list[StagedScene], Tensor]:
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
    staged = [stage(scene, generator) for scene in scenes]
    return staged, to_videos([render_staged(own, frames) for own in staged])


@torch.no_grad()
def draw_clip_codes(
    seed: tuple[int, ...],
    count: int,
    text_encoder: MovingSceneEncoder,
    tokenizer: CausalPatchVQ,
    unconditional: float = 0.0,
    pairs: float = 0.4,
) -> tuple[Tensor, Tensor]:
    """Draws captioned clips for training.

    Args:
        seed: decides the batch.
        unconditional: share of clips whose caption is dropped, for classifier-free guidance (Ho and
            Salimans 2022); rounded to whole clips of a batch, so 0.1 of 16 is 2.
        pairs: share of the clips that have two objects.

    Returns:
        Caption fields int64 [count, P], and codes int64 [count, 1, t, h, w] on the text encoder's device.
    """
    scenes, clips = draw_clips(seed, count, text_encoder.config.objects, pairs=pairs)
    told = isinstance(text_encoder, StoryboardEncoder)
    ids = text_encoder.ids(
        [scene if told and (index + 1) % _UNSAID else scene.scene for index, scene in enumerate(scenes)]
    )
    ids[: round(count * unconditional)] = text_encoder.null_ids(1)
    return ids, tokenizer.encode(clips.to(tokenizer.device)).to(text_encoder.device)


def to_videos(clips: Sequence[np.ndarray]) -> Tensor:
    """uint8 clips [T, H, W, 3] to one tensor [B, 3, T, H, W] in [-1, 1]."""
    stacked = torch.from_numpy(np.stack(clips)).permute(0, 4, 1, 2, 3)
    return stacked.float() / 127.5 - 1
