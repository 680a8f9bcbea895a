"""Recipes of pictures that are written scale by scale: the transformer and its small companion."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from mmgen.backbones.captioned_scales import CaptionedScaleTransformer
from mmgen.pipelines.text_to_image_scales import TextToImageScalesPipeline
from mmgen.scenes.encoder import SceneEncoder
from mmgen.scenes.render import render
from mmgen.tokenizers.patch_pyramid import PatchPyramid
from mmgen.training.captioned import CaptionedRecipe, Forward, fit_captioned
from mmgen.training.folders import write_model
from mmgen.training.loop import Budget
from mmgen.training.pictures import draw_batch, to_images
from mmgen.training.recipe import Recipe

_DISTURBED = 0.4
"""Share of a picture's coarse codes that are disturbed at most."""
_NEAR = 6
"""Colours that count as near to one."""


@dataclass(frozen=True, kw_only=True)
class ScalesRecipe(CaptionedRecipe):
    """Makes a next-scale text-to-image pipeline.

    A small companion that stands in its folder belongs to the text encoder before: remake it after it.

    Attributes:
        pictures: held-out scenes it is measured on.
    """

    pictures: int = 128

    def trainer(self) -> Callable[..., None]:
        """What trains both in place: see `train_scales`."""
        return train_scales

    def new_transformer(self, tokenizer: PatchPyramid, text_encoder: SceneEncoder) -> CaptionedScaleTransformer:
        """A transformer that knows nothing yet."""
        return CaptionedScaleTransformer(**shape(tokenizer), **self.transformer)

    def measure(self, pipe: TextToImageScalesPipeline) -> dict[str, Any]:
        """The losses of each scale; see `losses_of_scales`."""
        return {"losses": losses_of_scales(pipe.transformer, pipe.text_encoder, pipe.tokenizer, self.pictures)}


@dataclass(frozen=True, kw_only=True)
class SmallScalesRecipe(Recipe):
    """Makes the small transformer to which a next-scale pipeline may hand over (CoDe, Chen et al. 2025).

    It reads the captions as the pipeline's own text encoder embeds them, and learns to write the scales from `first`
    on alone, as the authors' small model is trained on those that it is to write.

    Attributes:
        pipeline: name or folder of the pipeline.
        first: the first scale that it learns to write.
        transformer: configuration of `CaptionedScaleTransformer`, but for what the pipeline decides.
        batch: pictures of a step.
        pictures: held-out scenes it is measured on.
    """

    pipeline: str
    transformer: dict
    first: int = 0
    batch: int = 16
    pictures: int = 128

    trained = ("draft",)

    def run(self, destination: Path, work: Path, device: str, compile: bool, log: Callable[[str], None]) -> None:
        """Trains and writes `destination`; the last line logged says what was measured."""
        from mmgen.pipelines.loading import load

        torch.manual_seed(1)
        pipe = load(self.pipeline, draft=None).to(device)
        given = {"condition_size": pipe.text_encoder.config.size}
        small = CaptionedScaleTransformer(**shape(pipe.tokenizer), **given, **self.transformer).to(device)
        self.begin(small)
        train_scales(
            small, pipe.text_encoder, pipe.tokenizer, self.budget, work / "backbone.pt", self.batch, compile, log,
            seed=5, first=self.first,
        )  # fmt: skip
        write_model(small, destination, torch.float16)
        log(json.dumps({"losses": losses_of_scales(small, pipe.text_encoder, pipe.tokenizer, self.pictures)}))


def shape(tokenizer: PatchPyramid) -> dict[str, Any]:
    """What a tokenizer decides of a transformer's configuration."""
    finest = tokenizer.codes_of(len(tokenizer.layout.sizes) - 1)
    return {
        "vocabulary_size": finest.stop,
        "coarse_codes": finest.start,
        "code_channels": 3 * tokenizer.stride**2,
        "sizes": tokenizer.layout.sizes,
    }


def train_scales(
    transformer: CaptionedScaleTransformer,
    text_encoder: SceneEncoder,
    tokenizer: PatchPyramid,
    budget: Budget,
    checkpoint: Path,
    batch: int = 16,
    compile: bool = False,
    log: Callable[[str], None] = print,
    seed: int = 4,
    unconditional: float = 0.1,
    first: int = 0,
) -> None:
    """Trains a transformer, and the text encoder with it unless that is frozen. No picture is seen twice.

    In the loss a scale counts as the number of its codes along a side: the last of ours, with three quarters of the
    tokens, for half. What coarse scales get wrong, finer ones cannot mend.

    Args:
        compile: as for `fit_captioned`.
        seed: decides the pictures, together with the number of the step.
        unconditional: share of pictures whose caption is dropped, for classifier-free guidance, in whole pictures.
        first: the first scale whose tokens count in the loss.
    """
    levels = tokenizer.layout.levels()
    weights = (levels >= first) / torch.tensor(tokenizer.layout.sizes)[levels]
    weights = weights.to(transformer.device)

    def loss_of_step(forward: Forward, step: int) -> Tensor:
        generator = torch.Generator().manual_seed((seed << 32) + step)
        lines = _draw_lines((seed, step), batch, text_encoder, tokenizer, unconditional, generator)
        ids, tokens, inputs = (part.to(transformer.device) for part in lines)
        shown = hide(tokens, tokenizer, generator)
        losses = token_losses(forward(text_encoder(ids), inputs, shown), tokens, tokenizer) * weights
        hidden = shown < 0
        return losses[hidden].sum() / (hidden * weights).sum()

    fit_captioned(transformer, text_encoder, loss_of_step, budget, checkpoint, compile, log)


