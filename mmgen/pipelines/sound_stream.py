"""Sound that is heard while its codes are still being written."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgen.tokenizers.sound_codecs import SoundCodec


class SoundStream:
    """Turns a growing line of codes into sound, piece by piece, each sample once.

    A codec's sound of a frame hangs on frames around it. So a piece is decoded with `context` frames before it, and no
    later than `ahead` frames behind it are written; where two pieces meet, a frame of the older one is faded into the
    newer one. What comes of it is what comes of all codes at once, but for what a codec remembers of longer ago.

    Args:
        codec: codes to sound.
        context: frames read before a piece; None for a second.
        ahead: frames that must be written behind a piece.
    """

    def __init__(self, codec: SoundCodec, context: int | None = None, ahead: int = 8) -> None:
        self.codec, self.ahead = codec, ahead
        self.context = round(codec.sampling_rate / codec.hop) if context is None else context
        self.done = 0
        """Frames that were heard."""
        self._tail: Tensor | None = None

    def push(self, codes: Tensor, last: bool = False) -> Tensor:
        """Sound of the frames that can be heard now, and were not yet.

        Args:
            codes: int64 [B, K, T], all that is written, from the first frame on.
            last: whether there are no more to come.

        Returns:
            float32 [B, channels, samples], of no samples where there is nothing new.
        """
        hop, stop = self.codec.hop, codes.shape[2] - (0 if last else self.ahead)
        if stop <= self.done:
            return torch.zeros(len(codes), self.codec.channels, 0, device=codes.device)
        first = max(0, self.done - self.context)
        sound = self.codec.decode(codes[..., first:])
        piece = sound[..., (self.done - first) * hop : (stop - first) * hop].clone()
        if self._tail is not None:
            share = torch.arange(hop, device=piece.device) / hop
            piece[..., :hop] = self._tail.lerp(piece[..., :hop], share)
        tail = sound[..., (stop - first) * hop : (stop - first + 1) * hop]
        self._tail = tail if tail.shape[-1] == hop else None
        self.done = stop
        return piece
