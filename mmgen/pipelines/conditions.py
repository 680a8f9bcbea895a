"""What a family may be told beside the prompt: checked, and said in words for files and commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmgen.errors import OptionError


def check(
    given: Mapping[str, Any], defaults: Mapping[str, Any], choices: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Conditions by name, with the defaults of those not given.

    Args:
        given: values; None counts as not given.
        defaults: of all there are. Where one is true or false, words of the command line will do, too.
        choices: what some of them must be one of.

    Raises:
        OptionError: a value out of range.
    """
    conditions = dict(defaults) | {name: value for name, value in given.items() if value is not None}
    for name, default in defaults.items():
        if isinstance(default, bool):
            conditions[name] = _truth(name, conditions[name])
    for name, words in choices.items():
        if conditions[name] not in words:
            raise OptionError(name, conditions[name], f"one of {', '.join(words)}")
    return conditions


def in_words(conditions: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, str]:
    """Those other than the defaults, as files and commands hold them.

    A file is said by its full path, and of an object only that there was one.
    """
    return {name: _word(value) for name, value in conditions.items() if not _same(value, defaults[name])}


def _same(value: Any, default: Any) -> bool:
    return value is default or (isinstance(value, str | bool | int | float) and value == default)


def _word(value: Any) -> str:
    if isinstance(value, str | bool | int | float):
        return str(Path(value).resolve()) if isinstance(value, str) and _is_file(value) else str(value)
    return f"<{type(value).__name__}>"


def _is_file(word: str) -> bool:
    try:
        return Path(word).is_file()
    except (OSError, ValueError):
        return False


def _truth(name: str, value: Any) -> bool:
    truth = {True: True, False: False, "true": True, "false": False}
    key = value.lower() if isinstance(value, str) else value
    if not isinstance(key, str | bool) or key not in truth:
        raise OptionError(name, value, "true or false")
    return truth[key]
