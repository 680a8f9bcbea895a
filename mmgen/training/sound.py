"""Recipe of the text-to-sound pipeline: next-step prediction on codes of fresh recordings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from mmgen.backbones.sound import SoundModel, SoundTransformer
from mmgen.codebook_layout import CodebookLayout
from mmgen.scenes.score import SECONDS
from mmgen.scenes.sound import SoundScene
from mmgen.scenes.sound_encoder import SoundSceneEncoder
from mmgen.tokenizers.sound_vq import SoundVQ
from mmgen.training.captioned import CaptionedRecipe, Forward, fit_captioned
from mmgen.training.loop import Budget
from mmgen.training.sounds import SoundShards


@dataclass(frozen=True, kw_only=True)
class SoundRecipe(CaptionedRecipe):
    """Makes a text-to-sound pipeline."""

    def trainer(self) -> Callable[..., None]:
        """What trains both in place: see `train_sound`."""
        return partial(train_sound, loss=self.loss)

    def loss(self, forward: Forward, transformer: Any, codes: Tensor, memory: Any, step: int) -> Tensor:
        """What the training lowers; see `next_step_loss`."""
        return next_step_loss(forward, transformer, codes, memory)

    def new_transformer(self, tokenizer: SoundVQ, text_encoder: SoundSceneEncoder) -> SoundModel:
        """A transformer that knows nothing yet."""
        kind = self.pipeline.component_types["transformer"]
        steps = SECONDS * tokenizer.sampling_rate // tokenizer.hop
        if kind is SoundTransformer:
            steps += tokenizer.codebooks - 1  # the last codebook is so many steps late
        return kind(tokenizer.codebook_size, tokenizer.codebooks, steps, **self.transformer)


def train_sound(
    transformer: SoundModel,
    text_encoder: SoundSceneEncoder,
    codec: SoundVQ,
    budget: Budget,
    checkpoint: Path,
    batch: int,
    compile: bool,
    log: Callable[[str], None],
    loss: Callable[..., Tensor],
    unconditional: float = 0.1,
) -> None:
    """Trains a transformer of sound and the text encoder with it. Each recording is seen four times.

    Args:
        compile: as for `fit_captioned`.
        loss: what is lowered, given the forward pass `features_of_lines`, the transformer, codes [B, K, T], what it
            remembers of captions, and the step's number.
        unconditional: share of recordings whose caption is dropped, for classifier-free guidance (Ho and Salimans
            2022); rounded to whole recordings of a batch, so 0.1 of 16 is 2.
    """
    shards = CodeShards(SoundShards(seed=25), codec)

    def loss_of_step(forward: Forward, step: int) -> Tensor:
        scenes, codes = shards.batch(step, batch)
        captions = text_encoder(text_encoder.ids(scenes))
        told = torch.arange(batch, device=captions.device) >= round(batch * unconditional)
        memory = transformer.remember(captions, told[:, None].expand(captions.shape[:2]))
        return loss(forward, transformer, codes.to(captions.device), memory, step)

    passed = transformer.features_of_lines
    fit_captioned(transformer, text_encoder, loss_of_step, budget, checkpoint, compile, log, passed)


class CodeShards:
    """The codes of shards of recordings, each shard encoded once.

    Args:
        shards: the recordings.
        codec: makes their codes.
    """

    def __init__(self, shards: SoundShards, codec: SoundVQ) -> None:
        self.shards, self.codec = shards, codec
        self._number = -1
        self._codes: Tensor

    def batch(self, step: int, count: int) -> tuple[list[SoundScene], Tensor]:
        """Scenes for a step, and their codes int64 [count, K, T]."""
        number, rows = self.shards.rows(step, count)
        scenes, waveforms = self.shards.shard(number)
        if number != self._number:
            parts = [self.codec.encode(part) for part in waveforms.split(16)]
            self._number, self._codes = number, torch.cat(parts)
        return [scenes[row] for row in rows], self._codes[rows]


def next_step_loss(forward: Forward, transformer: SoundTransformer, codes: Tensor, memory: Any) -> Tensor:
    """Mean cross-entropy of each code given the caption and the steps before its own, in nats.

    Args:
        forward: the transformer's `features_of_lines`.
        codes: int64 [B, K, T].
        memory: of the captions.
    """
    layout = transformer.layout(codes.shape[2])
    targets = planes_of(layout, codes)
    shown = pad(targets, (0, 0, 1, 0), value=-1)[:, :-1]
    streams = forward(torch.where(shown < 0, transformer.nothing, shown), memory)
    return cross_entropy(transformer.logits(streams).flatten(0, -2), targets.flatten(), ignore_index=-1)


def planes_of(layout: CodebookLayout, codes: Tensor) -> Tensor:
    """Codes [B, K, T] step by step, -1 where a step has none of a codebook: [B, P, K]."""
    return layout.fold(layout.flatten(codes), padding=-1)
