"""Sound to look at: how loud each pitch is, over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmgen.errors import SizeError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

_BANDS, _RANGE = 128, 80.0
"""Mel bands, and the decibels from black to the loudest colour."""


def spectrogram(sound: np.ndarray, sampling_rate: int, height: int = 256, width: int = 768) -> Image.Image:
    """A picture of sound: time from left to right, pitch upwards on the mel scale, louder is brighter.

    Args:
        sound: [channels, samples], of which the mean is shown.
        sampling_rate: samples of a second.
        height: pixels.
        width: pixels.

    Raises:
        SizeError: the sound has another shape, or less than two samples.
    """
    import torch
    from matplotlib import colormaps
    from PIL import Image
    from torchaudio.transforms import AmplitudeToDB, MelSpectrogram

    if sound.ndim != 2 or sound.shape[1] < 2:
        raise SizeError(f"sound of shape {list(sound.shape)}", "[channels, samples], two samples or more")
    mono = torch.from_numpy(sound.mean(0)).float()
    # As many moments as pixels; each looks at a 16th of a second or so, the longest that still tells a beat.
    length = 2 ** max(6, round(sampling_rate / 16).bit_length())
    bands = min(_BANDS, length // 4)
    mel = MelSpectrogram(
        sampling_rate, length, hop_length=max(1, len(mono) // width), n_mels=bands, pad_mode="constant"
    )
    loudness = AmplitudeToDB(top_db=_RANGE)(mel(mono))
    shares = ((loudness - loudness.max()) / _RANGE + 1).clamp(0, 1).flip(0).numpy()
    return Image.fromarray(colormaps["magma"](shares, bytes=True)[..., :3]).resize((width, height))
