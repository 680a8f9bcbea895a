"""The decoding algorithms, one file each. A new file with a `Decoder` in it is found by itself."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from mmgen.decoding.options import construct, discover
from mmgen.errors import UnknownNameError

if TYPE_CHECKING:
    from mmgen.decoding.decoder import Decoder


REFERENCE = "autoregressive"
"""What the others are compared with."""


@functools.cache
def decoders() -> dict[str, type[Decoder]]:
    """All decoders by name, `autoregressive` first."""
    from mmgen.decoding.decoder import Decoder

    found = discover(__name__, Decoder)
    return dict(sorted(found.items(), key=lambda item: (item[0] != REFERENCE, item[0])))


def make(decoder: str | Decoder, **options: Any) -> Decoder:
    """A decoder by name, with options; a decoder is returned as it is.

    Raises:
        UnknownNameError: no decoder has that name.
        OptionError: it has no such option, or the value is out of range.
    """
    if not isinstance(decoder, str):
        return decoder
    if decoder not in decoders():
        raise UnknownNameError("decoder", decoder, decoders())
    return construct(decoders()[decoder], options)
