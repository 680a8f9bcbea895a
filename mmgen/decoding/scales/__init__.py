"""Decoders of families that write scale by scale. A new file with a `ScaleDecoder` in it is found by itself."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from mmgen.decoding.options import construct, discover
from mmgen.errors import UnknownNameError

if TYPE_CHECKING:
    from mmgen.decoding.scales.decoder import ScaleDecoder


REFERENCE = "scale-wise"
"""What the others are compared with, as it is without options."""


@functools.cache
def decoders() -> dict[str, type[ScaleDecoder]]:
    """All decoders of scales by name."""
    from mmgen.decoding.scales.decoder import ScaleDecoder

    return discover(__name__, ScaleDecoder)


def make(decoder: str | ScaleDecoder, **options: Any) -> ScaleDecoder:
    """A decoder of scales by name, with options; a decoder is returned as it is.

    Raises:
        UnknownNameError: no such decoder has that name.
        OptionError: it has no such option, or the value is out of range.
    """
    if not isinstance(decoder, str):
        return decoder
    if decoder not in decoders():
        raise UnknownNameError("decoder of scales", decoder, decoders())
    return construct(decoders()[decoder], options)
