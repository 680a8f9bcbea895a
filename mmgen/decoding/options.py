"""Options: fields that say their default, range and meaning once, for API, flags, JSON, docs and widgets alike."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from mmgen.errors import OptionError, UnknownNameError

Law = Literal["exact", "bounded", "heuristic"]
"""`exact`: tokens are distributed as the model's own; `bounded`: within a stated distance; `heuristic`: no promise."""
LAWS: tuple[Law, ...] = ("exact", "bounded", "heuristic")

PARTS = {
    "acceptance": ("mmgen.decoding.acceptance", "acceptance rule"),
    "drafter": ("mmgen.decoding.drafters", "drafter"),
}
"""Packages of the parts a decoder is made of, and what one of them is called."""


def option(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] | None = None,
    part: str | None = None,
) -> Any:
    """A field: its default and what the command line, JSON, the docs and the app say of it.

    Args:
        part: a key of `PARTS` where the value is such a part: an object, or its text such as
            `grouped/ranks=7`.
    """
    metadata = {"help": help, "minimum": minimum, "maximum": maximum, "choices": choices, "part": part}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass
class Part:
    """Base of what decoders are made of: a dataclass whose fields are its options, with a name and its paper.

    Its text, `name/option=value/...`, is what flags, JSON and widgets hold.

    Raises:
        OptionError: a value has the wrong type or is out of range.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    part: ClassVar[str]
    """Which part of a decoder it is: a key of `PARTS`."""

    def __post_init__(self) -> None:
        check_options(self)

    def __str__(self) -> str:
        changed = [
            f"{field.name}={_word(getattr(self, field.name))}"
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        ]
        return "/".join((self.name, *changed))

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """Name, paper, summary and options."""
        return {"name": cls.name, "paper": cls.paper, "summary": summary(cls), "options": describe_options(cls)}


def discover(package: str, base: Any) -> dict[str, Any]:
    """The named subclasses of `base` in the modules of a package, by name."""
    found: dict[str, Any] = {}
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__, package + "."):
        if not module.ispkg:
            for value in vars(importlib.import_module(module.name)).values():
                if isinstance(value, type) and issubclass(value, base) and "name" in vars(value):
                    found[vars(value)["name"]] = value
    return dict(sorted(found.items()))


@functools.cache
def parts(kind: str) -> dict[str, Any]:
    """The parts of a kind, a key of `PARTS`, by name."""
    return discover(PARTS[kind][0], Part)


def make_part(kind: str, given: str | Part) -> Part:
    """A part from its text; a part is returned as it is.

    Args:
        kind: a key of `PARTS`.

    Raises:
        UnknownNameError: there is none of that name.
        OptionError: it has no such option, or a value is out of range.
    """
    if not isinstance(given, str):
        return given
    name, *words = given.split("/")
    if name not in parts(kind):
        raise UnknownNameError(PARTS[kind][1], name, parts(kind))
    pairs = (word.partition("=")[::2] for word in words)
    types = {entry["name"]: entry["type"] for entry in describe_options(parts(kind)[name])}
    return construct(parts(kind)[name], {key: read_value(value, types.get(key, "str")) for key, value in pairs})


def construct(kind: Any, options: Mapping[str, Any]) -> Any:
    """A decoder or part with options.

    Raises:
        OptionError: it has no such option, or a value is out of range.
    """
    known = [field.name for field in dataclasses.fields(kind)]
    for name, value in options.items():
        if name not in known:
            raise OptionError(name, value, f"one of {kind.name}'s options: {', '.join(known) or 'it has none'}")
    return kind(**options)


def read_value(word: str, kind: str) -> Any:
    """A value from text, by the type its option declares; what cannot be read stays text, and is refused by name."""
    if kind == "bool":
        return {"true": True, "false": False}.get(word.lower(), word)
    try:
        return {"int": int, "float": float}.get(kind, str)(word)
    except ValueError:
        return word


def summary(kind: type) -> str:
    """The first line of a docstring."""
    return (kind.__doc__ or "").strip().split("\n")[0]


def describe_options(kind: type) -> list[dict[str, Any]]:
    """Name, type, default, meaning and limits of each option."""
    described = []
    for field in dataclasses.fields(kind):
        limits = {key: value for key, value in field.metadata.items() if value is not None}
        if "part" in limits:
            limits["choices"] = tuple(parts(limits["part"]))
        described.append({"name": field.name, "type": type(field.default).__name__, "default": field.default, **limits})
    return described


def check_options(holder: Any) -> None:
    """Checks every option of a decoder or part, and turns the text of a part into the part."""
    for field in dataclasses.fields(holder):
        value = getattr(holder, field.name)
        part = field.metadata.get("part")
        if part is None:
            _check(field, value)
        elif isinstance(value, str) or (isinstance(value, Part) and value.part == part):
            setattr(holder, field.name, make_part(part, value))
        else:
            raise OptionError(field.name, value, f"one of {', '.join(parts(part))}")


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check(field: dataclasses.Field, value: Any) -> None:
    kind, choices = type(field.default), field.metadata.get("choices")
    minimum, maximum = field.metadata.get("minimum"), field.metadata.get("maximum")
    if choices is not None:
        if value not in choices:
            raise OptionError(field.name, value, f"one of {', '.join(choices)}")
        return
    number = kind in (int, float)
    fits = type(value) is kind or (kind is float and type(value) is int)
    if number and fits:
        fits = (minimum is None or value >= minimum) and (maximum is None or value <= maximum)
    if not fits:
        limits = f" from {minimum} to {maximum}" if number and None not in (minimum, maximum) else ""
        words = {int: "a whole number", float: "a number", bool: "true or false"}.get(kind, kind.__name__)
        raise OptionError(field.name, value, words + limits)
