"""An interval of a recording that is written anew: which of its codes are free, and how old and new samples join."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmgen.errors import OptionError


@dataclass(frozen=True)
class Interval:
    """What of a recording is written anew.

    Attributes:
        recording: all of it, float32 [channels, samples].
        start: the first sample that is written anew.
        stop: the first behind those.
        fade: samples over which new ones take over inside the interval, and give way again.
    """

    recording: Tensor
    start: int
    stop: int
    fade: int

    @classmethod
    def of(cls, recording: Tensor, seconds: Any, sampling_rate: int, fade: int) -> Interval:
        """An interval as users say it.

        Args:
            recording: float32 [channels, samples].
            seconds: from where to where: a pair of numbers, or their text with a comma between.
            sampling_rate: samples of a second.
            fade: at most; a short interval has less.

        Raises:
            OptionError: it is no such pair, holds no sample, or does not lie in the recording.
        """
        length = recording.shape[1]
        needed = f"seconds such as 1.5,4: from 0 on, up to {length / sampling_rate:g}, where the recording ends"
        start, stop = (round(value * sampling_rate) for value in _pair(seconds, needed))
        if not 0 <= start < stop <= length:
            raise OptionError("interval", seconds, needed)
        return cls(recording, start, stop, min(fade, (stop - start) // 2))

    def frames(self, hop: int) -> range:
        """The frames of `hop` samples that have any part in it."""
        return range(self.start // hop, -(-self.stop // hop))

    def in_words(self, sampling_rate: int) -> str:
        """From which second to which, as `of` reads it."""
        return ",".join(str(place / sampling_rate) for place in (self.start, self.stop))

    def joined(self, sound: Tensor, first: int = 0) -> Tensor:
        """New sound [B, channels, n] inside the interval, and outside, to the last bit, the recording.

        Args:
            sound: from sample `first` of the recording on.
        """
        before = self.recording[:, first : first + sound.shape[-1]].to(sound.device)
        return before.expand_as(sound).lerp(sound, self._shares(first, sound.shape[-1]).to(sound.device))

    def _shares(self, first: int, count: int) -> Tensor:
        """The part that new samples have in each: float32 [count], 0 outside; ends of the recording need no fading."""
        places, steps = torch.arange(first, first + count), self.fade + 1
        rising = (places - self.start + 1) / steps if self.start else torch.ones(count)
        falling = (self.stop - places) / steps if self.stop < self.recording.shape[1] else torch.ones(count)
        inside = (places >= self.start) & (places < self.stop)
        return torch.minimum(rising, falling).clamp(0, 1) * inside


def _pair(seconds: Any, needed: str) -> tuple[float, float]:
    """Two finite numbers of what was given.

    Raises:
        OptionError: it is something else.
    """
    try:
        numbers = np.asarray(seconds.split(",") if isinstance(seconds, str) else seconds, dtype=float)
    except (TypeError, ValueError) as error:
        raise OptionError("interval", seconds, needed) from error
    if numbers.shape != (2,) or not np.isfinite(numbers).all():
        raise OptionError("interval", seconds, needed)
    return float(numbers[0]), float(numbers[1])
