"""Recipe of the raster text-to-image backbone: next-token prediction on codes of fresh scenes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mmgen.backbones.raster import RasterTransformer
from mmgen.scenes.encoder import SceneEncoder
from mmgen.tokenizers.patch_vq import PatchVQ
from mmgen.training.loop import Budget, fit
from mmgen.training.pictures import draw_batch


def train_backbone(
    transformer: RasterTransformer,
    text_encoder: SceneEncoder,
    tokenizer: PatchVQ,
    budget: Budget,
    checkpoint: Path,
    batch: int = 16,
    unconditional: float = 0.1,
    compile: bool = False,
    log: Callable[[str], None] = print,
) -> None:
    """Trains backbone and text encoder together. No picture is seen twice.

    Args:
        unconditional: share of pictures whose caption is dropped, for classifier-free guidance (Ho and
            Salimans 2022); rounded to whole pictures of a batch, so 0.1 of 16 is 2.
        compile: compile the forward pass; a fifth faster on a CPU after a minute, and needs a C++ compiler.
    """
    objects = text_encoder.config.objects
    model = nn.ModuleDict({"transformer": transformer, "text_encoder": text_encoder})
    device = transformer.device
    forward = torch.compile(transformer.teacher_forced) if compile else transformer.teacher_forced

    def loss_of_step(step: int) -> Tensor:
        scenes, images = draw_batch((4, step), batch, objects)
        with torch.no_grad():
            tokens = tokenizer.layout.flatten(tokenizer.encode(images.to(tokenizer.device))).to(device)
        ids = text_encoder.ids(scenes)
        ids[: round(batch * unconditional)] = text_encoder.null_ids(1)
        logits = forward(text_encoder(ids), tokens)
        return cross_entropy(logits.flatten(0, 1), tokens.flatten())

    fit(model, loss_of_step, budget, checkpoint, log)
