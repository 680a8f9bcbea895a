"""A request: a row that was checked, with its name, its seeds and its items."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mmgen.batch.rows import Row
from mmgen.errors import OptionError, PromptError, UnknownNameError

OWN_FIELDS = ("id", "prompt", "seed", "count", "size", "options", "conditions")
"""What a row may say beside the options of the pipeline's call."""

_OPENAI_FIELDS = ("custom_id", "method", "url", "body")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
_MOST_ITEMS = 1_000_000
_DERIVED_SEEDS = 2**48
"""Seeds made from names lie below it, so that any reader of JSON keeps them whole."""


@dataclass(frozen=True, slots=True)
class Item:
    """One picture, clip or sound to make.

    Attributes:
        number: its place among all items of the job, from 0.
        id: its name, part of the name of its file.
        prompt: a text or a class.
        seed: of its noise.
        line: of its request.
        attempt: which try this is, from 1.
    """

    number: int
    id: str
    prompt: str | int
    seed: int
    line: int
    attempt: int = 1

    def again(self) -> Item:
        """The next try."""
        return replace(self, attempt=self.attempt + 1)


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt and how often, by which seeds and with which settings it is drawn.

    Attributes:
        line: where it stands in its file.
        id: its name: given, or a hash of all it says and of what draws it.
        prompt: a text or a class.
        seed: of its first item, the others count up; None derives one from the name of each item.
        count: items.
        settings: arguments of the pipeline's call beside prompt and seed.
    """

    line: int
    id: str
    prompt: str | int
    seed: int | None
    count: int
    settings: dict[str, Any]

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(
            [self.line, self.id, self.prompt, self.seed, self.count, self.settings], separators=(",", ":")
        )

    @classmethod
    def from_json(cls, line: str) -> Request:
        """A request from its line."""
        return cls(*json.loads(line))

    def items(self, first: int = 0, salt: int = 0) -> Iterator[Item]:
        """Its items, numbered from `first` on; another salt derives other seeds."""
        for index in range(self.count):
            name = self.id if self.count == 1 else f"{self.id}-{index}"
            seed = _derived_seed(name, salt) if self.seed is None else self.seed + index
            yield Item(first + index, name, self.prompt, seed, self.line)


def canonical(value: Any) -> str:
    """JSON that is the same for equal values."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _derived_seed(name: str, salt: int) -> int:
    digest = hashlib.sha256(f"{salt}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % _DERIVED_SEEDS


class RequestReader:
    """Makes requests of rows.

    Args:
        pipeline: its name; a row of OpenAI's shape may repeat it as `model`.
        choices: options of the pipeline's call.
        defaults: settings of rows that do not say otherwise; `count` among them.
        made_by: what else a picture depends on: it enters the names of requests that have none.
    """

    def __init__(
        self, pipeline: str, choices: Sequence[str], defaults: Mapping[str, Any], made_by: Mapping[str, Any]
    ) -> None:
        self._pipeline = pipeline
        self._choices = (*OWN_FIELDS, *choices)
        self._defaults = dict(defaults)
        self._count = self._defaults.pop("count", 1)
        self._made_by = dict(made_by)

    def read(self, row: Row) -> Request:
        """The request of a row.

        Raises:
            OptionError: a value that cannot be used.
            PromptError: there is no prompt.
            UnknownNameError: a name that is not known.
        """
        fields = {name: value for name, value in self._plain(row.fields).items() if value is not None}
        for name in fields:
            if name not in self._choices:
                raise UnknownNameError("field of a request", name, self._choices)
        prompt, seed = _prompt(fields.pop("prompt", None)), _whole(fields, "seed", None, 0, 2**63 - 1)
        count, given = _whole(fields, "count", self._count, 1, _MOST_ITEMS), _name(fields.pop("id", None))
        settings = self._settings(fields)
        try:
            text = canonical({"prompt": prompt, "seed": seed, "settings": settings, **self._made_by})
        except (TypeError, ValueError) as error:
            raise OptionError("settings", settings, f"values of JSON ({error})") from error
        name = given or hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        assert count is not None
        return Request(row.line, name, prompt, seed, count, settings)

    def _plain(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The fields of a row; of one in OpenAI's shape, its body under our names."""
        if "custom_id" not in fields and "body" not in fields:
            return fields
        for name in fields:
            if name not in _OPENAI_FIELDS:
                raise UnknownNameError("field of a request in OpenAI's shape", name, _OPENAI_FIELDS)
        body = dict(_mapping("body", fields.get("body")))
        if body.pop("model", self._pipeline) != self._pipeline:
            raise OptionError("model", fields["body"]["model"], f"{self._pipeline}, the pipeline of the job")
        if "n" in body:
            body["count"] = body.pop("n")
        return {"id": fields.get("custom_id"), **body}

    def _settings(self, fields: dict[str, Any]) -> dict[str, Any]:
        own = dict(_mapping("conditions", fields.pop("conditions", {})))
        for name in own:
            if name not in self._choices or name in OWN_FIELDS:
                raise UnknownNameError("condition", name, self._choices[len(OWN_FIELDS) :])
        if "options" in fields:
            fields["decoder_options"] = dict(_mapping("options", fields.pop("options")))
        if "size" in fields:
            own |= _size(fields.pop("size"))
        settings = self._defaults | fields | own
        if "decoder" not in fields and "decoder_options" in self._defaults:
            settings["decoder_options"] = self._defaults["decoder_options"] | fields.get("decoder_options", {})
        elif "decoder" in fields and "decoder_options" not in fields:
            settings.pop("decoder_options", None)  # those of another decoder
        return settings


def _prompt(given: Any) -> str | int:
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    if not isinstance(given, str) or not given.strip():
        raise PromptError("" if given is None else str(given), "is no prompt", "give a text, or the number of a class")
    if any("\ud800" <= letter <= "\udfff" for letter in given):
        raise PromptError(given, "is not UTF-8 text", "type it again")
    return given.strip()


def _name(given: Any) -> str | None:
    if given is None or (isinstance(given, str) and _NAME.fullmatch(given)):
        return given
    raise OptionError("id", given, "up to 100 letters, digits, hyphens and underscores, a letter or digit first")


def _whole(fields: dict[str, Any], name: str, default: int | None, minimum: int, maximum: int) -> int | None:
    value = fields.pop(name, default)
    if value is None or (type(value) is int and minimum <= value <= maximum):
        return value
    raise OptionError(name, value, f"a whole number from {minimum} to {maximum}")


def _mapping(name: str, given: Any) -> Mapping[str, Any]:
    if isinstance(given, Mapping) and all(isinstance(key, str) for key in given):
        return given
    raise OptionError(name, given, "values by name, a JSON object")


def _size(given: Any) -> dict[str, int]:
    found = _SIZE.fullmatch(given) if isinstance(given, str) else None
    if not found:
        raise OptionError("size", given, "width and height in pixels such as 512x384")
    return {"width": int(found[1]), "height": int(found[2])}
