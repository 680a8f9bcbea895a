"""What every decoder of scales is, and what it yields."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from mmgen.decoding.decoder import Decoder, Generation
from mmgen.rng import Rng
from mmgen.sessions.scales import ScaleSession


@dataclass
class ScaleGeneration(Generation):
    """Pictures as far as they are written; a decoder yields it after every scale.

    Attributes:
        features: float32 [B, C, h, w], the sum of the scales so far, which `decode_features` makes a picture of.
    """

    features: Tensor


@dataclass
class ScaleDecoder(Decoder):
    """Base of the decoders that write scale by scale: a `Decoder` of another session."""

    @abstractmethod
    def steps(self, session: ScaleSession, rng: Rng) -> Iterator[ScaleGeneration]:  # type: ignore[override]
        """Writes the pictures of a session, yielding after every scale."""

    def drawn(self, scales: int) -> int:
        """How many of so many scales a whole picture of this decoder has, the first ones."""
        return scales
