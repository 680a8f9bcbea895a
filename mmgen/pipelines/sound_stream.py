"""Sound that is heard while its codes are still being written."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from mmgen.pipelines.sound_drawing import SoundDrawing
from mmgen.tokenizers.sound_codec import SoundCodec


def pieces(
    codec: SoundCodec,
    drawings: Iterator[SoundDrawing],
    written: Callable[[SoundDrawing], tuple[Tensor, list[int]]],
    frames: int,
) -> Iterator[Tensor]:
    """The sound of drawings as they go on, each sample once.

    Args:
        codec: codes to sound.
        drawings: the same one again and again, as far as it is written.
        written: codes [B, K, T] of a drawing, and how many of each row's first frames are whole.
        frames: of a piece, at least; the last is shorter.

    Yields:
        The next samples of all recordings, float32 [B, channels, samples].
    """
    heard = pushed = 0
    # One for each recording: in a batch, sums come in another order, and the last bit of a sample may be another.
    streams = [codec.streaming()]
    for drawing in drawings:
        codes, whole = written(drawing)
        streams += [codec.streaming() for _ in whole[len(streams) :]]
        ready, behind = min(whole), streams[0].behind
        last = ready == codes.shape[2]
        if last or ready - max(pushed, behind) >= frames:
            rows = zip(streams, codes[..., pushed:ready].split(1), strict=True)
            sound = torch.cat([stream.push(own, last) for stream, own in rows])[..., : drawing.samples - heard]
            yield drawing.joined(sound, heard)
            heard, pushed = heard + sound.shape[-1], ready
        if last:
            return
