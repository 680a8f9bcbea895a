"""Decoders of students, which learned to write in few evaluations. A new file with one in it is found by itself."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from mmgen.decoding.options import construct, discover
from mmgen.errors import UnknownNameError

if TYPE_CHECKING:
    from mmgen.decoding.scales.decoder import ScaleDecoder


REFERENCE = "distilled"
"""What the others are compared with, as it is without options."""


@functools.cache
def decoders() -> dict[str, type[ScaleDecoder]]:
    """All decoders of students by name."""
    from mmgen.decoding.scales.decoder import ScaleDecoder

    return discover(__name__, ScaleDecoder)


def make(decoder: str | ScaleDecoder, **options: Any) -> ScaleDecoder:
    """A decoder of students by name, with options; a decoder is returned as it is.

    Raises:
        UnknownNameError: no such decoder has that name.
        OptionError: it has no such option, or the value is out of range.
    """
    if not isinstance(decoder, str):
        return decoder
    if decoder not in decoders():
        raise UnknownNameError("decoder of students", decoder, decoders())
    return construct(decoders()[decoder], options)
