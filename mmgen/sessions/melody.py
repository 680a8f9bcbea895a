"""The session of sound that is written step by step behind a melody and a text."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmgen.backbones.musicgen import MusicGenMelodyTransformer
from mmgen.cache import KVCache
from mmgen.codebook import Codebooks
from mmgen.codebook_layout import CodebookLayout
from mmgen.sampling import Sampling
from mmgen.sessions.codebooks import CodebookSession


class MelodySession(CodebookSession):
    """A `CodebookSession` of lines that begin with a melody and a text.

    Rows without a text have "no melody", too, and zeros in the place of as many words, as in both published
    implementations.

    Args:
        backbone: the model.
        layout: the order of the codes.
        features: of the texts [B, P, F].
        mask: which of them are of the text, bool [B, P].
        melodies: pitch classes of moments, [B, M, chroma]; the first class in every moment is "no melody".
        sampling: how probabilities come from logits.
        known: as in `CodebookSession`.
        cache_bits: likewise.
        codebook: likewise.

    Raises:
        SizeError: known tokens of another shape, or a layout of other codebooks.
    """

    def __init__(
        self,
        backbone: MusicGenMelodyTransformer,
        layout: CodebookLayout,
        features: Tensor,
        mask: Tensor,
        melodies: Tensor,
        sampling: Sampling,
        known: Tensor | None = None,
        cache_bits: int | None = None,
        codebook: Codebooks | None = None,
    ) -> None:
        super().__init__(backbone, layout, features, mask, sampling, known, cache_bits, codebook)
        self._melodies = self._for_all_rows(melodies, no_melody(*melodies.shape).to(melodies))
        self._words = self._for_all_rows(mask)

    def _begin(self, capacity: int) -> tuple[Any, KVCache]:
        backbone: Any = self.backbone
        prefix = backbone.prefix(self._melodies, self._features, self._words, self._mask.any(1))
        self._before = prefix.embeddings.shape[1]
        cache = backbone.new_cache(len(prefix.embeddings), self._before + capacity, self._cache_bits)
        backbone.prefill(prefix, cache)
        return prefix, cache


def no_melody(rows: int, moments: int, chroma: int) -> Tensor:
    """What stands for "no melody": the first pitch class in every moment, float32 [rows, moments, chroma]."""
    melodies = torch.zeros(rows, moments, chroma)
    melodies[..., 0] = 1
    return melodies
