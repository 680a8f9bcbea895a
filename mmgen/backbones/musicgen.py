"""MusicGen: transformers that write a code of every codebook a step, to a text, and to a melody as well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from transformers import MusicgenDecoderConfig, MusicgenMelodyDecoderConfig
from transformers.models.musicgen.modeling_musicgen import MusicgenDecoderLayer
from transformers.models.musicgen_melody.modeling_musicgen_melody import MusicgenMelodyDecoderLayer

from mmgen.backbones.codebooks import CodebookTransformer, TextMemory
from mmgen.cache import KVCache


class MusicGenTransformer(CodebookTransformer):
    """MusicGen (Copet et al. 2023, arXiv 2306.05284), mono and stereo.

    The step before the first is `nothing`, too.

    Args:
        decoder: what `transformers.MusicgenDecoderConfig` takes; what is left out has its defaults.
        text_size: channels of the text encoder's features.
    """

    @register_to_config
    def __init__(self, decoder: dict[str, Any], text_size: int = 768) -> None:
        super().__init__(MusicgenDecoderConfig.from_dict(decoder), MusicgenDecoderLayer, text_size)

    def features(self, planes: Tensor, memory: TextMemory, cache: KVCache) -> Tensor:
        """The streams [R, L, C] behind the last layer and its norm, of steps that are added to the cache.

        Args:
            planes: int64 [R, L, K], the next steps of each row; `nothing` where there is no code.
            memory: of the texts.
            cache: the steps before.
        """
        positions = cache.open(planes.shape[1])
        return self.run(self.embedded(planes, positions, cache.capacity), cache, memory)

    def features_of_lines(self, planes: Tensor, memory: TextMemory) -> Tensor:
        """The same of whole lines at once, from the step before the first: [R, L, C]."""
        steps = torch.arange(planes.shape[1], device=planes.device)
        return self.run_once(self.embedded(planes, steps[None], len(steps)), steps > steps[:, None], memory)


@dataclass(frozen=True)
class Prefix:
    """What stands before the first step: a melody and a text, of each row at the end of as many slots.

    Attributes:
        embeddings: [R, P, C].
        padding: slots of each row that hold nothing, the first ones: int64 [R].
    """

    embeddings: Tensor
    padding: Tensor

    def select(self, rows: Tensor) -> Prefix:
        """That of some rows."""
        return Prefix(self.embeddings[rows], self.padding[rows])


class MusicGenMelodyTransformer(CodebookTransformer):
    """MusicGen melody (Copet et al. 2023, arXiv 2306.05284, section 2.3): a melody and a text stand before the codes.

    Layers hear nothing but the line. As in audiocraft and transformers the melody comes first: always `chroma_length`
    moments, a shorter one over and over. Positions count from its first moment.

    Args:
        decoder: what `transformers.MusicgenMelodyDecoderConfig` takes; what is left out has its defaults.
        text_size: channels of the text encoder's features.
        chroma: pitch classes of a moment of the melody.
        chroma_length: moments of a melody.
    """

    @register_to_config
    def __init__(
        self, decoder: dict[str, Any], text_size: int = 768, chroma: int = 12, chroma_length: int = 235
    ) -> None:
        config = MusicgenMelodyDecoderConfig.from_dict(decoder)
        super().__init__(config, MusicgenMelodyDecoderLayer, text_size)
        size = config.hidden_size
        self.audio_enc_to_dec_proj = nn.Linear(chroma, size) if chroma != size else nn.Identity()

    def prefix(self, melodies: Tensor, features: Tensor, mask: Tensor, told: Tensor) -> Prefix:
        """What stands before the first step.

        Args:
            melodies: [R, M, chroma]; the first pitch class in every moment is "no melody".
            features: of the text encoder, [R, P, F].
            mask: which of them are of the text, bool [R, P].
            told: whether a row has a text, bool [R]; where not, it has zeros in its place, as many.
        """
        length = self.config.chroma_length  # type: ignore[attr-defined]
        heard = self.audio_enc_to_dec_proj(melodies.to(self.dtype))
        heard = heard.repeat(1, -(-length // heard.shape[1]), 1)[:, :length]
        texts = self.enc_to_dec_proj(features.to(self.dtype)) * (mask & told[:, None])[..., None]
        whole = torch.cat((heard, texts), dim=1)
        padding = mask.shape[1] - mask.sum(1)
        places = torch.arange(whole.shape[1], device=whole.device) - padding[:, None]
        return Prefix(whole.gather(1, places.clamp(min=0)[..., None].expand_as(whole)), padding)

    def prefill(self, prefix: Prefix, cache: KVCache) -> None:
        """Reads a prefix into an empty cache."""
        slots = torch.arange(prefix.embeddings.shape[1], device=prefix.padding.device)
        cache.hide(slots < prefix.padding[:, None])
        positions = (cache.open(len(slots)) - prefix.padding[:, None]).clamp(min=0)
        self.run(prefix.embeddings + self._positions_up_to(cache.capacity)[positions], cache)

    def features(self, planes: Tensor, prefix: Prefix, cache: KVCache) -> Tensor:
        """The streams [R, L, C] behind the last layer and its norm, of steps that are added to the cache.

        Args:
            planes: int64 [R, L, K], the next steps of each row; `nothing` where there is no code.
            prefix: what the cache began with.
            cache: that, and the steps before.
        """
        positions = cache.open(planes.shape[1]) - prefix.padding[:, None]
        return self.run(self.embedded(planes, positions, cache.capacity), cache)
