"""Recipe of the image tokenizer: a k-means codebook of patches, then the decoder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mmgen.scenes.objects import CHARACTERS
from mmgen.tokenizers.patch_vq import PatchVQ
from mmgen.training.folders import write_model
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
    generator = torch.Generator().manual_seed(seed)
    counted: dict[str, list[Tensor]] = {"patches": [], "counts": []}
    for start in range(0, pictures, 1000):
        _, images = draw_batch((seed, 1, start), min(1000, pictures - start), objects)
        patches = tokenizer.to_patches(images).flatten(0, 1)
        patches, counts = patches.unique(dim=0, return_counts=True)
        counted["patches"].append(patches)
        counted["counts"].append(counts)
    patches, index = torch.cat(counted["patches"]).unique(dim=0, return_inverse=True)
    counts = torch.zeros(len(patches)).index_add_(0, index, torch.cat(counted["counts"]).float())
    weights = counts.sqrt().clamp(max=50)
    size = tokenizer.config.codebook_size
    centers = patches[torch.multinomial(weights, size, generator=generator)].clone()
    for _ in range(iterations):
        nearest = torch.cat([_nearest(chunk, centers) for chunk in patches.split(65536)])
        total = torch.zeros_like(centers).index_add_(0, nearest, patches * weights[:, None])
        weight = torch.zeros(size).index_add_(0, nearest, weights)
        empty = weight == 0
        errors = (patches - centers[nearest]).square().sum(-1) * weights
        centers = torch.where(empty[:, None], centers, total / weight.clamp(min=1e-9)[:, None])
        if empty.any():
            centers[empty] = patches[torch.multinomial(errors, int(empty.sum()), generator=generator)]
    tokenizer.codebook.data.copy_(centers)


def _nearest(patches: Tensor, centers: Tensor) -> Tensor:
    return (centers.square().sum(-1) - 2 * patches @ centers.T).argmin(-1)


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
        with torch.no_grad():
            codes = tokenizer.encode(images)
        error = tokenizer.decode(codes) - images
        return error.square().mean() + 0.1 * error.abs().mean()

    fit(tokenizer, loss_of_step, budget, checkpoint, log)


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
    error = torch.cat(errors) / 4
    return {
        "psnr": float((-10 * error.log10()).mean()),
        "psnr_of_mean_error": float(-10 * error.mean().log10()),
        "codes_used": float(used.float().mean()),
    }
