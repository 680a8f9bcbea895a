"""The decoding algorithms, one file each. A new file with a `Decoder` in it is found by itself."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

from mmgen.errors import OptionError, UnknownNameError

if TYPE_CHECKING:
    from mmgen.decoding.decoder import Decoder


@functools.cache
def decoders() -> dict[str, type[Decoder]]:
    """All decoders by name, `autoregressive` first."""
    from mmgen.decoding.decoder import Decoder

    found: dict[str, type[Decoder]] = {}
    for module in pkgutil.iter_modules(__path__, __name__ + "."):
        if not module.ispkg:
            for value in vars(importlib.import_module(module.name)).values():
                if isinstance(value, type) and issubclass(value, Decoder) and "name" in vars(value):
                    found[value.name] = value
    return dict(sorted(found.items(), key=lambda item: (item[0] != "autoregressive", item[0])))


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
    kind = decoders()[decoder]
    known = [option["name"] for option in kind.describe()["options"]]
    for name, value in options.items():
        if name not in known:
            raise OptionError(name, value, f"one of {decoder}'s options: {', '.join(known) or 'it has none'}")
    return kind(**options)