@torch.no_grad()
def _draw_lines(
    seed: tuple[int, ...],
    count: int,
    text_encoder: SceneEncoder,
    tokenizer: PatchPyramid,
    unconditional: float = 0.0,
    disturbance: torch.Generator | None = None,
    held_out: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Caption fields int64 [count, P], tokens int64 [count, N], and what is read to write them [count, N - 1, C].

    With a `disturbance`, what is read is that of disturbed tokens.
    """
    scenes, images = draw_batch(seed, count, text_encoder.config.objects, held_out)
    ids = text_encoder.ids(scenes)
    ids[: round(count * unconditional)] = text_encoder.null_ids(1)
    tokens = tokenizer.encode(images.to(tokenizer.device))
    if disturbance is None:
        return ids, tokens, tokenizer.next_inputs(tokens)
    again = np.random.default_rng((*seed, 1))
    twins = to_images([render(scene, again) for scene in scenes])
    disturbed = disturb(tokens, tokenizer.encode(twins.to(tokenizer.device)), tokenizer, disturbance)
    return ids, tokens, tokenizer.next_inputs(disturbed)


def disturb(tokens: Tensor, twins: Tensor, tokenizer: PatchPyramid, generator: torch.Generator) -> Tensor:
    """Tokens int64 [B, N] with faults in their coarse scales, as a transformer makes them when it draws.

    The codes of a scale are drawn independently, so some of them suit another picture of the same caption, and some
    have a colour that is nearly right. A model that has only seen true codes does not go on well from those: Infinity
    (Han et al. 2025, "bitwise self-correction") turns bits of the scales before at random; here a share of the codes,
    none in half of the pictures, are those of another picture of the caption or of a near colour.

    Args:
        twins: tokens of other pictures of the same captions.
    """
    line, palette = tokenizer.layout, tokenizer.palette.cpu()
    shares = (torch.rand(len(tokens), 1, generator=generator) * 2 - 1) * _DISTURBED
    chosen = torch.rand(tokens.shape, generator=generator) < shares
    chosen &= line.levels() < len(line.sizes) - 1
    near = torch.cdist(palette, palette).argsort()[:, 1 : 1 + _NEAR]
    picked = torch.randint(near.shape[1], tokens.shape, generator=generator)
    other = near[tokens.cpu().clamp(max=len(palette) - 1), picked]
    other = torch.where(torch.rand(tokens.shape, generator=generator) < 0.5, other, twins.cpu())
    return torch.where(chosen, other, tokens.cpu()).to(tokens.device)


def hide(tokens: Tensor, tokenizer: PatchPyramid, generator: torch.Generator) -> Tensor:
    """Tokens int64 [B, N] with -1 for those a transformer is not shown while it learns to write them.

    Of half of the coarse scales a random share is shown, as to masked image models (Chang et al. 2022, "MaskGIT"); of
    the others, and of the last scale of all, nothing.
    """
    line = tokenizer.layout
    shares = torch.rand(len(tokens), len(line.sizes), generator=generator) * 2 - 1
    shares[:, -1] = 0
    chosen = torch.rand(tokens.shape, generator=generator) < shares[:, line.levels()]
    return torch.where(chosen.to(tokens.device), tokens, -1)


def token_losses(logits: Tensor, tokens: Tensor, tokenizer: PatchPyramid) -> Tensor:
    """Cross-entropy of each token among the codes its scale may have, in nats.

    Args:
        logits: [B, N, V].
        tokens: int64 [B, N].

    Returns:
        [B, N].
    """
    losses = []
    for scale in range(len(tokenizer.layout.sizes)):
        span, codes = tokenizer.layout.span(range(scale, scale + 1)), tokenizer.codes_of(scale)
        own = logits[:, span, codes.start : codes.stop]
        losses.append(cross_entropy(own.mT, tokens[:, span] - codes.start, reduction="none"))
    return torch.cat(losses, dim=1)


@torch.no_grad()
def losses_of_scales(
    transformer: CaptionedScaleTransformer, text_encoder: SceneEncoder, tokenizer: PatchPyramid, pictures: int
) -> list[float]:
    """Mean cross-entropy of a token of each scale on held-out scenes, in nats, none of its scale shown."""
    lines = _draw_lines((6, 0), pictures, text_encoder, tokenizer, held_out=True)
    ids, tokens, inputs = (part.to(transformer.device) for part in lines)
    losses = token_losses(transformer.teacher_forced(text_encoder(ids), inputs), tokens, tokenizer)
    spans = [tokenizer.layout.span(range(scale, scale + 1)) for scale in range(len(tokenizer.layout.sizes))]
    return [float(losses[:, span].mean()) for span in spans]
