"""A worker that is given more than it draws at once begins the next item where one is finished."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from mmgen.batch.drawing import choices, drawn, renews

PROMPTS = ["a cat", "two dogs on a blue background", "a star", "a sun in the top left", "a rocket"]
ITEMS = [SimpleNamespace(prompt=prompt, seed=seed) for seed, prompt in enumerate(PROMPTS)]


@pytest.mark.parametrize("settings", [{}, {"decoder": "autoregressive"}])
def test_items_come_as_they_are_finished_and_are_those_of_one_call(tiny_pipeline, settings):
    assert renews(tiny_pipeline, ITEMS[0], settings)
    whole = tiny_pipeline(PROMPTS, seed=list(range(5)), **settings)
    made = {item.seed: (picture, own) for item, picture, _, own in drawn(tiny_pipeline, ITEMS, settings, 2)}
    assert sorted(made) == list(range(5))
    for number, (picture, own) in made.items():
        assert np.array_equal(picture, whole.images[number])
        expected = whole.statistics[number]
        assert (own.prompt, own.evaluations, own.complete) == (expected.prompt, expected.evaluations, True)


def test_requests_cannot_say_how_many_are_made_of_them(tiny_pipeline):
    counted = {"num_images_per_prompt", "num_videos_per_prompt", "num_waveforms_per_prompt", "batch_size"}
    assert not counted & set(choices(tiny_pipeline)) and "decoder" in choices(tiny_pipeline)
    with pytest.raises(ValueError, match="5 items were asked for, 10 came"):
        list(drawn(tiny_pipeline, ITEMS, {"num_images_per_prompt": 2}, 8))


def test_what_cannot_be_planned_does_not(tiny_pipeline):
    assert not renews(tiny_pipeline, SimpleNamespace(prompt="", seed=0), {})


def test_decoders_whose_drafts_matter_do_not(tiny_pipeline):
    assert not renews(tiny_pipeline, ITEMS[0], {"decoder": "speculative-jacobi"})
