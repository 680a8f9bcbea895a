"""Recordings that are being written."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from mmgen.pipelines.drawing import Drawing
from mmgen.pipelines.sound_interval import Interval


@dataclass
class SoundDrawing(Drawing):
    """Recordings being written.

    Attributes:
        samples: that each will have.
        interval: of one recording that all of them are, but for what is written anew; None where there is none.
    """

    samples: int = field(kw_only=True)
    interval: Interval | None = None

    def joined(self, sound: Tensor, first: int = 0) -> Tensor:
        """Sound [B, channels, n] from sample `first` on, with the recording that it is written into around it."""
        return sound if self.interval is None else self.interval.joined(sound, first)
