"""How far the spectra of two recordings are apart."""

from __future__ import annotations

import torch
from torch import Tensor

_SIZES = (512, 1024, 2048)
_FLOOR = 3e-3


def spectral_distance(one: Tensor, other: Tensor) -> Tensor:
    """How far the spectra of recordings are apart in several resolutions (Yamamoto et al. 2020, "Parallel WaveGAN").

    In each resolution it is the relative distance of the magnitudes plus the mean distance of their logarithms (section
    2.2, equations 5 and 6). Deviations: windows of 512, 1,024 and 2,048 samples, a quarter apart; and magnitudes below
    1/300 of that of a sine of root mean square 0.1 are as good as silence, or the logarithms would count what nobody
    hears.

    Args:
        one: waveforms [B, samples], 2,048 or more.
        other: the ones it is compared with, likewise.

    Returns:
        One number, of all recordings together; 0 where they are equal.
    """
    total = one.new_zeros(())
    for size in _SIZES:
        window = torch.hann_window(size, device=one.device, dtype=one.dtype)
        magnitudes, wanted = (
            torch.stft(sound, size, size // 4, window=window, return_complex=True).abs() / (0.035 * size)
            for sound in (one, other)
        )
        relative = (magnitudes - wanted).square().sum().sqrt() / wanted.square().sum().sqrt().clamp(min=_FLOOR)
        total = total + relative + ((magnitudes + _FLOOR).log() - (wanted + _FLOOR).log()).abs().mean()
    return total / len(_SIZES)
