"""Recipes of text-to-video pipelines that write frame by frame: hidden codes of fresh moving scenes are foretold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from mmgen.backbones.masked_frames import MaskedFrameTransformer
from mmgen.scenes.motion_encoder import MovingSceneEncoder
from mmgen.scenes.motion_render import FRAMES
from mmgen.tokenizers.causal_patches import CausalPatchVQ
from mmgen.training.captioned import Forward
from mmgen.training.video import SIDE, VideoRecipe

_SEED = 8
_LEAST_TUBE = 0.7
"""Least share of a tube's tokens that are hidden."""


@dataclass(frozen=True, kw_only=True)
class FramesRecipe(VideoRecipe):
    """Makes a text-to-video pipeline that writes frame by frame; see `VideoRecipe`."""

    def loss(self, forward: Forward, transformer: Any, captions: Tensor, tokens: Tensor, step: int) -> Tensor:
        """What the training lowers; see `hidden_token_loss`."""
        return hidden_token_loss(forward, transformer, captions, tokens, step)

    def new_transformer(self, tokenizer: CausalPatchVQ, text_encoder: MovingSceneEncoder) -> MaskedFrameTransformer:
        """A transformer that knows nothing yet."""
        grid = tokenizer.grid(FRAMES, SIDE, SIDE)
        return MaskedFrameTransformer(len(tokenizer.codebook), *grid, text_encoder.length, **self.transformer)


def hidden_token_loss(
    forward: Forward, transformer: MaskedFrameTransformer, captions: Tensor, tokens: Tensor, step: int
) -> Tensor:
    """Mean cross-entropy of tokens that are hidden from the transformer, in nats; see `next_token_loss`."""
    layout, generator = transformer.layout, torch.Generator().manual_seed((_SEED << 32) + step)
    hidden = draw_hidden(len(tokens), layout.frames, layout.frame_length, generator).flatten(1).to(tokens.device)
    logits = forward(captions, tokens.masked_fill(hidden, transformer.mask_token))
    losses = cross_entropy(logits.mT, tokens, reduction="none")
    return (losses * hidden).sum() / hidden.sum().clamp(min=1)


def draw_hidden(clips: int, frames: int, length: int, generator: torch.Generator) -> Tensor:
    """Which tokens a transformer is not shown while it learns to write them: bool [clips, frames, length].

    One clip in two, by chance, hides the same places in all frames, a share of max(0.7, cos(u pi / 2)) with u uniform:
    Lumos-1's "tubes" (Yuan et al. 2025), behind which earlier frames do not give away what stands still. In the other
    clips every frame hides places of its own, a share of cos(u pi / 2), and one frame in two none: while clips are
    drawn, earlier frames are seen whole. The last frame always hides some, as there is none to see it.

    Each place is hidden by chance on its own, so a share is met on average.
    """
    shares = torch.cos(torch.rand(clips, frames, generator=generator) * (math.pi / 2))
    chances = torch.rand(clips, frames, length, generator=generator)
    whole = torch.rand(clips, frames, generator=generator) < 0.5
    whole[:, -1] = False
    tubes = torch.rand(clips, 1, generator=generator) < 0.5
    shares = torch.where(tubes, shares[:, :1].clamp(min=_LEAST_TUBE), shares.masked_fill(whole, 0))
    chances = torch.where(tubes[..., None], chances[:, :1], chances)
    return chances < shares[..., None]
