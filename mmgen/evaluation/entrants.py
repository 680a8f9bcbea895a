"""Which decoders take part in a comparison, and with which options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from mmgen import decoding
from mmgen.decoding.decoder import Decoder
from mmgen.decoding.drafters.stepwise import Stepwise
from mmgen.decoding.options import parts, read_value
from mmgen.errors import OptionError, UnknownNameError

EVERYTHING = "all"
"""Names every decoder, acceptance rule and drafter."""
_ONE_BY_ONE, _JOINT = "coupled-jacobi", "speculative-jacobi"
_CARRYING, _AFRESH = "jacobi", "speculative"


class Entrant(NamedTuple):
    """A decoder, and those of its options that were given."""

    decoder: Decoder
    options: dict[str, Any]


def choose_entrants(
    own: Decoder, decoders: str | Sequence[str | Decoder] | None, algorithms: Any = None
) -> list[Entrant]:
    """The decoders of a comparison, each once; first the reference of `algorithms`, such as autoregression.

    Args:
        own: the pipeline's decoder.
        decoders: see `parse_decoders`; None for all decoders and the pipeline's own.
        algorithms: the package of the pipeline's decoders; None where they write token by token.
    """
    algorithms = algorithms or decoding
    if decoders is not None:
        chosen = parse_decoders(decoders, algorithms)
    else:
        plain = algorithms.make(own.name).options()
        changed = {name: value for name, value in own.options().items() if value != plain[name]}
        chosen = [*parse_decoders(list(algorithms.decoders()), algorithms), Entrant(own, changed)]
    entrants = [Entrant(algorithms.make(algorithms.REFERENCE), {})]
    for entrant in chosen:
        if all(_identity(entrant.decoder) != _identity(other.decoder) for other in entrants):
            entrants.append(entrant)
    return entrants


def _identity(decoder: Decoder) -> tuple[str, dict[str, Any]]:
    return decoder.name, decoder.options()


def parse_decoders(decoders: str | Sequence[str | Decoder], algorithms: Any = None) -> list[Entrant]:
    """Decoders, and which of their options were given.

    `jacobi,proactive:window=32+depth=1` names two. Between options a comma does as well as a plus: what
    has no decoder's name before its first `=` belongs to the decoder before it. A value ends only there,
    so the parts of a decoder are named with their options, as in
    `coupled-jacobi:window=32+acceptance=grouped/ranks=7/gap=0.15`. `all` names every decoder, and besides each
    acceptance rule and each drafter on one decoder it suits.

    Raises:
        UnknownNameError: there is no such decoder among `algorithms`.
        OptionError: it has no such option, the value is out of range, or nothing is named.
    """
    algorithms = algorithms or decoding
    if decoders == EVERYTHING:
        decoders = _everything() if algorithms is decoding else list(algorithms.decoders())
    named: list[str | Decoder] = []
    for item in [decoders] if isinstance(decoders, str) else decoders:
        for word in item.split(",") if isinstance(item, str) else [item]:
            belongs = isinstance(word, str) and "=" in word and ":" not in word
            if belongs and named and isinstance(named[-1], str):
                named[-1] += ("+" if ":" in named[-1] else ":") + str(word).strip()
            elif not isinstance(word, str) or word.strip():
                named.append(word.strip() if isinstance(word, str) else word)
    if not named:
        raise OptionError("decoders", decoders, f"some of {', '.join(algorithms.decoders())}")
    return [
        _parse_decoder(part, algorithms) if isinstance(part, str) else Entrant(part, part.options()) for part in named
    ]


def _everything() -> list[str]:
    rules, drafters = parts("acceptance"), parts("drafter")
    return [
        *decoding.decoders(),
        *(f"{_ONE_BY_ONE if not rule.joint else _JOINT}:acceptance={name}" for name, rule in rules.items()),
        *(f"{_AFRESH if issubclass(kind, Stepwise) else _CARRYING}:drafter={name}" for name, kind in drafters.items()),
    ]


def _parse_decoder(words: str, algorithms: Any) -> Entrant:
    name, _, rest = words.partition(":")
    if name not in algorithms.decoders():
        raise UnknownNameError("decoder", name, algorithms.decoders())
    types = {option["name"]: option["type"] for option in algorithms.decoders()[name].describe()["options"]}
    options: dict[str, Any] = {}
    for word in filter(None, rest.split("+")):
        key, _, value = word.partition("=")
        options[key] = read_value(value, types.get(key, "str"))
    return Entrant(algorithms.make(name, **options), options)
