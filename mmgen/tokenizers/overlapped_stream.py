"""Streams of codecs that know nothing of streams: pieces are decoded with what stands around them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from mmgen.tokenizers.sound_codec import SoundCodec


class OverlappedStream:
    """A `SoundStream` of any codec.

    A codec's sound of a frame hangs on frames around it. So a piece is decoded with `context` frames before it, and no
    later than `behind` frames behind it are written; where two pieces meet, a frame of the older one is faded into the
    newer one. What comes of it is what comes of all codes at once, but for what a codec remembers of longer ago.

    Args:
        codec: codes to sound.
        context: frames read before a piece; None for a second.
        behind: frames that must be written behind a piece.
    """

    def __init__(self, codec: SoundCodec, context: int | None = None, behind: int = 8) -> None:
        self.codec, self.behind = codec, behind
        self.context = round(codec.sampling_rate / codec.hop) if context is None else context
        self._codes: Tensor | None = None
        """Of frames that were not heard yet, and of `context` before them."""
        self._heard = 0
        """How many of those were heard."""
        self._tail: Tensor | None = None

    def push(self, codes: Tensor, last: bool = False) -> Tensor:
        """See `SoundStream`."""
        self.codec.check(codes, None if self._codes is None else len(self._codes))
        self._codes = codes if self._codes is None else torch.cat((self._codes, codes), dim=-1)
        hop, stop = self.codec.hop, self._codes.shape[2] - (0 if last else self.behind)
        if stop <= self._heard:
            return torch.zeros(len(codes), self.codec.channels, 0, device=self.codec.device)
        sound = self.codec.decode(self._codes)
        piece = self._faded(sound[..., self._heard * hop : stop * hop])
        self._tail = sound[..., stop * hop : (stop + 1) * hop] if self.behind and not last else None
        first = max(0, stop - self.context)
        self._codes, self._heard = self._codes[..., first:], stop - first
        return piece

    def _faded(self, piece: Tensor) -> Tensor:
        """A piece whose first frame is faded in."""
        if self._tail is None:
            return piece
        hop = self.codec.hop
        share = torch.arange(hop, device=piece.device) / hop
        return torch.cat((self._tail.lerp(piece[..., :hop], share), piece[..., hop:]), dim=-1)
