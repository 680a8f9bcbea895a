"""What every decoder of spans is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from mmgen.decoding.decoder import Decoder, Generation
from mmgen.rng import Rng
from mmgen.sessions.masked_codebooks import MaskedCodebookSession


@dataclass
class SpanDecoder(Decoder):
    """Base of the decoders that fill codebooks in, one after the other: a `Decoder` of another session.

    What it yields holds -1 where nothing is final yet, and counts the tokens of whole codebooks.
    """

    @abstractmethod
    def steps(self, session: MaskedCodebookSession, rng: Rng) -> Iterator[Generation]:  # type: ignore[override]
        """Writes the recordings of a session, yielding after every evaluation."""
