"""Recordings that sound is to go on from, as a codec wants them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmgen.errors import SizeError
from mmgen.media.sound import read_sound


def recording(given: Any, sampling_rate: int, channels: int) -> Tensor:
    """Samples of a recording, float32 [channels, samples]; of other channels the mean, or the one on both sides.

    Args:
        given: a file, or samples [samples] or [1 or 2, samples] at the wanted rate.
        sampling_rate: samples of a second that are wanted; those of a file are resampled.
        channels: that are wanted.

    Raises:
        SizeError: samples of another shape or type, or none.
        OutputError: the file cannot be read.
    """
    if isinstance(given, str | Path):
        samples, rate = read_sound(Path(given))
        given = _resampled(torch.from_numpy(samples), rate, sampling_rate)
    sound = given if isinstance(given, Tensor) else torch.as_tensor(np.asarray(given))
    sound = sound[None] if sound.ndim == 1 else sound
    if sound.ndim != 2 or not sound.is_floating_point() or sound.shape[0] not in (1, 2) or not sound.shape[1]:
        needed = "numbers in [-1, 1] of shape [samples], [1, samples] or [2, samples]"
        raise SizeError(f"a recording of shape {list(sound.shape)} and type {sound.dtype}", needed)
    mixed = sound if len(sound) == channels else sound.mean(0, keepdim=True).expand(channels, -1)
    return mixed.float()


def _resampled(sound: Tensor, rate: int, wanted: int) -> Tensor:
    """Samples [channels, samples] of one rate at another."""
    if rate == wanted:
        return sound
    from torchaudio.functional import resample

    return resample(sound, rate, wanted)
