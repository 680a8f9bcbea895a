"""Recipe of the text-to-sound pipeline: next-step prediction on codes of fresh recordings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from mmgen.backbones.sound import SoundTransformer
from mmgen.codebook_layout import CodebookLayout
from mmgen.decoding import planes
from mmgen.pipelines.text_to_sound import TextToSoundPipeline
from mmgen.scenes.score import SECONDS
from mmgen.scenes.sound import SoundScene
from mmgen.scenes.sound_encoder import SoundSceneEncoder
from mmgen.tokenizers.sound_vq import SoundVQ
from mmgen.training.captioned import Forward, fit_captioned
from mmgen.training.folders import write_pipeline
from mmgen.training.loop import Budget
from mmgen.training.recipe import Recipe
from mmgen.training.sounds import SoundShards


@dataclass(frozen=True, kw_only=True)
class SoundRecipe(Recipe):
    """Makes a text-to-sound pipeline on a shipped codec, its weights in float16.

    Attributes:
        tokenizer: name of the codec.
        transformer: configuration of the transformer, but for what the codec decides.
        decoder: name of the pipeline's own decoder.
        decoder_options: its options.
        sampling: the pipeline's defaults.
        batch: recordings of a step.
    """

    tokenizer: str
    transformer: dict
    decoder: str
    decoder_options: dict
    sampling: dict
    batch: int = 16

    trained = ("transformer", "text_encoder")

    def run(self, destination: Path, work: Path, device: str, compile: bool, log: Callable[[str], None]) -> None:
        """Trains and writes `destination`."""
        from mmgen.pipelines.pipeline import load

        torch.manual_seed(0)
        codec = load(self.tokenizer)
        text_encoder = SoundSceneEncoder(size=self.transformer["size"]).to(device)
        transformer = new_transformer(codec, self.transformer).to(device)
        self.begin(transformer, text_encoder)
        train_sound(transformer, text_encoder, codec, self.budget, work / "backbone.pt", self.batch, compile, log)
        decoder = planes.make(self.decoder, **self.decoder_options)
        pipe = TextToSoundPipeline(codec, text_encoder, transformer, decoder, self.sampling).to("cpu")
        write_pipeline(pipe, destination, {"tokenizer": self.tokenizer}, torch.float16)


def new_transformer(codec: SoundVQ, config: dict[str, Any]) -> SoundTransformer:
    """A transformer that knows nothing yet."""
    steps = SECONDS * codec.sampling_rate // codec.hop + codec.codebooks - 1
    return SoundTransformer(codec.codebook_size, codec.codebooks, steps, **config)


def train_sound(
    transformer: SoundTransformer,
    text_encoder: SoundSceneEncoder,
    codec: SoundVQ,
    budget: Budget,
    checkpoint: Path,
    batch: int = 16,
    compile: bool = False,
    log: Callable[[str], None] = print,
    unconditional: float = 0.1,
) -> None:
    """Trains a transformer of sound and the text encoder with it. Each recording is seen four times.

    Args:
        compile: as for `fit_captioned`.
        unconditional: share of recordings whose caption is dropped, for classifier-free guidance (Ho and Salimans
            2022); rounded to whole recordings of a batch, so 0.1 of 16 is 2.
    """
    shards = CodeShards(SoundShards(seed=25), codec)

    def loss_of_step(forward: Forward, step: int) -> Tensor:
        scenes, codes = shards.batch(step, batch)
        captions = text_encoder(text_encoder.ids(scenes))
        told = torch.arange(batch, device=captions.device) >= round(batch * unconditional)
        memory = transformer.remember(captions, told[:, None].expand(captions.shape[:2]))
        return next_step_loss(forward, transformer, codes.to(captions.device), memory)

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
