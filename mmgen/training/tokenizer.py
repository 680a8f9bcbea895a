"""Recipe of the image tokenizer: a k-means codebook of patches, then the decoder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mmgen.scenes.objects import CHARACTERS
from mmgen.tokenizers.causal_patches import CausalPatchVQ
from mmgen.tokenizers.patch_vq import PatchVQ
from mmgen.training.folders import write_model
from mmgen.training.k_means import centres_of, distinct
from mmgen.training.loop import Budget, fit
from mmgen.training.pictures import draw_batch
from mmgen.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class TokenizerRecipe(Recipe):
    """Makes an image tokenizer of scenes.

    Attributes:
        config: of `PatchVQ`.
        pictures: scenes the codebook is fitted to.
        batch: pictures of a step.
    """

    config: dict
    pictures: int = 30_000
    batch: int = 16

    def run(self, destination: Path, work: Path, device: str, compile: bool, log: Callable[[str], None]) -> None:
        """Trains and writes `destination`; the last line logged says what was measured."""
        torch.manual_seed(0)
        tokenizer, objects = PatchVQ(**self.config), tuple(CHARACTERS)
        codebook = work / "codebook.pt"
        if codebook.exists():
            tokenizer.codebook.data.copy_(torch.load(codebook, weights_only=True))
        else:
            log("fitting the codebook")
            fit_codebook(tokenizer, objects, self.pictures)
            work.mkdir(parents=True, exist_ok=True)
            torch.save(tokenizer.codebook.data, codebook)
        tokenizer.to(device)
        train_decoder(tokenizer, objects, self.budget, work / "decoder.pt", self.batch, log)
        write_model(tokenizer, destination)
        log(json.dumps(measure_tokenizer(tokenizer, objects)))


def fit_codebook(
    tokenizer: PatchVQ, objects: Sequence[str], pictures: int = 30_000, iterations: int = 20, seed: int = 0
) -> None:
    """Sets the codebook by k-means over the distinct patches of training pictures.

    Patches count by the square root of how often they occur, so that flat backgrounds take one code
    each. A centre that loses all its patches moves to one that is badly served.
    """
    patches, counts = distinct(_patches(tokenizer, objects, pictures, seed))
    generator = torch.Generator().manual_seed(seed)
    centres = centres_of(patches, patch_weights(counts), tokenizer.config.codebook_size, iterations, generator)
    tokenizer.codebook.data.copy_(centres)


def _patches(tokenizer: PatchVQ, objects: Sequence[str], pictures: int, seed: int) -> Iterator[Tensor]:
    for start in range(0, pictures, 1000):
        _, images = draw_batch((seed, 1, start), min(1000, pictures - start), objects)
        yield tokenizer.to_patches(images).flatten(0, 1)


def patch_weights(counts: Tensor) -> Tensor:
    """How much patches count that occur so often: [M]."""
    return counts.sqrt().clamp(max=50)


def train_decoder(
    tokenizer: PatchVQ,
    objects: Sequence[str],
    budget: Budget,
    checkpoint: Path,
    batch: int = 16,
    log: Callable[[str], None] = print,
) -> None:
    """Trains the decoder on squared and absolute error, the codebook fixed."""

    def loss_of_step(step: int) -> Tensor:
        _, images = draw_batch((2, step), batch, objects)
        return reconstruction_loss(tokenizer, images)

    fit(tokenizer, loss_of_step, budget, checkpoint, log)


def reconstruction_loss(tokenizer: PatchVQ | CausalPatchVQ, media: Tensor) -> Tensor:
    """Squared and absolute error of what comes back of pictures or clips, the codes fixed."""
    with torch.no_grad():
        codes = tokenizer.encode(media)
    error = tokenizer.decode(codes) - media
    return error.square().mean() + 0.1 * error.abs().mean()


@torch.no_grad()
def measure_tokenizer(tokenizer: PatchVQ, objects: Sequence[str], pictures: int = 1000) -> dict[str, float]:
    """Quality on held-out scenes.

    Returns:
        `psnr`: mean peak signal-to-noise ratio of a picture, in dB (range 2, as pictures are in [-1, 1]);
        `psnr_of_mean_error`: that of the mean error; `codes_used`: share of the codebook that occurs.
    """
    errors, used = [], torch.zeros(tokenizer.config.codebook_size, dtype=torch.bool)
    for start in range(0, pictures, 100):
        _, images = draw_batch((3, start), 100, objects, held_out=True)
        codes = tokenizer.encode(images)
        used[codes.flatten()] = True
        errors.append((tokenizer.decode(codes) - images).square().flatten(1).mean(1))
    return psnr_of(torch.cat(errors)) | {"codes_used": float(used.float().mean())}


def psnr_of(errors: Tensor) -> dict[str, float]:
    """Peak signal-to-noise ratios in dB of mean squared errors [B], each of a picture or clip in [-1, 1]."""
    errors = errors / 4
    return {"psnr": float((-10 * errors.log10()).mean()), "psnr_of_mean_error": float(-10 * errors.mean().log10())}
