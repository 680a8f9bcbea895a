"""The recipe of the tokenizer of scales: the colours of its coarse ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmgen.scenes.objects import CHARACTERS
from mmgen.tokenizers.patch_pyramid import PatchPyramid
from mmgen.training.folders import write_model
from mmgen.training.k_means import centres_of, distinct
from mmgen.training.pictures import draw_batch
from mmgen.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class PyramidRecipe(Recipe):
    """Makes the tokenizer of scales: fits the colours of its coarse scales to scenes; the patches are shipped.

    A step of its budget is an iteration of k-means.

    Attributes:
        patches: name of the tokenizer of patches.
        sizes: codes of a side, for every scale.
        colours: how many all scales but the last have.
        pictures: scenes the colours are fitted to.
        measured: held-out scenes they are measured on.
    """

    patches: str
    sizes: tuple[int, ...]
    colours: int
    pictures: int = 4000
    measured: int = 400

    def run(self, destination: Path, work: Path, device: str, compile: bool, log: Callable[[str], None]) -> None:
        """Fits and writes `destination`; the last line logged says what was measured."""
        from mmgen.pipelines.loading import load

        patches = load(self.patches)
        config = {name: value for name, value in patches.config.items() if not name.startswith("_")}
        tokenizer = PatchPyramid(self.sizes, self.colours, config)
        tokenizer.patch_vq.load_state_dict(patches.state_dict())
        objects = tuple(CHARACTERS)
        fit_colours(tokenizer, objects, self.pictures, self.budget.steps)
        write_model(tokenizer, destination)
        log(json.dumps(measure_pyramid(tokenizer, objects, self.measured)))


@torch.no_grad()
def fit_colours(tokenizer: PatchPyramid, objects: Sequence[str], pictures: int, iterations: int, seed: int = 0) -> None:
    """Sets the colours by k-means over the means of all cells of coarse scales.

    Means, rounded to 256 steps, count by the square root of how often they occur, as patches do.
    """
    _, images = draw_batch((seed, 11), pictures, objects)
    means = torch.cat([tokenizer.means(images, size).flatten(0, 2) for size in tokenizer.layout.sizes[:-1]])
    colours, counts = distinct([means.mul(128).round().div(128)])
    generator = torch.Generator().manual_seed(seed)
    tokenizer.palette.data.copy_(centres_of(colours, counts.sqrt(), len(tokenizer.palette), iterations, generator))


@torch.no_grad()
def measure_pyramid(tokenizer: PatchPyramid, objects: Sequence[str], pictures: int) -> dict[str, Any]:
    """Quality on held-out scenes.

    Returns:
        `psnr`: mean peak signal-to-noise ratio of a picture after each scale, in dB (range 2); `codes_used`: how many
        codes occur at each scale.
    """
    _, images = draw_batch((3, 11), pictures, objects, held_out=True)
    lines, psnr = tokenizer.encode(images), []
    for end in tokenizer.layout.ends:
        errors = (tokenizer.decode(lines[:, :end]) - images).square().flatten(1).mean(1) / 4
        psnr.append(float((-10 * errors.log10()).mean()))
    used = [len(codes.unique()) for codes in tokenizer.layout.unflatten(lines)]
    return {"psnr": psnr, "codes_used": used}
