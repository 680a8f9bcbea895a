"""The settings that made a file, for the forms: from the file itself, or from what a browser kept of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmgen import media
from mmgen.decoding.decoder import Decoder
from mmgen.errors import OptionError, OutputError
from mmgen.sampling import Sampling
from mmgen.web import edits
from mmgen.web.controls import decoder_in_words
from mmgen.web.edits import Edited
from mmgen.web.models import Model
from mmgen.web.studio import Studio
from mmgen.web.uploads import named

_SHOWN: Mapping[str, Any] = {"duration": float, "frames": int}
"""Conditions that the form has a field for, and what they are."""
_FILES = ("continue_from", "recording")
"""Conditions that are files, of which metadata say only that there was one."""


@dataclass(frozen=True)
class Settings:
    """What made a file, checked.

    Attributes:
        prompt: its text.
        seed: of its noise.
        model: the pipeline.
        decoder: with its options.
        sampling: guidance, temperature, top_k and top_p.
        conditions: what else was said, by name.
        edited: which part of something older was drawn again; None where all was drawn.
    """

    prompt: str
    seed: int
    model: Model
    decoder: Decoder
    sampling: Mapping[str, Any]
    conditions: Mapping[str, Any]
    edited: Edited | None = None

    @property
    def unshown(self) -> list[str]:
        """What the form has no field for."""
        return [
            f"{name}={value}" for name, value in self.conditions.items() if name not in _SHOWN and name not in _FILES
        ]

    @property
    def continues(self) -> bool:
        """Whether it begins with something that was given, which has to be given again."""
        return "continue_from" in self.conditions

    def to_dict(self) -> dict[str, Any]:
        """Arguments of a request that makes the file again: of /generate, or of an edit, those of /edit beside it."""
        said = {"prompt": self.prompt, "seed": self.seed, "pipeline": self.model.name}
        if self.edited is not None:
            part = {"cells": list(self.edited.cells)} if self.edited.cells else {"interval": self.edited.interval}
            return said | {"decoder": decoder_in_words(self.decoder)} | part
        told = {name: value for name, value in self.conditions.items() if name not in _FILES}
        return said | {"decoder": self.decoder.name, "options": self.decoder.options(), **self.sampling, **told}


def of_file(studio: Studio, path: str | Path) -> Settings:
    """The settings of a file of ours.

    Raises:
        OutputError: it is broken, or carries no metadata of ours.
        MmgenError: what it says cannot be drawn here.
    """
    with named(path):
        made = media.read_metadata(Path(path))
    return of_metadata(studio, made)


def of_metadata(studio: Studio, made: Any) -> Settings:
    """The settings that metadata says.

    Raises:
        OutputError: it is none of ours.
        UnknownNameError: it names a pipeline or decoder that is not here.
        OptionError: a value is out of range.
    """
    kinds = {"prompt": str, "seed": int, "pipeline": str, "decoder": str, "options": dict, "sampling": dict}
    if not isinstance(made, Mapping) or not all(isinstance(made.get(name), kind) for name, kind in kinds.items()):
        raise OutputError("what was kept", "is no metadata of mmgen", "choose another result")
    model = studio.model(made["pipeline"])
    return Settings(
        prompt=made["prompt"],
        seed=made["seed"],
        model=model,
        decoder=model.algorithms.make(made["decoder"], **made["options"]),
        sampling=_sampling(made["sampling"]),
        conditions=_conditions(made.get("conditions", {})),
        edited=edits.read(made.get("edited")),
    )


def _conditions(given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise OptionError("conditions", given, "values by name")
    return {name: _number(name, value) if name in _SHOWN else value for name, value in given.items()}


def _number(name: str, value: Any) -> Any:
    try:
        return _SHOWN[name](value)
    except (TypeError, ValueError) as error:
        raise OptionError(name, value, "a number") from error


def _sampling(given: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return Sampling(**given).to_dict()
    except TypeError as error:
        raise OptionError("sampling", dict(given), "guidance, temperature, top_k and top_p") from error
