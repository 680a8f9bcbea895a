"""Recipe of the heads of a backbone: the tokens after the next one, on codes of fresh scenes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from mmgen.backbones.heads import TokenHeads
from mmgen.backbones.raster import RasterTransformer
from mmgen.checkpoints.folder import load_model
from mmgen.scenes.encoder import SceneEncoder
from mmgen.tokenizers.patch_vq import PatchVQ
from mmgen.training.acceptance import measure_heads
from mmgen.training.folders import write_model
from mmgen.training.loop import Budget, fit
from mmgen.training.pictures import draw_lines
from mmgen.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class HeadsRecipe(Recipe):
    """Makes the heads of a pipeline's backbone, which stays as it is.

    Attributes:
        pipeline: name or folder of the pipeline.
        kind: `medusa` or `hydra`; see `TokenHeads`.
        hidden_size: channels inside a head.
        depths: number of heads.
        batch: pictures of a step.
        pictures: held-out captions they are measured on.
    """

    pipeline: str
    kind: str
    hidden_size: int
    depths: int
    batch: int = 8
    pictures: int = 64

    def run(self, destination: Path, work: Path, device: str, compile: bool, log: Callable[[str], None]) -> None:
        """Trains and writes `destination`, in float16; the last line logged says what was measured."""
        from mmgen.pipelines.loading import load

        pipe = load(self.pipeline, draft=None, heads=None).to(device)
        torch.manual_seed(0)
        heads = TokenHeads(pipe.transformer.config.size, self.hidden_size, self.depths, self.kind).to(device)
        train_heads(
            heads, pipe.transformer, pipe.text_encoder, pipe.tokenizer, self.budget, work / "heads.pt", self.batch,
            compile=compile, log=log,
        )  # fmt: skip
        write_model(heads, destination, torch.float16)
        written = load_model(TokenHeads, destination).to(device)
        log(json.dumps({"acceptance": measure_heads(written, pipe, self.pictures)}))


def train_heads(
    heads: TokenHeads,
    transformer: RasterTransformer,
    text_encoder: SceneEncoder,
    tokenizer: PatchVQ,
    budget: Budget,
    checkpoint: Path,
    batch: int = 16,
    unconditional: float = 0.1,
    decay: float = 0.8,
    compile: bool = False,
    log: Callable[[str], None] = print,
) -> None:
    """Trains heads; everything else is frozen, as in Medusa-1 (Cai et al. 2024, section 2.2.1).

    The loss is the sum over depths of decay^depth times the cross entropy of the picture's own token there.

    Args:
        unconditional: share of pictures whose caption is dropped, because guidance asks heads without it too;
            see `draw_lines`.
        decay: weight of one head relative to the one before it; 0.8 is Medusa's.
        compile: compile the backbone's pass; needs a C++ compiler.
    """
    features_of = transformer.teacher_forced_features
    forward = torch.compile(features_of) if compile else features_of

    def loss_of_step(step: int) -> Tensor:
        ids, tokens = draw_lines((6, step), batch, text_encoder, tokenizer, unconditional)
        with torch.no_grad():
            features = forward(text_encoder(ids), tokens)
        loss = torch.zeros((), device=tokens.device)
        for depth in range(1, heads.depths + 1):
            logits = heads.teacher_forced(transformer, features, depth, tokens)
            loss = loss + decay**depth * cross_entropy(logits.flatten(0, 1), tokens[:, depth:].flatten())
        return loss

    fit(heads, loss_of_step, budget, checkpoint, log)
