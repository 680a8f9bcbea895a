"""The decoders of a package: found in its files, made by name."""

from __future__ import annotations

import functools
import importlib
from typing import Any

from mmgen.decoding.options import construct, discover
from mmgen.errors import UnknownNameError


class Registry:
    """The decoders of one package.

    Args:
        package: its name.
        base: what they have in common, as `module:class`; imported when it is first needed, as torch comes with it.
        kind: what one of them is called in messages.
        reference: the name of the one that others are compared with.
    """

    def __init__(self, package: str, base: str, kind: str, reference: str) -> None:
        self._package, self._base, self._kind, self._reference = package, base, kind, reference

    @functools.cache  # noqa: B019  (a registry lives as long as its package)
    def decoders(self) -> dict[str, Any]:
        """All decoders by name, the reference first."""
        module, name = self._base.split(":")
        found = discover(self._package, getattr(importlib.import_module(module), name))
        return dict(sorted(found.items(), key=lambda item: (item[0] != self._reference, item[0])))

    def make(self, decoder: Any, **options: Any) -> Any:
        """A decoder by name, with options; a decoder is returned as it is.

        Raises:
            UnknownNameError: no decoder here has that name.
            OptionError: it has no such option, or the value is out of range.
        """
        if not isinstance(decoder, str):
            return decoder
        if decoder not in self.decoders():
            raise UnknownNameError(self._kind, decoder, self.decoders())
        return construct(self.decoders()[decoder], options)
