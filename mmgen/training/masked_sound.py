"""Recipe of the text-to-sound pipeline that fills codes in: hidden spans of fresh recordings are foretold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from mmgen.backbones.sound import MaskedSoundTransformer
from mmgen.training.captioned import Forward
from mmgen.training.sound import SoundRecipe, disturbed

_SEED = 9
_SPAN = 3
"""Frames that are hidden together, as the decoder's spans."""


@dataclass(frozen=True, kw_only=True)
class MaskedSoundRecipe(SoundRecipe):
    """Makes a text-to-sound pipeline that fills codes in."""

    def loss(self, forward: Forward, transformer: Any, codes: Tensor, memory: Any, step: int) -> Tensor:
        """What the training lowers; see `hidden_span_loss`."""
        return hidden_span_loss(forward, transformer, codes, memory, step)


def hidden_span_loss(
    forward: Forward, transformer: MaskedSoundTransformer, codes: Tensor, memory: Any, step: int
) -> Tensor:
    """Mean cross-entropy of hidden codes, given those that are shown, in nats.

    As MAGNeT is trained (Ziv et al. 2024, section 3.1): of each recording a codebook is drawn; those before it are
    shown, those behind it hidden, and of its own spans a share of cos(u pi / 2) is hidden, u uniform. Deviations:
    what is hidden of later codebooks is asked for, too; spans do not overlap, as they do not while recordings are
    written; the first codebook, by which the others go, is drawn twice as often as each other; and some of what is
    shown is wrong, see `disturbed`.

    Args:
        forward: the transformer's `features_of_lines`.
        codes: int64 [B, K, T].
        memory: of the captions.
        step: number of the training's step, which decides what is hidden.
    """
    generator = torch.Generator().manual_seed((_SEED << 32) + step)
    books = draw_books(len(codes), codes.shape[1], generator)
    hidden = draw_hidden_spans(books, codes.shape, generator).to(codes.device)
    shown = disturbed(codes, generator).masked_fill(hidden, transformer.nothing)
    streams = forward(shown.mT, memory)
    losses = [
        cross_entropy(
            head(streams).mT, codes[:, book].masked_fill(~hidden[:, book], -1), ignore_index=-1, reduction="sum"
        )
        for book, head in enumerate(transformer.code_heads)
    ]
    return torch.stack(losses).sum() / hidden.sum()


def draw_books(recordings: int, codebooks: int, generator: torch.Generator) -> Tensor:
    """Which codebook each recording is asked for, int64 [recordings]: the first one twice as often as each other."""
    order = torch.randperm(recordings, generator=generator)
    return (torch.arange(recordings) % (codebooks + 1) - 1).clamp(min=0)[order]


def draw_hidden_spans(books: Tensor, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """What is hidden, bool [B, K, T]: some spans of each recording's own codebook, at least one, and all later ones."""
    recordings, codebooks, frames = shape
    spans = -(-frames // _SPAN)
    shares = torch.cos(torch.rand(recordings, 1, generator=generator) * (math.pi / 2))
    places = torch.rand(recordings, spans, generator=generator).argsort(1)
    own = (places < (shares * spans).ceil().clamp(min=1)).repeat_interleave(_SPAN, 1)[:, :frames]
    number = torch.arange(codebooks)
    later, same = number > books[:, None], number == books[:, None]
    return later[..., None] | (same[..., None] & own[:, None])
