"""The goldens of sound as folders of transformers', and what reads them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file


@pytest.fixture(scope="session")
def sound_goldens(goldens: Path) -> Path:
    return goldens / "audio"


@pytest.fixture(scope="session")
def published(sound_goldens: Path, tmp_path_factory: pytest.TempPathFactory):
    """Makes the folder of a golden model, as transformers writes it, and reads what goes in and comes out."""
    folders = tmp_path_factory.mktemp("published")

    def make(name: str):
        folder = folders / name
        if not folder.exists():
            folder.mkdir()
            config = json.loads((sound_goldens / f"{name}.json").read_text())["config"]
            (folder / "config.json").write_text(json.dumps(config))
            shutil.copy(sound_goldens / f"{name}_weights.safetensors", folder / "model.safetensors")
        return folder, load_file(sound_goldens / f"{name}_io.safetensors")

    return make
