"""Best of N: several pictures of each prompt, and a scorer that chooses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image

from mmgen.errors import OptionError, WeightsError
from mmgen.pipelines.output import ImageOutput, Statistics
from mmgen.pipelines.raster import RasterPipeline


class Scorer(Protocol):
    """Says how good pictures are."""

    def __call__(self, images: list[Image.Image], prompts: list[str]) -> list[float]:
        """One number for each picture, given with its prompt; more is better."""


@dataclass
class BestOutput(ImageOutput):
    """The best picture of each prompt, and what is known of all that were drawn.

    Attributes:
        images: PIL pictures, one for each prompt.
        statistics: of every picture drawn, those that were not chosen among them: `count` for each prompt, prompts in
            order. Any of them can be drawn again with its seed.
        scores: one for each of `statistics`.
        chosen: the index in `statistics` of each of `images`.
    """

    scores: list[float]
    chosen: list[int]

    @property
    def evaluations(self) -> int:
        """Evaluations of the model that all the pictures took part in."""
        return sum(one.evaluations for one in self.statistics)


def best_of(
    pipe: RasterPipeline, prompt: str | Sequence[str], count: int, scorer: Scorer, **settings: Any
) -> BestOutput:
    """Draws `count` pictures of each prompt, all in one batch, and keeps the one that scores best.

    The simplest inference-time scaling: better pictures for more evaluations, as Lumina-mGPT 2.0 (Xin et al. 2025)
    is used. Candidates are ordinary draws; what is chosen no longer follows the model's law, whatever the decoder.

    Args:
        pipe: draws the pictures.
        prompt: one, or a list of them.
        count: pictures of each prompt to choose from, 1 to 256.
        scorer: says how good a picture is, such as `ClipScorer`; the first of equals is kept.
        settings: of the call: `seed`, `decoder`, `guidance` and so on. Candidates take seed, seed + 1, ...

    Raises:
        OptionError: `count` is out of range, a setting is decided here, or a score is missing or no number.
    """
    if type(count) is not int or not 1 <= count <= 256:
        raise OptionError("count", count, "a whole number from 1 to 256")
    for name in ("num_images_per_prompt", "output_type", "return_dict"):
        if name in settings:
            raise OptionError(name, settings[name], "left out: best_of decides it")
    drawn = pipe(prompt, num_images_per_prompt=count, **settings)
    assert isinstance(drawn, ImageOutput)
    scores = _scores(scorer, drawn.images, drawn.statistics)
    starts = range(0, len(scores), count)
    chosen = [max(range(start, start + count), key=scores.__getitem__) for start in starts]
    return BestOutput([drawn.images[index] for index in chosen], drawn.statistics, scores, chosen)


def _scores(scorer: Scorer, images: list[Image.Image], statistics: list[Statistics]) -> list[float]:
    scores = [float(score) for score in scorer(images, [one.prompt for one in statistics])]
    if len(scores) != len(images) or any(math.isnan(score) for score in scores):
        raise OptionError("scorer", f"scores {scores[:8]}", f"{len(images)} numbers, one for each picture")
    return scores


class ClipScorer:
    """How well pictures fit their prompts: the cosine of their CLIP embeddings (Radford et al. 2021), -1 to 1.

    As in CLIPScore (Hessel et al. 2021), without its factor 2.5, which changes no choice. What a prompt says beyond
    the length CLIP reads, 77 tokens, is not seen.

    Args:
        folder: CLIP in transformers' format, with safetensors.
        device: where it runs.
        batch: pictures it reads at once.

    Raises:
        WeightsError: the folder does not hold one.
    """

    def __init__(self, folder: str | Path, device: torch.device | str = "cpu", batch: int = 32) -> None:
        from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

        try:
            model = CLIPModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
            self._images = CLIPImageProcessor.from_pretrained(folder, local_files_only=True)
            self._texts = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise WeightsError(folder, f"does not hold CLIP ({error})", "give a complete folder") from error
        self._model = model.eval().requires_grad_(False).to(device)
        self._batch = batch

    @torch.no_grad()
    def __call__(self, images: list[Image.Image], prompts: list[str]) -> list[float]:
        """Cosines of pictures and prompts, one for each pair."""
        scores: list[float] = []
        for start in range(0, len(images), self._batch):
            part = slice(start, start + self._batch)
            scores += self._cosines(images[part], prompts[part])
        return scores

    def _cosines(self, images: list[Image.Image], prompts: list[str]) -> list[float]:
        device = self._model.device
        pixels = self._images(images=images, return_tensors="pt").to(device)
        words = self._texts(
            prompts, padding=True, truncation=True, max_length=self._model.config.text_config.max_position_embeddings,
            return_tensors="pt",
        ).to(device)  # fmt: skip
        output = self._model(**pixels, **words)
        return torch.cosine_similarity(output.image_embeds, output.text_embeds).tolist()
