"""Recipes of raster backbones and their drafts: next-token prediction on codes of fresh scenes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from mmgen.backbones.raster import RasterTransformer
from mmgen.checkpoints.folder import load_model
from mmgen.scenes.encoder import SceneEncoder
from mmgen.tokenizers.patch_vq import PatchVQ
from mmgen.training.acceptance import measure_draft
from mmgen.training.captioned import CaptionedRecipe, Forward, fit_captioned
from mmgen.training.folders import write_model
from mmgen.training.loop import Budget
from mmgen.training.pictures import draw_lines
from mmgen.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class RasterRecipe(CaptionedRecipe):
    """Makes a raster text-to-image pipeline."""

    def trainer(self) -> Callable[..., None]:
        """What trains both in place: see `train_backbone`."""
        return train_backbone

    def new_transformer(self, tokenizer: PatchVQ, text_encoder: SceneEncoder) -> RasterTransformer:
        """A transformer that knows nothing yet."""
        return RasterTransformer(**self.transformer)


@dataclass(frozen=True, kw_only=True)
class DraftRecipe(Recipe):
    """Makes the draft model of a pipeline: its backbone's first blocks, trained on to be a backbone of their own.

    It learns the pictures' own tokens rather than the backbone's laws (Zhou et al. 2024, "DistillSpec"): in the
    same minutes that gave drafts that are kept more often, because the backbone need not run.

    Attributes:
        pipeline: name or folder of the pipeline.
        layers: blocks it keeps.
        batch: pictures of a step.
        pictures: held-out captions it is measured on.
    """

    pipeline: str
    layers: int
    batch: int = 16
    pictures: int = 64

    def run(self, destination: Path, work: Path, device: str, compile: bool, log: Callable[[str], None]) -> None:
        """Trains and writes `destination`, in float16; the last line logged says what was measured."""
        from mmgen.pipelines.loading import load

        pipe = load(self.pipeline, draft=None, heads=None).to(device)
        draft = first_blocks(pipe.transformer, self.layers)
        train_backbone(
            draft, pipe.text_encoder, pipe.tokenizer, self.budget, work / "backbone.pt", self.batch,
            seed=5, compile=compile, log=log,
        )  # fmt: skip
        write_model(draft, destination, torch.float16)
        written = load_model(RasterTransformer, destination).to(device)
        log(json.dumps({"acceptance": measure_draft(written, pipe, self.pictures)}))


def first_blocks(transformer: RasterTransformer, layers: int) -> RasterTransformer:
    """A copy of a backbone without the blocks after the first `layers`; all its weights can be trained."""
    copy = RasterTransformer.from_config({**transformer.config, "layers": layers}).to(transformer.device)
    weights = transformer.state_dict()
    copy.load_state_dict({key: weights[key] for key in copy.state_dict()})
    return copy


def train_backbone(
    transformer: RasterTransformer,
    text_encoder: SceneEncoder,
    tokenizer: PatchVQ,
    budget: Budget,
    checkpoint: Path,
    batch: int = 16,
    compile: bool = False,
    log: Callable[[str], None] = print,
    seed: int = 4,
    unconditional: float = 0.1,
) -> None:
    """Trains a backbone, and the text encoder with it unless that is frozen. No picture is seen twice.

    Args:
        compile: as for `fit_captioned`.
        seed: decides the pictures, together with the number of the step.
        unconditional: share of pictures whose caption is dropped; see `draw_lines`.
    """

    def loss_of_step(forward: Forward, step: int) -> Tensor:
        ids, tokens = draw_lines((seed, step), batch, text_encoder, tokenizer, unconditional)
        return cross_entropy(forward(text_encoder(ids), tokens).flatten(0, 1), tokens.flatten())

    fit_captioned(transformer, text_encoder, loss_of_step, budget, checkpoint, compile, log)
