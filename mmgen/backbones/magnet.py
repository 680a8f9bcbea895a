"""MAGNeT: a transformer that says what the hidden codes of a codebook are, all at once."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor
from transformers import MusicgenDecoderConfig
from transformers.models.musicgen.modeling_musicgen import MusicgenDecoderLayer

from mmgen.backbones.codebooks import CodebookTransformer, TextMemory
from mmgen.backbones.linear import Linear
from mmgen.codebook_layout import CodebookLayout


class MagnetTransformer(CodebookTransformer):
    """MAGNeT (Ziv et al. 2024, arXiv 2401.04577): MusicGen's layers, in which frames see those behind them, too.

    `nothing` is a hidden code. Codebooks are written one after the other; frames of all but the first one see no
    further than `context` frames.

    Args:
        decoder: what `transformers.MusicgenDecoderConfig` takes; what is left out has its defaults.
        text_size: channels of the text encoder's features.
        frames: of a recording, at most: those it was trained on.
        context: frames that are seen on each side, of codebooks behind the first; -1 for all.
    """

    @register_to_config
    def __init__(self, decoder: dict[str, Any], text_size: int = 768, frames: int = 500, context: int = 5) -> None:
        super().__init__(MusicgenDecoderConfig.from_dict(decoder), MusicgenDecoderLayer, text_size)
        self.frames, self._context = frames, context
        # audiocraft projects features of as many channels, too.
        self.enc_to_dec_proj = Linear(text_size, self._size)

    def layout(self, frames: int) -> CodebookLayout:
        """The order of the codes of so many frames: codebook after codebook."""
        return CodebookLayout.grouped(frames, self.codebooks, 1)

    def masked_logits(self, codes: Tensor, book: int, memory: TextMemory) -> Tensor:
        """Logits [R, T, V] of a codebook's codes.

        Args:
            codes: int64 [R, K, T], -1 where hidden; so are all codebooks behind `book`, but for what is known of them.
            book: which codebook, from 0.
            memory: of the texts.
        """
        places = torch.arange(codes.shape[2], device=codes.device)
        planes = torch.where(codes < 0, self.nothing, codes).transpose(1, 2)
        hidden = None
        if book and self._context >= 0:
            hidden = (places - places[:, None]).abs() > self._context
        return self.lm_heads[book](self.run_once(self.embedded(planes, places[None], len(places)), hidden, memory))
