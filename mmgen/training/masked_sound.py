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
from mmgen.training.sound import SoundRecipe

_SEED = 9
_SPAN = 3
"""Frames that are hidden together, as the decoder's spans."""
_WRONG = 0.1
"""Share of the codes of a recording that are shown and wrong, at most."""


@dataclass(frozen=True, kw_only=True)
class MaskedSoundRecipe(SoundRecipe):
    """Makes a text-to-sound pipeline that fills codes in."""

    def loss(self, forward: Forward, transformer: Any, codes: Tensor, memory: Any, step: int) -> Tensor:
        """What the training lowers; see `hidden_span_loss`."""
        return hidden_span_loss(forward, transformer, codes, memory, step)


def hidden_span_loss(
    forward: Forward, transformer: MaskedSoundTransformer, codes: Tensor, memory: Any, step: int
) -> Tensor:
    """Mean cross-entropy of hidden codes of one codebook a recording, given those that are shown, in nats.

    As MAGNeT is trained (Ziv et al. 2024, section 3.1): earlier codebooks are shown, later ones hidden, and of the
    codebook itself a share of cos(u pi / 2) of the spans is hidden, u uniform. Deviations: spans do not overlap, as
    they do not while recordings are written; the first codebook, by which the others go, is that of twice as many
    recordings as each other; and up to a tenth of what is shown is another recording's code of the same place, since
    what the model reads while it writes has faults, too.

    Args:
        forward: the transformer's `features_of_lines`.
        codes: int64 [B, K, T].
        memory: of the captions.
        step: number of the training's step, which decides what is hidden.
    """
    generator = torch.Generator().manual_seed((_SEED << 32) + step)
    books = draw_books(len(codes), codes.shape[1], generator)
    hidden = draw_hidden_spans(books, codes.shape, generator).to(codes.device)
    wrong = torch.rand(codes.shape, generator=generator) < _WRONG * torch.rand(len(codes), 1, 1, generator=generator)
    shown = torch.where(wrong.to(codes.device), codes.roll(1, 0), codes).masked_fill(hidden, transformer.nothing)
    streams, losses = forward(shown.mT, memory), []
    for book, head in enumerate(transformer.code_heads):
        of_book = (books == book).nonzero().flatten().to(codes.device)
        asked = hidden[of_book, book]
        losses.append(cross_entropy(head(streams[of_book][asked]), codes[of_book, book][asked], reduction="sum"))
    return torch.stack(losses).sum() / sum(int(hidden[books == book, book].sum()) for book in range(codes.shape[1]))


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
