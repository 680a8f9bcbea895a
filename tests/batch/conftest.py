"""Jobs of a simulated pipeline."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from jobs import ONE, SETTINGS, HereCrew, Told
from simulated import Simulation

from mmgen.batch import rows
from mmgen.batch.crew import LocalCrew, Recruit
from mmgen.batch.run import Extras, run


@pytest.fixture
def work(tmp_path):
    """Runs a job of texts, or of rows of JSON, and returns how it stands; the folder is `out` where none is given."""

    def call(
        source, out="out", rules=ONE, settings=SETTINGS, crew=HereCrew, load=None, told=None, extras=None, **changed
    ):
        path = tmp_path / "requests.jsonl"
        if not isinstance(source, Path):
            written = (json.dumps({"prompt": row} if isinstance(row, str) else row) for row in source)
            path.write_text("".join(line + "\n" for line in written))
            source = path
        settings = replace(settings, **changed)
        recruit = Recruit(settings, load or Simulation())
        with rows.opened(str(source)) as opened:
            return run(
                opened, settings, tmp_path / out, rules, told or Told(), lambda: crew(recruit), extras or Extras()
            )

    return call


@pytest.fixture
def local():
    """Processes, which are gone at the end."""
    crews = []

    def make(recruit):
        crews.append(LocalCrew(recruit))
        return crews[-1]

    yield make
    for crew in crews:
        crew.stop()
