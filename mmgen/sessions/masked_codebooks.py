"""The session of sound of which any codes may be hidden, written codebook after codebook."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from mmgen.codebook_layout import CodebookLayout
from mmgen.errors import SizeError
from mmgen.sampling import Sampling
from mmgen.sessions.companion import Companion
from mmgen.sessions.known import known_tokens


class MaskedBackbone(Protocol):
    """What a model of masked codes has: `MagnetTransformer`, or one that hears its prompts in another way.

    Attributes:
        codebooks: K.
        vocabulary_size: codes V of each.
    """

    codebooks: int
    vocabulary_size: int

    def remember(self, features: Tensor, mask: Tensor) -> Any:
        """What is heard of prompts, features [R, P, F] of which those of a bool [R, P] count; rows of none are "no
        prompt". It has `select(rows)`."""

    def masked_logits(self, codes: Tensor, book: int, memory: Any) -> Tensor:
        """Logits [R, T, V] of a codebook's codes, from codes [R, K, T], -1 where hidden, and what is heard."""


class MaskedCodebookSession:
    """Recordings whose codes are filled in, codebook by codebook, the codes of one in any order.

    The session owns guidance, truncation and known codes, and says which temperature and guidance a decoder begins
    with. Known codes are shown to the model in all codebooks from the beginning, whatever the decoder says of them.

    Guidance pairs are rows of one forward. Where a decoder asks for none (guidance 1), rows without a prompt are left
    out.

    Attributes:
        batch: rows B that are written at once.
        layout: where codes stand on the line; codebook after codebook.
        vocabulary_size: codes V of each codebook.
        sampling: what the decoder begins with.
        known: int64 [B, K, T], the code a place must hold, -1 where it is free.
        free_books: whether anything is free in each codebook; known without waiting for the device.
        companion: another model of the same codes, or None.
        device: where the tensors live.

    Args:
        backbone: the model.
        layout: the order of the codes: codebook after codebook.
        features: of the prompts [B, P, F].
        mask: which of them are of the prompt, bool [B, P].
        sampling: how probabilities come from logits.
        known: tokens that are given, int64 [B, N] with -1 where free, in the order of the layout's line; None where
            there are none.
        companion: as above.

    Raises:
        SizeError: known tokens of another shape, or a layout of other codebooks.
    """

    def __init__(
        self,
        backbone: MaskedBackbone,
        layout: CodebookLayout,
        features: Tensor,
        mask: Tensor,
        sampling: Sampling,
        known: Tensor | None = None,
        companion: Companion | None = None,
    ) -> None:
        self.layout, self.sampling, self.companion = layout, sampling, companion
        self.batch, self.device = len(features), features.device
        self.vocabulary_size = backbone.vocabulary_size
        self._backbone, self._features, self._mask = backbone, features, mask
        known = known_tokens(known, layout, self.batch)
        if layout.codebooks != backbone.codebooks:
            raise SizeError(f"a layout of {layout.codebooks} codebooks", f"{backbone.codebooks}, those of the model")
        codes = layout.unflatten(known)
        self.free_books: list[bool] = (codes < 0).any(2).any(0).tolist()
        self.known = codes.to(self.device)

    @torch.no_grad()
    def open(self) -> None:
        """Starts the recordings: reads the prompts."""
        features, mask = self._features, self._mask
        if self.sampling.guided:
            features, mask = (torch.cat((part, torch.zeros_like(part))) for part in (features, mask))
        self._memory = self._backbone.remember(features, mask)
        self._prompted = self._memory.select(torch.arange(self.batch, device=self.device))

    @torch.no_grad()
    def score(self, codes: Tensor, book: int, sampling: Sampling) -> Tensor:
        """Evaluates the model once.

        Args:
            codes: int64 [B, K, T] that the model is shown, -1 where hidden.
            book: the codebook that is asked for, from 0.
            sampling: the session's, with another guidance or temperature, where wanted. Guidance other than 1 needs
                one of the session's, too.

        Returns:
            Probabilities of each code of the codebook, given those shown: float32 [B, T, V].
        """
        shown = torch.where(self.known < 0, codes, self.known)
        if not sampling.guided:
            return sampling.probabilities(self._backbone.masked_logits(shown, book, self._prompted))
        logits = self._backbone.masked_logits(torch.cat((shown, shown)), book, self._memory)
        return sampling.probabilities(*logits.chunk(2))
