"""Which decoders take part in a comparison, and with which options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from mmgen import decoding
from mmgen.decoding.decoder import Decoder
from mmgen.errors import OptionError, UnknownNameError

REFERENCE = "autoregressive"
"""What the others are compared with."""


class Entrant(NamedTuple):
    """A decoder, and those of its options that were given."""

    decoder: Decoder
    options: dict[str, Any]


def choose_entrants(own: Decoder, decoders: str | Sequence[str | Decoder] | None) -> list[Entrant]:
    """The decoders of a comparison, each once, autoregression first.

    Args:
        own: the pipeline's decoder.
        decoders: see `parse_decoders`; None for all decoders and the pipeline's own.
    """
    if decoders is not None:
        chosen = parse_decoders(decoders)
    else:
        plain = decoding.make(own.name).options()
        changed = {name: value for name, value in own.options().items() if value != plain[name]}
        chosen = [Entrant(decoding.make(name), {}) for name in decoding.decoders()] + [Entrant(own, changed)]
    entrants = [Entrant(decoding.make(REFERENCE), {})]
    for entrant in chosen:
        if all(_identity(entrant.decoder) != _identity(other.decoder) for other in entrants):
            entrants.append(entrant)
    return entrants


def _identity(decoder: Decoder) -> tuple[str, dict[str, Any]]:
    return decoder.name, decoder.options()


def parse_decoders(decoders: str | Sequence[str | Decoder]) -> list[Entrant]:
    """Decoders, and which of their options were given.

    `jacobi,proactive:window=32+depth=1` names two. Between options a comma does as well as a plus:
    what has no name before its `=` belongs to the decoder before it.

    Raises:
        UnknownNameError: there is no such decoder.
        OptionError: it has no such option, the value is out of range, or nothing is named.
    """
    parts: list[str | Decoder] = []
    for item in [decoders] if isinstance(decoders, str) else decoders:
        for word in item.split(",") if isinstance(item, str) else [item]:
            belongs = isinstance(word, str) and "=" in word and ":" not in word
            if belongs and parts and isinstance(parts[-1], str):
                parts[-1] += ("+" if ":" in parts[-1] else ":") + str(word).strip()
            elif not isinstance(word, str) or word.strip():
                parts.append(word.strip() if isinstance(word, str) else word)
    if not parts:
        raise OptionError("decoders", decoders, f"some of {', '.join(decoding.decoders())}")
    return [_parse_decoder(part) if isinstance(part, str) else Entrant(part, part.options()) for part in parts]


def _parse_decoder(words: str) -> Entrant:
    name, _, rest = words.partition(":")
    if name not in decoding.decoders():
        raise UnknownNameError("decoder", name, decoding.decoders())
    types = {option["name"]: option["type"] for option in decoding.decoders()[name].describe()["options"]}
    options: dict[str, Any] = {}
    for word in filter(None, rest.split("+")):
        key, _, value = word.partition("=")
        options[key] = _value(key, value, types.get(key, "str"))
    return Entrant(decoding.make(name, **options), options)


def _value(name: str, word: str, kind: str) -> Any:
    try:
        if kind == "bool":
            return {"true": True, "false": False}[word.lower()]
        return {"int": int, "float": float}.get(kind, str)(word)
    except (KeyError, ValueError):
        words = {"int": "a whole number", "float": "a number", "bool": "true or false"}
        raise OptionError(name, word, words[kind]) from None
