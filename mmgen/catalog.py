"""The ready-made models that come with mmgen: which there are, and where they lie. Imports no torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from mmgen.errors import UnknownNameError, WeightsError

DESCRIPTION = "mmgen.json"
"""File beside `model_index.json` with the medium, the family, and components stored elsewhere."""


@dataclass(frozen=True)
class Entry:
    """A shipped pipeline.

    Attributes:
        name: what `mmgen.load` takes.
        medium: `image`, `audio` or `video`.
        family: how it writes: `raster`, ...
        path: its folder.
    """

    name: str
    medium: str
    family: str
    path: str

    def to_dict(self) -> dict[str, str]:
        """The entry by field name."""
        return asdict(self)


def root() -> Path:
    """The folder that holds `pipelines/` and `tokenizers/`: inside the installed package, else the clone."""
    package = Path(__file__).parent
    return package / "shipped" if (package / "shipped").is_dir() else package.parent


def pipelines() -> dict[str, Entry]:
    """The shipped pipelines by name."""
    entries = {}
    for file in sorted(root().glob("pipelines/*/model_index.json")):
        folder = file.parent
        about = describe(folder)
        entries[folder.name] = Entry(folder.name, about["medium"], about["family"], str(folder))
    return entries


def tokenizers() -> dict[str, Path]:
    """Folders of the shipped tokenizers by name."""
    return {file.parent.name: file.parent for file in sorted(root().glob("tokenizers/*/config.json"))}


def default_pipeline() -> str:
    """Name of the shipped pipeline that draws where none is named: the first one of pictures."""
    return next(name for name, entry in pipelines().items() if entry.medium == "image")


def find(name: str) -> Path:
    """The folder of a pipeline: a shipped name, or a local folder with a `model_index.json`.

    Raises:
        UnknownNameError: neither.
    """
    shipped = pipelines()
    if name in shipped:
        return Path(shipped[name].path)
    if (Path(name) / "model_index.json").is_file():
        return Path(name)
    raise UnknownNameError("pipeline", name, shipped)


def describe(folder: Path) -> dict:
    """Medium, family and shared components of a pipeline folder."""
    return {"medium": "image", "family": "raster", "shared": {}} | read_json(folder / DESCRIPTION, missing={})


def read_json(path: Path, missing: dict | None = None) -> dict:
    """A JSON object from a file.

    Args:
        missing: what to return where there is no such file; None makes that an error.

    Raises:
        WeightsError: the file is absent, unreadable or holds something else.
    """
    if missing is not None and not path.exists():
        return missing
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(path, f"cannot be read ({error})", "give a complete model folder") from error
    if not isinstance(value, dict):
        raise WeightsError(path, "is not a JSON object", "give a complete model folder")
    return value
