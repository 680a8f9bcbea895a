"""What the page knows of a pipeline before its weights are loaded: what its folder says."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmgen import catalog, decoding
from mmgen.decoding import planes, scales
from mmgen.decoding.decoder import Decoder
from mmgen.pipelines.loading import pipeline_class
from mmgen.sampling import Sampling
from mmgen.scenes.encoder import FieldEncoder
from mmgen.web import limits

_MEDIA = ("image", "video", "audio")
"""In the order in which they are offered."""


@dataclass(frozen=True)
class Model:
    """A pipeline of the page.

    Attributes:
        name: what visitors call it.
        path: its folder.
        medium: `image`, `video` or `audio`.
        algorithms: the package of the decoders that suit it.
        decoder: its own.
        sampling: its defaults: guidance, temperature, top_k and top_p.
        conditions: what else a call may say, by name, with the default.
        longest: seconds of sound that can be asked for.
        editable: whether parts of a result can be drawn again, the others kept.
        grammar: of its captions; None where it takes any text.
    """

    name: str
    path: str
    medium: str
    algorithms: Any
    decoder: Decoder
    sampling: Mapping[str, Any]
    conditions: Mapping[str, Any]
    longest: float
    editable: bool
    grammar: Any

    @property
    def label(self) -> str:
        """What pickers show."""
        kind = {"image": "pictures", "video": "clips", "audio": "sound"}[self.medium]
        return f"{self.name} · {kind}"

    def to_dict(self) -> dict[str, Any]:
        """What programs are told."""
        return {
            "name": self.name, "medium": self.medium, "decoder": self.decoder.name, "options": self.decoder.options(),
            "sampling": dict(self.sampling), "conditions": dict(self.conditions),
            "decoders": {name: kind.law for name, kind in self.algorithms.decoders().items()},
        }  # fmt: skip


def read(entries: Iterable[catalog.Entry]) -> dict[str, Model]:
    """What is known of pipelines, by name, those of pictures first.

    Raises:
        WeightsError: a folder is damaged.
    """
    ordered = sorted(entries, key=lambda entry: _MEDIA.index(entry.medium))
    return {entry.name: _model(entry) for entry in ordered}


def _model(entry: catalog.Entry) -> Model:
    folder = Path(entry.path)
    kind: Any = pipeline_class(folder)
    index = catalog.read_json(folder / "model_index.json")
    return Model(
        name=entry.name,
        path=entry.path,
        medium=entry.medium,
        algorithms=kind.algorithms,
        decoder=kind.load_decoder(folder / "decoder"),
        sampling=Sampling(**(index.get("sampling") or {})).to_dict(),
        conditions=kind.condition_defaults,
        longest=_longest(kind),
        editable=_editable(kind),
        grammar=_grammar(kind.component_types.get("text_encoder"), folder / "text_encoder"),
    )


def _longest(kind: Any) -> float:
    """A family whose windows do not lie over each other writes no more than one."""
    window = getattr(kind, "window", math.inf)
    return min(window, limits.MAXIMUM_SECONDS) if window == getattr(kind, "stride", None) else limits.MAXIMUM_SECONDS


def _editable(kind: Any) -> bool:
    """Whether its codes have places, and those around a hole are heeded."""
    if kind.medium == "audio":
        return "interval" in kind.condition_defaults
    return kind.algorithms in (decoding, planes, scales) and getattr(kind, "codes_have_places", True)


def _grammar(encoder: Any, folder: Path) -> Any:
    if encoder is None or not issubclass(encoder, FieldEncoder):
        return None
    return encoder.from_config(catalog.read_json(folder / "config.json")).grammar
