"""A small network that hears which instrument plays, or which word is said by whom.

It is trained by `mmgen.training.hearing`, and its weights are shipped beside this file.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import gelu, pad
from torchaudio.functional import melscale_fbanks

from mmgen.backbones.blocks import RMSNorm
from mmgen.errors import OptionError, WeightsError
from mmgen.evaluation.listening import RATE
from mmgen.scenes.sound import INSTRUMENTS, VOICES, WORDS, SoundScene, Speech

WEIGHTS_PATH = Path(__file__).with_name("hearing.safetensors")
BANDS = 64
"""Mel bands of the spectrum it reads."""

_WINDOW, _HOP = 1024, 320
_KERNEL = 5
_QUIET = 8.0
"""How far below the loudest band, in nepers, counts as silence: 70 dB."""
_ANSWERS: dict[str, tuple[str | None, ...]] = {
    "instrument": (None, *INSTRUMENTS),
    "voice": (None, *VOICES),
    "word": (None, *WORDS),
}


class Heard(NamedTuple):
    """What is heard in a recording.

    Attributes:
        instrument: a key of `INSTRUMENTS`, or None where none plays.
        voice: one of `VOICES`, or None where nobody speaks.
        word: one of `WORDS`, or None.
    """

    instrument: str | None
    voice: str | None
    word: str | None


class FrameBlock(nn.Module):
    """Looks at a frame and some before it, then widens and narrows its channels; both added to the stream.

    In the manner of ConvNeXt (Liu et al. 2022, section 2), with root mean square norms and no layer scale.

    Args:
        size: channels C of the stream.
        dilation: frames from one that it looks at to the next.
    """

    def __init__(self, size: int, dilation: int) -> None:
        super().__init__()
        self.around = nn.Conv1d(size, size, _KERNEL, dilation=dilation, groups=size)
        self.norm = RMSNorm(size)
        self.widen = nn.Linear(size, 2 * size)
        self.narrow = nn.Linear(2 * size, size)
        self._reach = (_KERNEL - 1) * dilation
        nn.init.zeros_(self.narrow.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Stream [B, T, C] behind the block."""
        around = self.around(pad(x.transpose(1, 2), (self._reach, 0))).transpose(1, 2)
        return x + self.narrow(gelu(self.widen(self.norm(around))))


class SoundHearing(nn.Module):
    """Recordings to answers: blocks over the frames of their spectra, and a linear layer of the mean and the maximum.

    Args:
        size: channels of the stream, and of the features.
        layers: blocks; they look 1, 2, 4 ... frames apart.
    """

    def __init__(self, size: int = 96, layers: int = 4) -> None:
        super().__init__()
        self.start = nn.Linear(BANDS, size)
        self.blocks = nn.ModuleList(FrameBlock(size, 2**number) for number in range(layers))
        self.norm = RMSNorm(size)
        self.end = nn.Linear(size, size)
        self.answers = nn.Linear(2 * size, sum(map(len, _ANSWERS.values())))

    def forward(self, spectra: Tensor) -> tuple[Tensor, ...]:
        """Logits of instrument [B, 13], voice [B, 3] and word [B, 21], the first of each for none.

        Args:
            spectra: from `log_mel`, [B, frames, 64].
        """
        frames = self.start(spectra)
        for block in self.blocks:
            frames = block(frames)
        frames = self.end(self.norm(frames))
        pooled = torch.cat((frames.mean(1), frames.amax(1)), dim=-1)
        return self.answers(pooled).split([len(choices) for choices in _ANSWERS.values()], dim=-1)


def log_mel(sounds: Tensor) -> Tensor:
    """Sounds [B, samples] at 16 kHz to logarithmic mel spectra [B, frames, 64], 0 at the loudest and -1 at silence."""
    window = torch.hann_window(_WINDOW, device=sounds.device)
    spectra = torch.stft(sounds.float(), _WINDOW, _HOP, window=window, return_complex=True).abs()
    bands = spectra.transpose(1, 2) @ _mel_bands().to(sounds.device)
    loudest = bands.amax((1, 2), keepdim=True).clamp(min=1e-5)
    return (bands / loudest).clamp(min=np.exp(-_QUIET)).log() / _QUIET


@functools.cache
def _mel_bands() -> Tensor:
    return melscale_fbanks(_WINDOW // 2 + 1, 40.0, RATE / 2, BANDS, RATE, mel_scale="slaney", norm="slaney")


def answers_of(scenes: Sequence[SoundScene]) -> Tensor:
    """The true answers for scenes, as numbers: int64 [B, 3]."""
    values = [(None, s.voice, s.word) if isinstance(s, Speech) else (s.instrument, None, None) for s in scenes]
    return torch.tensor(
        [[field.index(value) for field, value in zip(_ANSWERS.values(), row, strict=True)] for row in values]
    )


@functools.cache
def shipped_hearing(path: Path = WEIGHTS_PATH) -> SoundHearing:
    """The trained network, on the CPU in float32.

    Raises:
        WeightsError: the file is missing, damaged, or of another network.
    """
    network = SoundHearing()
    try:
        network.load_state_dict({key: tensor.float() for key, tensor in load_file(path).items()})
    except (SafetensorError, OSError, RuntimeError) as error:
        raise WeightsError(path, f"cannot be used ({error})", "install mmgen again") from error
    return network.eval().requires_grad_(False)


@torch.no_grad()
def hear(sounds: Sequence[np.ndarray], network: SoundHearing | None = None) -> list[Heard]:
    """What is heard in recordings.

    Args:
        sounds: float [samples] each, at 16 kHz, at least one; of any loudness.
        network: the shipped one where nothing is given.

    Raises:
        OptionError: there is no recording.
    """
    if not len(sounds):
        raise OptionError("sounds", [], "at least one recording")
    network = network or shipped_hearing()
    heard = []
    for sound in sounds:  # one by one: they may be of any length
        said = network(log_mel(torch.from_numpy(np.asarray(sound, np.float32))[None]))
        best = (int(logits.argmax()) for logits in said)
        heard.append(Heard(*(field[place] for field, place in zip(_ANSWERS.values(), best, strict=True))))
    return heard
