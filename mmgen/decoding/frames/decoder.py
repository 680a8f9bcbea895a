"""What every decoder of frames is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from mmgen.decoding.decoder import Decoder, Generation
from mmgen.rng import Rng
from mmgen.sessions.frames import FrameSession


@dataclass
class FrameDecoder(Decoder):
    """Base of the decoders that write frame by frame: a `Decoder` of another session.

    What it yields holds -1 where nothing is final yet, and counts the tokens of whole frames.
    """

    @abstractmethod
    def steps(self, session: FrameSession, rng: Rng) -> Iterator[Generation]:  # type: ignore[override]
        """Writes the clips of a session, yielding after every evaluation."""
