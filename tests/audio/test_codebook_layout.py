"""Orders of codes: those of audiocraft and transformers, there and back, and when frames are whole."""

from __future__ import annotations

import json

import pytest
import torch

from mmgen.codebook_layout import CodebookLayout
from mmgen.errors import OptionError, SizeError

LAYOUTS = {
    "delay": CodebookLayout.delay(6, range(4)),
    "delay_stereo": CodebookLayout.delay(6, (0, 0, 1, 1)),
    "delay_flatten2": CodebookLayout.delay(6, range(4), flattened=2),
    "delay_empty1": CodebookLayout.delay(6, range(4), empty=1),
    "parallel": CodebookLayout.parallel(6, 4),
    "parallel_magnet": CodebookLayout.parallel(6, 4),
    "flat": CodebookLayout.flattened(6, range(4)),
    "flat_partial": CodebookLayout.flattened(6, (0, 1, 1, 1), (0, 3, 3, 3)),
    "coarse_first": CodebookLayout.coarse_first(6, 4),
    "coarse_first_delay": CodebookLayout.coarse_first(6, 4, (0, 1, 2)),
    "musiclm": CodebookLayout.grouped(6, 4, 2),
}
NOTHING = 999


@pytest.fixture(scope="module")
def patterns(sound_goldens) -> dict:
    return json.loads((sound_goldens / "audiocraft_patterns.json").read_text())["patterns"]


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_steps_are_those_of_audiocraft(name, patterns):
    layout, golden = LAYOUTS[name], patterns[name]
    begins = int(name != "parallel_magnet")  # there no plane stands before the first
    assert [set(step) for step in layout.steps] == [
        {(frame, book) for frame, book in step if frame < 6} for step in golden["layout"][begins:]
    ]
    codes = (torch.arange(6) + 100 * torch.arange(4)[:, None])[None]
    planes = layout.fold(layout.flatten(codes), padding=NOTHING)
    assert planes[0].T.tolist() == [row[begins:] for row in golden["sequence"]]
    assert layout.valid.T.int().tolist() == [row[begins:] for row in golden["mask"]]
    assert layout.count == golden["steps"] - begins
    assert layout.levels[layout.coordinates[:, 0] == 3].min() == golden["first_step_with_t3"] - begins


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_codes_return_from_the_line_and_from_planes(layout):
    codes = torch.randint(50, (2, *layout.grid), generator=torch.Generator().manual_seed(0))
    tokens = layout.flatten(codes)
    assert torch.equal(layout.unflatten(tokens), codes)
    planes = layout.fold(tokens)
    assert torch.equal(layout.unfold(planes), tokens)
    book, frame = 2, 4
    there = (layout.places == frame * 4 + book) & layout.valid
    assert there.sum() == 1 and torch.equal(planes[:, there], codes[:, book, frame, None])


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_frames_are_ready_once_all_their_codes_are_written(layout):
    for written, ready in enumerate(layout.frames_ready):
        done = layout.unflatten((layout.levels < written)[None])[0].all(0).tolist()
        assert ready == next((frame for frame, whole in enumerate(done) if not whole), 6)


def test_drafts_repeat_the_same_codebook_of_the_frame_before():
    before = LAYOUTS["delay"].slots_before[0]
    assert before[1].tolist() == [0, -1, -1, -1]
    assert before[4].tolist() == [0, 1, 2, 3]
    assert (LAYOUTS["coarse_first"].slots_before[0][6] == -1).all()  # the step before is of another codebook


def test_columns_of_transformers_are_steps(sound_goldens):
    for name, case in json.loads((sound_goldens / "hf_delay_masks.json").read_text()).items():
        channels, length = (int(word[2:] if word[0] == "c" else word[1:]) for word in name.split("_"))
        if length < 7:
            continue  # transformers delays nothing in so short a recording; here every length is alike
        delays = [delay for delay in range(4) for _ in range(channels)]
        layout = CodebookLayout.delay(length - 4, delays)
        columns = torch.where(layout.valid.T, -1, 64).tolist()
        assert [[64, *row] for row in columns] == case["pattern"], name


def test_a_longer_recording_keeps_the_places_of_its_beginning():
    short, long = CodebookLayout.delay(5, range(4)), CodebookLayout.delay(50, range(4))
    assert torch.equal(short.places[short.valid], long.places[: short.count][short.valid])


def test_what_is_no_order_is_refused():
    with pytest.raises(SizeError, match="positive"):
        CodebookLayout.delay(0, range(4))
    with pytest.raises(OptionError, match="each of 2 x 1 codes once"):
        CodebookLayout((2, 1), (((0, 0),),))
    with pytest.raises(OptionError, match="one code of each codebook at most"):
        CodebookLayout((2, 1), (((0, 0), (1, 0)),))
    with pytest.raises(OptionError, match="those of a step"):
        CodebookLayout.flattened(4, (0, 1, 1), (0, 1, 2))
    with pytest.raises(OptionError, match="all codebooks but the first"):
        CodebookLayout.coarse_first(4, 3, (0,))
