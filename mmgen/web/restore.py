"""The settings that made a file, for the form: from the file itself, or from what a browser kept of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmgen import media
from mmgen.decoding.decoder import Decoder
from mmgen.errors import OptionError, OutputError
from mmgen.sampling import Sampling
from mmgen.web.models import Model
from mmgen.web.studio import Studio
from mmgen.web.uploads import named

_SHOWN = ("duration",)
"""Conditions that the form has a field for."""


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
        edited: which part of something older it is; empty where all was drawn.
    """

    prompt: str
    seed: int
    model: Model
    decoder: Decoder
    sampling: Mapping[str, Any]
    conditions: Mapping[str, Any]
    edited: str = ""

    @property
    def unshown(self) -> list[str]:
        """What the form has no field for."""
        said = [f"{name}={value}" for name, value in self.conditions.items() if name not in _SHOWN]
        return [*said, f"the edit of {self.edited}"] if self.edited else said

    def to_dict(self) -> dict[str, Any]:
        """Arguments of a request that makes the file again."""
        return {
            "prompt": self.prompt, "seed": self.seed, "pipeline": self.model.name, "decoder": self.decoder.name,
            "options": self.decoder.options(), **self.sampling, **self.conditions,
        }  # fmt: skip


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
        edited=str(made.get("edited", "")),
    )


def _conditions(given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise OptionError("conditions", given, "values by name")
    try:
        return {name: float(value) if name == "duration" else value for name, value in given.items()}
    except (TypeError, ValueError) as error:
        raise OptionError("duration", given["duration"], "seconds") from error


def _sampling(given: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return Sampling(**given).to_dict()
    except TypeError as error:
        raise OptionError("sampling", dict(given), "guidance, temperature, top_k and top_p") from error
