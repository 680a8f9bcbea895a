"""What every decoder of planes is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from mmgen.decoding.decoder import Decoder, Generation
from mmgen.rng import Rng
from mmgen.sessions.planes import PlaneSession


@dataclass
class PlaneDecoder(Decoder):
    """Base of the decoders that write plane by plane: a `Decoder` of another session.

    What it yields holds tokens in the order of the layout's line, and counts tokens.
    """

    @abstractmethod
    def steps(self, session: PlaneSession, rng: Rng) -> Iterator[Generation]:  # type: ignore[override]
        """Writes the lines of a session, yielding after every evaluation."""
