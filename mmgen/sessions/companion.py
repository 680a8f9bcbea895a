"""An autoregressive model beside a masked one of the same codes: it begins recordings, and judges codes."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import pad

from mmgen.backbones.codebooks import TextMemory
from mmgen.backbones.musicgen import MusicGenTransformer
from mmgen.sampling import Sampling
from mmgen.sessions.codebooks import CodebookSession


class Companion:
    """MusicGen under the prompts of a `MaskedCodebookSession`.

    Attributes:
        evaluations: of it, int64 [B], so far.

    Args:
        backbone: the model.
        features: of the texts [B, P, F].
        mask: which of them are of the text, bool [B, P].
    """

    def __init__(self, backbone: MusicGenTransformer, features: Tensor, mask: Tensor) -> None:
        self.backbone, self._features, self._mask = backbone, features, mask
        self.evaluations = torch.zeros(len(features), dtype=torch.long, device=features.device)

    @cached_property
    def _memory(self) -> TextMemory:
        return self.backbone.remember(self._features, self._mask)

    def session(self, known: Tensor, sampling: Sampling) -> CodebookSession:
        """A session of the first frames of the recordings.

        Args:
            known: codes that are given, int64 [B, K, frames], -1 where free.
            sampling: how probabilities come from logits.
        """
        layout = self.backbone.layout(known.shape[2])
        return CodebookSession(self.backbone, layout, self._features, self._mask, sampling, layout.known(known))

    @torch.no_grad()
    def probabilities(self, codes: Tensor, book: int) -> Tensor:
        """How likely the codes of a codebook are, each given all that it follows: float32 [B, T].

        One evaluation, of the model's own law: without guidance, and at temperature 1.

        Args:
            codes: int64 [B, K, T], -1 where hidden; of those the model reads that there is no code.
            book: which codebook, from 0.
        """
        layout = self.backbone.layout(codes.shape[2])
        planes = layout.fold(layout.flatten(codes), padding=-1)
        line = torch.where(planes < 0, self.backbone.nothing, planes)
        before = pad(line[:, :-1], (0, 0, 1, 0), value=self.backbone.nothing)
        self.evaluations = self.evaluations + 1
        streams = self.backbone.features_of_lines(before, self._memory)
        law = self.backbone.lm_heads[book](streams).float().softmax(-1)
        likely = torch.zeros_like(planes, dtype=law.dtype)
        likely[..., book] = law.gather(-1, planes[..., book].clamp(min=0)[..., None]).squeeze(-1)
        return layout.unflatten(layout.unfold(likely))[:, book]
