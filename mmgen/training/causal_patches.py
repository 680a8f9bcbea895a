"""Recipe of the video tokenizer: a k-means codebook of the patches of key frames, then the decoder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from mmgen.evaluation.motion import measure_clips
from mmgen.scenes.motion import MOVING_OBJECTS
from mmgen.tokenizers.causal_patches import CausalPatchVQ
from mmgen.training.clips import draw_clips
from mmgen.training.folders import write_model
from mmgen.training.k_means import centres_of, distinct
from mmgen.training.loop import fit
from mmgen.training.recipe import Recipe
from mmgen.training.tokenizer import patch_weights, psnr_of, reconstruction_loss

_PART = 50
"""Clips drawn at once."""


@dataclass(frozen=True, kw_only=True)
class CausalPatchesRecipe(Recipe):
    """Makes a tokenizer of moving scenes.

    Attributes:
        config: of `CausalPatchVQ`.
        clips: moving scenes the codebook is fitted to.
        batch: clips of a step; it sees two key frames of each, and the frames between them.
        measured: held-out moving scenes it is measured on.
    """

    config: dict
    clips: int = 1000
    batch: int = 16
    measured: int = 100

    def run(self, destination: Path, work: Path, device: str, compile: bool, log: Callable[[str], None]) -> None:
        """Trains and writes `destination`; the last line logged says what was measured."""
        torch.manual_seed(0)
        tokenizer = CausalPatchVQ(**self.config)
        checkpoint = work / "decoder.pt"
        if not checkpoint.exists():  # it holds the codebook, too
            log("fitting the codebook")
            fit_patches(tokenizer, MOVING_OBJECTS, self.clips)
        tokenizer.to(device)

        def loss_of_step(step: int) -> Tensor:
            _, clips = draw_clips((2, step), self.batch, MOVING_OBJECTS)
            return reconstruction_loss(tokenizer, _piece(clips, step, tokenizer.frame_stride).to(device))

        fit(tokenizer, loss_of_step, self.budget, checkpoint, log)
        tokenizer.to("cpu")
        write_model(tokenizer, destination)
        log(json.dumps(measure_clip_tokenizer(tokenizer, MOVING_OBJECTS, self.measured)))


def _piece(clips: Tensor, step: int, frame_stride: int) -> Tensor:
    """Two key frames of clips [B, 3, T, H, W] and what is between them, of each training step the next ones."""
    start = frame_stride * (step % (clips.shape[2] // frame_stride))
    return clips[:, :, start : start + frame_stride + 1]


@torch.no_grad()
def fit_patches(
    tokenizer: CausalPatchVQ, objects: Sequence[str], clips: int, iterations: int = 20, seed: int = 0
) -> None:
    """Sets the codebook by k-means over the distinct patches of the key frames of training clips.

    Patches count by the square root of how often they occur, as those of pictures do.
    """
    patches, counts = distinct(_patches(tokenizer, objects, clips, seed))
    generator = torch.Generator().manual_seed(seed)
    centres = centres_of(patches, patch_weights(counts), len(tokenizer.codebook), iterations, generator)
    tokenizer.codebook.data.copy_(centres)


def _patches(tokenizer: CausalPatchVQ, objects: Sequence[str], clips: int, seed: int) -> Iterator[Tensor]:
    for start in range(0, clips, _PART):
        _, drawn = draw_clips((seed, 1, start), min(_PART, clips - start), objects)
        yield tokenizer.to_patches(drawn[:, :, :: tokenizer.frame_stride]).flatten(0, -2)


@torch.no_grad()
def measure_clip_tokenizer(tokenizer: CausalPatchVQ, objects: Sequence[str], clips: int) -> dict[str, Any]:
    """Quality on held-out moving scenes.

    Returns:
        `psnr` and `psnr_of_mean_error`: of whole clips, in dB (range 2, as clips are in [-1, 1]); `psnr_keys` and
        `psnr_between`: of their key frames and of the other frames; `codes_used`: share of the codebook that occurs;
        `changed`: codes of a step that differ from those of the step before; `judge`: what `measure_clips` says of
        what was decoded.
    """
    errors, changed, scenes, shown = [], [], [], []
    used = torch.zeros(len(tokenizer.codebook), dtype=torch.bool)
    for start in range(0, clips, _PART):
        drawn, originals = draw_clips((3, start), min(_PART, clips - start), objects, held_out=True)
        codes = tokenizer.encode(originals)
        decoded = tokenizer.decode(codes)
        used[codes.flatten()] = True
        changed.append((codes[:, :, 1:] != codes[:, :, :-1]).sum((-2, -1)).float().mean())
        errors.append((decoded - originals).square().mean((1, 3, 4)))
        scenes += [staged.scene for staged in drawn]
        shown += list(to_pixels(decoded))
    error = torch.cat(errors)
    keys = torch.arange(error.shape[1]) % tokenizer.frame_stride == 0
    return psnr_of(error.mean(1)) | {
        "psnr_keys": psnr_of(error[:, keys].mean(1))["psnr"],
        "psnr_between": psnr_of(error[:, ~keys].mean(1))["psnr"],
        "codes_used": float(used.float().mean()),
        "changed": float(torch.stack(changed).mean()),
        "judge": measure_clips(shown, scenes).to_dict(),
    }


def to_pixels(clips: Tensor) -> np.ndarray:
    """Clips [B, 3, T, H, W] in [-1, 1] to an array, uint8 [B, T, H, W, 3]."""
    return rearrange((clips * 127.5 + 127.5).round().clamp(0, 255).byte(), "b c t h w -> b t h w c").numpy()
