"""Which grammar the captions of a pipeline follow, read from its folder. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmgen import catalog
from mmgen.errors import WeightsError
from mmgen.scenes.captions import CaptionGrammar
from mmgen.scenes.grammar import Grammar
from mmgen.scenes.motion import MotionGrammar
from mmgen.scenes.sound import SoundGrammar

GRAMMARS: dict[str, type[CaptionGrammar]] = {
    "SceneEncoder": Grammar,
    "MovingSceneEncoder": MotionGrammar,
    "StoryboardEncoder": MotionGrammar,
    "SoundSceneEncoder": SoundGrammar,
}
"""By the class that embeds what they read."""


def grammar_of(folder: Path) -> CaptionGrammar | None:
    """The grammar of a pipeline's captions; None where it takes any text.

    Args:
        folder: of the pipeline, as `mmgen.catalog.find` has it.

    Raises:
        WeightsError: the configuration of its text encoder cannot be read, or names no objects.
    """
    path = folder / "text_encoder" / "config.json"
    config = catalog.read_json(path, missing={})
    kind: Any = GRAMMARS.get(str(config.get("_class_name")))
    if kind is None:
        return None
    if kind is SoundGrammar:
        return kind()
    objects = config.get("objects")
    if not isinstance(objects, list) or not objects or not all(isinstance(name, str) for name in objects):
        raise WeightsError(path, f"says objects={objects!r}", "give a list of names")
    return kind(objects)
