"""The session of sound that is written step by step, a code of every codebook at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from mmgen.backbones.musicgen import MusicGenMelodyTransformer, MusicGenTransformer
from mmgen.cache import KVCache
from mmgen.codebook import Codebook, Codebooks
from mmgen.codebook_layout import CodebookLayout
from mmgen.errors import SizeError
from mmgen.sampling import Sampling
from mmgen.sessions.known import known_tokens, make_certain


class CodebookSession:
    """Recordings being written in steps of codes; see `mmgen.sessions.planes.PlaneSession`.

    Guidance pairs are rows of one forward: the rows under their texts, then the rows without. "No text" is features of
    zero, as both published implementations have it.

    Args:
        backbone: the model.
        layout: the order of the codes.
        features: of the texts [B, P, F].
        mask: which of them are of the text, bool [B, P].
        sampling: how probabilities come from logits.
        known: tokens that are given, int64 [B, N] with -1 where free, in the order of the layout's line; None where
            there are none.
        cache_bits: bits of each key and value in the cache: 8, or None for the backbone's own type.
        codebook: what the codes of each codebook stand for, if it is known.

    Raises:
        SizeError: known tokens of another shape, or a layout of other codebooks.
    """

    _before = 0
    """Slots of the cache before the first step's."""

    def __init__(
        self,
        backbone: MusicGenTransformer | MusicGenMelodyTransformer,
        layout: CodebookLayout,
        features: Tensor,
        mask: Tensor,
        sampling: Sampling,
        known: Tensor | None = None,
        cache_bits: int | None = None,
        codebook: Codebooks | None = None,
    ) -> None:
        self.backbone, self.layout, self.sampling, self._cache_bits = backbone, layout, sampling, cache_bits
        self.batch, self.device = len(features), features.device
        self.codebook: Codebook | Codebooks | None = codebook
        self.vocabulary_size = backbone.vocabulary_size
        known = known_tokens(known, layout, self.batch)
        if layout.codebooks != backbone.codebooks:
            raise SizeError(f"a layout of {layout.codebooks} codebooks", f"{backbone.codebooks}, those of the model")
        self.constrained = bool((known >= 0).any())
        self.known = layout.fold(known.to(self.device))
        self._features = self._for_all_rows(features, torch.zeros_like(features))
        self._mask = self._for_all_rows(mask, torch.zeros_like(mask))

    @torch.no_grad()
    def open(self, window: int) -> None:
        self._memory, self._cache = self._begin(1 + self.layout.count + window)
        # Slot s holds step s - 1, of which step s follows; slot 0 stands before all steps, and has no codes.
        self._has_codes = pad(self.layout.valid, (0, 0, 1, window)).to(self.device)
        self._held = pad(self.known, (0, 0, 0, window))
        self._window = torch.arange(window, device=self.device)
        self.rewind(0)

    @torch.no_grad()
    def score(self, planes: Tensor) -> Tensor:
        slots = self._committed[:, None] + self._window[: planes.shape[1]]
        codes = torch.where(self._has_codes[slots], planes, self.backbone.nothing)
        logits = self.backbone.logits(self.backbone.features(self._for_all_rows(codes), self._memory, self._cache))
        probs = self.sampling.probabilities(*(logits.chunk(2) if self.sampling.guided else (logits,)))
        rows = torch.arange(self.batch, device=self.device)[:, None]
        return make_certain(probs, self._held[rows, slots])

    def rewind(self, lengths: Tensor | int) -> None:
        if isinstance(lengths, int):
            lengths = torch.full((self.batch,), lengths, device=self.device)
        self._committed = lengths
        self._cache.rewind(self._before + self._for_all_rows(lengths))

    def select(self, rows: Tensor) -> None:
        all_rows = self._for_all_rows(rows, rows + self.batch)
        self._cache.select(all_rows)
        self._memory = self._memory.select(all_rows)
        self.known, self._held, self._committed = self.known[rows], self._held[rows], self._committed[rows]
        self.batch = len(rows)

    def _begin(self, capacity: int) -> tuple[Any, KVCache]:
        """What is heard beside the codes, and a cache with room for so many steps."""
        memory = self.backbone.remember(self._features, self._mask)
        return memory, self.backbone.new_cache(len(self._features), capacity, self._cache_bits)

    def _for_all_rows(self, tensor: Tensor, null: Tensor | None = None) -> Tensor:
        """For the rows without a text, too, which have another tensor or the same."""
        return torch.cat((tensor, tensor if null is None else null)) if self.sampling.guided else tensor
