"""Recipes of text-to-video pipelines: next-token or next-plane prediction on codes of fresh moving scenes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mmgen.backbones.neighbour import NeighbourTransformer
from mmgen.backbones.raster import RasterTransformer
from mmgen.scenes.motion_encoder import MovingSceneEncoder
from mmgen.scenes.motion_render import FRAMES
from mmgen.tokenizers.causal_patches import CausalPatchVQ
from mmgen.training.captioned import CaptionedRecipe, Forward, fit_captioned
from mmgen.training.clips import draw_clip_codes
from mmgen.training.loop import Budget

SIDE = 64
"""Pixels of a frame along each axis."""
_PAIRS = 0.75
"""Share of clips with two objects, which are harder to learn than one."""


@dataclass(frozen=True, kw_only=True)
class VideoRecipe(CaptionedRecipe):
    """Makes a text-to-video pipeline, whose transformer says in which order codes are written."""

    def loss(self, forward: Forward, transformer: Any, captions: Tensor, tokens: Tensor, step: int) -> Tensor:
        """What the training lowers; see `next_token_loss`."""
        return next_token_loss(forward, transformer, captions, tokens, step)

    def trainer(self) -> Callable[..., None]:
        """What trains both in place: see `train_video`."""
        return partial(train_video, loss=self.loss)

    def new_transformer(self, tokenizer: CausalPatchVQ, text_encoder: MovingSceneEncoder) -> Any:
        """A transformer that knows nothing yet."""
        steps, rows, columns = tokenizer.grid(FRAMES, SIDE, SIDE)
        given = {"vocabulary_size": len(tokenizer.codebook), "condition_length": text_encoder.length}
        if self.pipeline.component_types["transformer"] is RasterTransformer:
            return RasterTransformer(height=rows, width=columns, frames=steps, **given, **self.transformer)
        sizes = (steps, rows, columns)
        made = NeighbourTransformer(sizes=sizes, classes=None, blind=False, told=True, **given, **self.transformer)
        for block in made.blocks:  # as the blocks of our other transformers begin
            nn.init.zeros_(block.attention_out.weight)  # type: ignore[arg-type,union-attr]
            nn.init.zeros_(block.down.weight)  # type: ignore[arg-type,union-attr]
        return made


def train_video(
    transformer: Any,
    text_encoder: MovingSceneEncoder,
    tokenizer: CausalPatchVQ,
    budget: Budget,
    checkpoint: Path,
    batch: int = 16,
    compile: bool = False,
    log: Callable[[str], None] = print,
    unconditional: float = 0.1,
    loss: Callable[..., Tensor] | None = None,
) -> None:
    """Trains a transformer of clips and the text encoder with it. No clip is seen twice.

    Args:
        transformer: a `RasterTransformer` with frames, a `NeighbourTransformer`, or another that `loss` suits.
        compile: as for `fit_captioned`.
        unconditional: share of clips whose caption is dropped; see `draw_clip_codes`.
        loss: what is lowered, called as `next_token_loss` is; that itself where nothing is given.
    """

    def loss_of_step(forward: Forward, step: int) -> Tensor:
        ids, codes = draw_clip_codes((7, step), batch, text_encoder, tokenizer, unconditional, pairs=_PAIRS)
        tokens = transformer.layout.flatten(codes)
        return (loss or next_token_loss)(forward, transformer, text_encoder(ids), tokens, step)

    fit_captioned(transformer, text_encoder, loss_of_step, budget, checkpoint, compile, log)


def next_token_loss(forward: Forward, transformer: Any, captions: Tensor, tokens: Tensor, step: int) -> Tensor:
    """Mean cross-entropy of each token given those that its transformer lets it see, in nats.

    Args:
        forward: the transformer's `teacher_forced`.
        captions: embeddings [B, P, C].
        tokens: int64 [B, N].
        step: number of the training's step, for what is drawn at random.
    """
    return cross_entropy(forward(captions, tokens).flatten(0, 1), tokens.flatten())
