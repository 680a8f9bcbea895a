"""A part that was drawn again is written into its file, and found there: painted, and drawn the same."""

import re

import numpy as np
import pytest
import torch

from mmgen import media
from mmgen.errors import OptionError

pytest.importorskip("gradio", reason="gradio, the extra `web`, is not installed")

import gradio as gr

from mmgen.web import edits, restore, sketch
from mmgen.web.studio import save
from mmgen.web.tabs.create import Create
from mmgen.web.tabs.edit import Edit

PROMPTS = {"tiny": "a cat", "tiny-scales": "a cat", "tiny-clip": "a red ball moves up"}


def edited_file(studio, pipeline, folder, prompt, wanted, **settings):
    """A result of which some cells were drawn again, and its file."""
    sound = {"duration": 0.5} if pipeline == "tiny-sound" else {}
    *_, frame = studio.draw(prompt, pipeline=pipeline, seed=1, **sound)
    (path,) = save(frame, folder)
    begun = sketch.begin(studio, pipeline, path)
    assert begun.marked == []
    *_, again = sketch.redrawn(studio, begun, prompt, wanted, seed=5, **settings)
    (folder / "edited").mkdir()
    return again, save(again, folder / "edited")[0]


@pytest.mark.parametrize("pipeline", PROMPTS)
def test_an_edit_is_painted_and_drawn_again_from_its_file(studio, pipeline, tmp_path):
    prompt, wanted = PROMPTS[pipeline], [0, 1, 3]
    frame, path = edited_file(studio, pipeline, tmp_path, prompt, wanted)
    said = media.read_metadata(path)["edited"]
    assert said["cells"] == "0-1,3" and len(str(said)) < 1000
    begun = sketch.begin(studio, pipeline, path)
    assert begun.marked == wanted and said["grid"] == [begun.rows, begun.columns]
    *_, again = sketch.redrawn(studio, begun, prompt, begun.marked, seed=5)
    assert (pixels(again) == pixels(frame)).all()
    assert again.statistics[0].tokens == frame.statistics[0].tokens


def pixels(frame):
    result = frame.results[0]
    return np.stack([np.asarray(one) for one in (result if frame.medium == "video" else [result])])


def test_codes_that_a_file_tells_stay_where_more_is_painted(studio, tmp_path):
    _, path = edited_file(studio, "tiny", tmp_path, "a cat", [0, 1, 3])
    told = torch.tensor(media.read_metadata(path)["edited"]["known"]).view(8, 8)
    begun = sketch.begin(studio, "tiny", path)
    known = sketch._known(studio.pipeline("tiny"), begun, begun.painted([2, 3, 4]))[0, 0]
    stays = (known >= 0) & (told >= 0)
    assert int(stays.sum()) == 59 and torch.equal(known[stays], told[stays])
    assert (known.flatten()[[0, 1]] >= 0).all() and (known.flatten()[[2, 3, 4]] == -1).all()


def test_an_interval_is_marked_again_from_its_file(studio, tmp_path):
    frame, path = edited_file(studio, "tiny-sound", tmp_path, "a slow song", list(range(12, 24)))
    begun = sketch.begin(studio, "tiny-sound", path)
    assert media.read_metadata(path)["edited"] == {"interval": [0.125, 0.25]}
    assert begun.marked == list(range(12, 24))
    *_, again = sketch.redrawn(studio, begun, "a slow song", begun.marked, seed=5)
    assert np.allclose(again.results[0][:, :100], frame.results[0][:, :100], atol=1e-3)


def test_an_edit_fills_the_form_of_edit(studio, tmp_path):
    _, path = edited_file(studio, "tiny", tmp_path, "two stars", [9, 10], decoder="coupled-jacobi")
    with gr.Blocks(analytics_enabled=False):
        edit, create = Edit(studio), Create(studio)
    updates = dict(zip(edit._begun, edit.take(str(path), "tiny-scales"), strict=True))
    assert updates[edit.canvas].count('class="painted"') == 2
    assert (updates[edit.pipeline], updates[edit.prompt], updates[edit.seed]) == ("tiny", "two stars", 5)
    assert (
        updates[edit.decoder]["value"] == "coupled-jacobi" and "What was drawn again is painted" in updates[edit.status]
    )
    shown = dict(zip(edit._begun, edit.change(str(path), "tiny-scales"), strict=True))[edit.canvas]
    assert shown.count("<rect") == 16 and "painted" not in shown
    assert "drop the file on Edit" in create.restore_file(str(path))[0]
    asked = restore.of_file(studio, path).to_dict()
    assert asked == {
        "prompt": "two stars", "seed": 5, "pipeline": "tiny", "decoder": "coupled-jacobi", "cells": [9, 10],
    }  # fmt: skip


@pytest.mark.parametrize("numbers", [[0], [1, 2, 3], [0, 2, 3, 4, 9, 15]])
def test_numbers_as_ranges_come_back(numbers):
    assert edits.from_ranges(edits.in_ranges(numbers), 16) == numbers


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (3, "what mmgen writes of an edit"),
        ({"cells": "1"}, "rows and columns of cells"),
        ({"cells": "1", "grid": [2, True]}, "rows and columns of cells"),
        ({"cells": "1", "grid": [100_000, 100_000]}, "rows and columns of cells"),
        ({"cells": None, "grid": [2, 2]}, "cells such as 3-5,9"),
        ({"cells": "1;2", "grid": [2, 2]}, "cells such as 3-5,9"),
        ({"cells": "4", "grid": [2, 2]}, "cells of 0 to 3, each once"),
        ({"cells": "3-1", "grid": [2, 2]}, "cells of 0 to 3, each once"),
        ({"cells": "0-3,0-3", "grid": [2, 2]}, "cells of 0 to 3, each once"),
        ({"cells": "1", "grid": [2, 2], "known": [0] * 9000}, "at most 8192 codes"),
        ({"cells": "1", "grid": [2, 2], "known": [2**40]}, "at most 8192 codes"),
        ({"cells": "1", "grid": [2, 2], "known": "0"}, "at most 8192 codes"),
        ({"interval": [2, 1]}, "from which second to which"),
        ({"interval": ["a", "b"]}, "from which second to which"),
    ],
)
def test_what_no_edit_of_ours_says_is_refused(said, words):
    with pytest.raises(OptionError, match=re.escape(words)):
        edits.read(said)


def test_files_of_earlier_versions_say_nothing_that_can_be_painted():
    assert edits.read("9 of 64 cells") is None and edits.read(None) is None


def test_large_grids_are_told_without_their_codes():
    said = edits.of_cells(torch.ones(100, 100, dtype=torch.bool), torch.zeros(10_000))
    assert said == {"cells": "0-9999", "grid": [100, 100]}
