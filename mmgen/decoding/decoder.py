"""What every decoder is: a small set of options, a declared law, and a stream of evaluations."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from diffusers import ConfigMixin, SchedulerMixin
from torch import Tensor

from mmgen.errors import OptionError
from mmgen.rng import Rng
from mmgen.sessions.session import Session

Law = Literal["exact", "bounded", "heuristic"]
"""`exact`: tokens are distributed as the model's own; `bounded`: within a stated distance; `heuristic`: no promise."""


def option(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """A field of a decoder: its default and what the command line, JSON, the docs and the app say of it."""
    metadata = {"help": help, "minimum": minimum, "maximum": maximum, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass
class Generation:
    """Lines as far as they are written; a decoder yields it after every evaluation.

    Attributes:
        tokens: int64 [B, N]; what lies past `committed` is draft.
        committed: int64 [B], tokens of each row that are final.
        evaluations: int64 [B], evaluations of the model each row took part in.
    """

    tokens: Tensor
    committed: Tensor
    evaluations: Tensor


@dataclass
class Decoder(SchedulerMixin, ConfigMixin, ABC):
    """Base of all decoders.

    A subclass is a dataclass whose fields are its options (see `option`), with a name, a law, its
    paper, and `steps`. Decoders are components of a pipeline as diffusers' schedulers are: saved with
    it, and swapped by assignment.

    Raises:
        OptionError: a value has the wrong type or is out of range.
    """

    name: ClassVar[str]
    law: ClassVar[Law]
    paper: ClassVar[str]
    seeded: ClassVar[bool] = False
    """Whether it draws the very tokens that `autoregressive` draws from the same seed."""
    config_name = "decoder_config.json"

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field, getattr(self, field.name))
        self.register_to_config(**{field.name: getattr(self, field.name) for field in dataclasses.fields(self)})

    @abstractmethod
    def steps(self, session: Session, rng: Rng) -> Iterator[Generation]:
        """Writes the lines of a session, yielding after every evaluation."""

    @torch.no_grad()
    def generate(self, session: Session, rng: Rng) -> Generation:
        """Writes the lines of a session to their end."""
        return deque(self.steps(session, rng), maxlen=1).pop()

    def options(self) -> dict[str, Any]:
        """The options by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """Name, law, whether it is seeded, paper, summary and options, as `mmgen decoders --json` prints them."""
        options = [
            {
                "name": field.name,
                "type": type(field.default).__name__,
                "default": field.default,
                **{key: value for key, value in field.metadata.items() if value is not None},
            }
            for field in dataclasses.fields(cls)
        ]
        summary = (cls.__doc__ or "").strip().split("\n")[0]
        about = {"name": cls.name, "law": cls.law, "seeded": cls.seeded, "paper": cls.paper, "summary": summary}
        return about | {"options": options}


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
