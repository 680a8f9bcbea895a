"""Recipe of the text-to-sound pipeline: next-step prediction on codes of fresh recordings."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from mmgen.backbones.sound import SoundModel, SoundTransformer
from mmgen.codebook_layout import CodebookLayout
from mmgen.scenes.sound import SoundScene
from mmgen.scenes.sound_encoder import SoundSceneEncoder
from mmgen.tokenizers.sound_vq import SoundVQ
from mmgen.training.captioned import CaptionedRecipe, Forward, fit_captioned
from mmgen.training.loop import Budget
from mmgen.training.sounds import SoundShards

_SEED = 10
_WRONG = 0.6
"""Share of a recording's codes that are read and wrong, at most."""


@dataclass(frozen=True, kw_only=True)
class SoundRecipe(CaptionedRecipe):
    """Makes a text-to-sound pipeline."""

    def trainer(self) -> Callable[..., None]:
        """What trains both in place: see `train_sound`."""
        return partial(train_sound, loss=self.loss)

    def loss(self, forward: Forward, transformer: Any, codes: Tensor, memory: Any, step: int) -> Tensor:
        """What the training lowers; see `next_step_loss`."""
        return next_step_loss(forward, transformer, codes, memory, step)

    def new_transformer(self, tokenizer: SoundVQ, text_encoder: SoundSceneEncoder) -> SoundModel:
        """A transformer that knows nothing yet."""
        kind = self.pipeline.component_types["transformer"]
        steps = text_encoder.length + tokenizer.codebooks - 1  # the last codebook is so many steps late
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
    """Trains a transformer of sound and the text encoder with it. Recordings are met again, see `CodePool`.

    Args:
        compile: as for `fit_captioned`.
        loss: what is lowered, given the forward pass `features_of_lines`, the transformer, codes [B, K, T], what it
            remembers of captions, and the step's number.
        unconditional: share of recordings whose caption is dropped, for classifier-free guidance (Ho and Salimans
            2022); rounded to whole recordings of a batch, so 0.1 of 16 is 2.
    """
    pool = CodePool(SoundShards(seed=25), codec, checkpoint.parent / "codes")

    def loss_of_step(forward: Forward, step: int) -> Tensor:
        scenes, codes = pool.batch(step, batch)
        captions = text_encoder(text_encoder.ids(scenes))
        told = torch.arange(batch, device=captions.device) >= round(batch * unconditional)
        memory = transformer.remember(captions, told[:, None].expand(captions.shape[:2]))
        return loss(forward, transformer, codes.to(captions.device), memory, step)

    passed = transformer.features_of_lines
    fit_captioned(transformer, text_encoder, loss_of_step, budget, checkpoint, compile, log, passed)


class CodePool:
    """Codes of recordings, among which a step's are drawn: the more of them, the longer a training lasts.

    A shard of recordings joins the pool whenever two of its size have been drawn, so an old one is met again more and
    more seldom. (Using each shard up before the next came, four times over, taught the shard by heart: the loss of 1.6
    fell to 0.35, and was 1.6 again with the next one.)

    Args:
        shards: the recordings.
        codec: makes their codes.
        folder: where the codes of each shard are kept, for a training that is resumed.
    """

    def __init__(self, shards: SoundShards, codec: SoundVQ, folder: Path) -> None:
        self.shards, self.codec, self.folder = shards, codec, folder
        self._scenes: list[SoundScene] = []
        self._codes: list[Tensor] = []

    def batch(self, step: int, count: int, uses: int = 2) -> tuple[list[SoundScene], Tensor]:
        """Scenes for a step, and their codes int64 [count, K, T]."""
        size = self.shards.size
        needed = step * count // (uses * size) + 1
        while len(self._codes) < needed:
            self._scenes += self.shards.scenes(len(self._codes))
            self._codes.append(self._codes_of(len(self._codes)))
        generator = np.random.default_rng((self.shards.seed, 1, step))
        rows = generator.choice(needed * size, count, replace=False).tolist()
        codes = torch.stack([self._codes[row // size][row % size] for row in rows])
        return [self._scenes[row] for row in rows], codes.long()

    def _codes_of(self, number: int) -> Tensor:
        """The codes of a shard, int16 [size, K, T]."""
        path = self.folder / f"{number:05}.safetensors"
        if path.exists():
            return load_file(path)["codes"]
        _, waveforms = self.shards.shard(number)
        codes = torch.cat([self.codec.encode(part) for part in waveforms.split(16)]).short()
        self.folder.mkdir(parents=True, exist_ok=True)
        save_file({"codes": codes}, path.with_suffix(".partial"))
        os.replace(path.with_suffix(".partial"), path)
        return codes


def next_step_loss(forward: Forward, transformer: SoundTransformer, codes: Tensor, memory: Any, step: int) -> Tensor:
    """Mean cross-entropy of each code given the caption and the steps before its own, in nats.

    Args:
        forward: the transformer's `features_of_lines`.
        codes: int64 [B, K, T].
        memory: of the captions.
        step: number of the training's step, which decides what is shown wrongly.
    """
    layout = transformer.layout(codes.shape[2])
    targets = planes_of(layout, codes)
    read = planes_of(layout, disturbed(codes, torch.Generator().manual_seed((_SEED << 32) + step)))
    shown = pad(read, (0, 0, 1, 0), value=-1)[:, :-1]
    streams = forward(torch.where(shown < 0, transformer.nothing, shown), memory)
    return cross_entropy(transformer.logits(streams).flatten(0, -2), targets.flatten(), ignore_index=-1)


def disturbed(codes: Tensor, generator: torch.Generator) -> Tensor:
    """Codes [B, K, T] as a transformer reads them while it learns: some are another recording's, of the same place.

    Of each recording a share of up to 0.6, since what is read while sound is written has faults, too; and as the
    caption says nearly everything, what leans on it rather than on the codes before it does better with captions that
    it has not met, and foretells steps far ahead: with a share of up to 0.2 for 600 steps, behind 2,000 without, Jacobi
    decoding took 86 evaluations in place of 100.
    """
    shares = _WRONG * torch.rand(len(codes), 1, 1, generator=generator)
    wrong = torch.rand(codes.shape, generator=generator) < shares
    return torch.where(wrong.to(codes.device), codes.roll(1, 0), codes)


def planes_of(layout: CodebookLayout, codes: Tensor) -> Tensor:
    """Codes [B, K, T] step by step, -1 where a step has none of a codebook: [B, P, K]."""
    return layout.fold(layout.flatten(codes), padding=-1)
