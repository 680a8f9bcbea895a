"""The melody of a recording: which of the twelve pitch classes is loudest, moment by moment."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

WINDOW, HOP = 16384, 4096
"""Samples that a moment is heard in, and from one moment to the next."""


def melody(sound: Tensor, sampling_rate: int, classes: int = 12) -> Tensor:
    """The loudest pitch class of each moment, as MusicGen melody is told (Copet et al. 2023, arXiv 2306.05284, 2.3).

    What transformers' MusicgenMelodyFeatureExtractor gives of the same samples; a tie is the lower class. Not done
    here: the paper takes drums and bass out of the recording beforehand.

    Args:
        sound: float [samples].
        sampling_rate: samples of a second.
        classes: of an octave, C first.

    Returns:
        float32 [moments, classes], 1 for the loudest class and 0 for the others; a moment every `HOP` samples.
    """
    import torch

    missing = max(0, WINDOW - len(sound))
    sound = torch.nn.functional.pad(sound.float(), (missing // 2, missing - missing // 2))
    window = torch.hann_window(WINDOW, device=sound.device)
    power = torch.stft(sound, WINDOW, HOP, window=window, normalized=False, return_complex=True).abs() ** 2
    loudness = _filters(sampling_rate, classes).to(sound.device) @ power
    return torch.nn.functional.one_hot(loudness.argmax(0), classes).float()


@functools.cache
def _filters(sampling_rate: int, classes: int) -> Tensor:
    """How much each frequency counts for each class: float32 [classes, frequencies]."""
    import torch
    from transformers.audio_utils import chroma_filter_bank

    return torch.from_numpy(chroma_filter_bank(WINDOW, classes, sampling_rate)).float()
