"""What every decoder is: a small set of options, a declared law, and a stream of evaluations."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from diffusers import ConfigMixin, SchedulerMixin
from torch import Tensor

from mmgen.decoding.options import Law, Part, check_options, describe_options, summary
from mmgen.rng import Rng
from mmgen.sessions.session import Session


@dataclass
class Generation:
    """Lines as far as they are written; a decoder yields it after every evaluation.

    Attributes:
        tokens: int64 [B, N]; what lies past `committed` is draft.
        committed: int64 [B], tokens of each row that are final.
        evaluations: int64 [B], evaluations of the model each row took part in.
        draft_evaluations: int64 [B], evaluations of a draft model, or of the model's first layers.
    """

    tokens: Tensor
    committed: Tensor
    evaluations: Tensor
    draft_evaluations: Tensor

    def part(self, rows: Sequence[int]) -> Self:
        """Some of the lines."""
        return type(self)(**{name: value[list(rows)] for name, value in vars(self).items()})

    def within(self, whole: Self | None, rows: range, count: int) -> Self:
        """These lines as some of `count`, the others as `whole` has them; None is nothing written."""
        if whole is None:
            whole = type(self)(**{name: value.new_zeros(count, *value.shape[1:]) for name, value in vars(self).items()})
        for name, value in vars(self).items():
            getattr(whole, name)[rows.start : rows.stop] = value
        return whole


@dataclass
class Decoder(SchedulerMixin, ConfigMixin, ABC):
    """Base of all decoders.

    A subclass is a dataclass whose fields are its options (see `options.option`), with a name, a law, its
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

    @property
    def renews(self) -> bool:
        """Whether it begins waiting lines where others are finished: where what it draws of one cannot depend on it."""
        return False

    def __post_init__(self) -> None:
        check_options(self)
        self.register_to_config(**self.options())

    @abstractmethod
    def steps(self, session: Session, rng: Rng) -> Iterator[Generation]:
        """Writes the lines of a session, yielding after every evaluation."""

    @torch.no_grad()
    def generate(self, session: Session, rng: Rng) -> Generation:
        """Writes the lines of a session to their end."""
        return deque(self.steps(session, rng), maxlen=1).pop()

    def options(self) -> dict[str, Any]:
        """The options by name, ready for JSON: parts as their text."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: str(value) if isinstance(value, Part) else value for name, value in values.items()}

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """Name, law, whether it is seeded, paper, summary and options, as `mmgen decoders --json` prints them."""
        about = {"name": cls.name, "law": cls.law, "seeded": cls.seeded, "paper": cls.paper, "summary": summary(cls)}
        return about | {"options": describe_options(cls)}
