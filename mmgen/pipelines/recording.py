"""Recordings that users give, as a codec wants them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmgen.errors import OptionError, SizeError
from mmgen.media.sound import read_sound

LONGEST = 3600
"""Seconds of a recording, at most."""


def recording(given: Any, sampling_rate: int, channels: int, seconds: float = LONGEST) -> Tensor:
    """Samples of a recording, float32 [channels, samples]; of other channels the mean, or the one on both sides.

    Args:
        given: a file; samples [samples] or [1 or 2, samples] at the wanted rate; or a pair of samples and their rate.
        sampling_rate: samples of a second that are wanted; of another rate they are resampled.
        channels: that are wanted.
        seconds: that a file may last, at most.

    Raises:
        SizeError: samples of another shape or type, or none.
        OptionError: a rate that is no positive whole number.
        OutputError: the file cannot be read, or lasts longer.
    """
    if isinstance(given, str | Path):
        given = read_sound(Path(given), seconds)
    given, rate = given if isinstance(given, tuple) and len(given) == 2 else (given, sampling_rate)
    sound = _resampled(_samples(given), rate, sampling_rate)
    mixed = sound if len(sound) == channels else sound.mean(0, keepdim=True).expand(channels, -1)
    return mixed.float()


def _samples(given: Any) -> Tensor:
    """Samples as [1 or 2, samples]."""
    sound = given if isinstance(given, Tensor) else torch.as_tensor(np.asarray(given))
    sound = sound[None] if sound.ndim == 1 else sound
    if sound.ndim != 2 or not sound.is_floating_point() or sound.shape[0] not in (1, 2) or not sound.shape[1]:
        needed = "numbers in [-1, 1] of shape [samples], [1, samples] or [2, samples]"
        raise SizeError(f"a recording of shape {list(sound.shape)} and type {sound.dtype}", needed)
    return sound


def _resampled(sound: Tensor, rate: Any, wanted: int) -> Tensor:
    """Samples [channels, samples] of one rate at another."""
    if isinstance(rate, bool) or not isinstance(rate, int) or rate < 1:
        raise OptionError("sampling_rate", rate, "a positive whole number: give (samples, sampling_rate)")
    if rate == wanted:
        return sound
    from torchaudio.functional import resample

    return resample(sound, rate, wanted)
