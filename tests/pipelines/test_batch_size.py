"""How many pictures are drawn at once changes nothing but the room they take."""

from __future__ import annotations

import pytest
import torch

from mmgen import decoding
from mmgen.decoding.drafters.drafter import Drafter
from mmgen.decoding.options import parts
from mmgen.errors import OptionError

CAPTIONS = ["a cat", "two dogs on a blue background", "a small star above a cat", "a sun in the top left", "a rocket"]
SEEDS = [3, 1, 4, 1, 5]


def draw(pipe, batch_size, **given):
    return pipe(CAPTIONS, seed=SEEDS, batch_size=batch_size, output_type="latent", **given)


@pytest.mark.parametrize("guidance", [1.0, 1.5])
@pytest.mark.parametrize("cache_bits", [None, 8])
@pytest.mark.parametrize("decoder", ["autoregressive", "jacobi", "seeded-speculative", "coupled-jacobi", "sampling"])
def test_pictures_and_evaluations_are_the_same(tiny_pipeline, decoder, guidance, cache_bits, monkeypatch):
    monkeypatch.setattr(tiny_pipeline, "_cache_bits", cache_bits)
    given = {"decoder": decoder, "guidance": guidance}
    if decoder == "sampling":
        given |= {"decoder": "jacobi", "decoder_options": {"drafter": "horizontal-sample"}}
    whole = draw(tiny_pipeline, None, **given)
    for size in (1, 2, 3, 9):
        parts = draw(tiny_pipeline, size, **given)
        assert torch.equal(parts.images, whole.images), size
        for one, other in zip(parts.statistics, whole.statistics, strict=True):
            assert (one.prompt, one.seed, one.evaluations, one.complete) == (
                other.prompt, other.seed, other.evaluations, True,
            )  # fmt: skip


@pytest.mark.parametrize("decoder", ["autoregressive", "jacobi"])
def test_known_codes_are_kept_by_all(tiny_pipeline, decoder):
    known = torch.full((1, 1, 4, 4), -1)
    known[..., 1, :] = 7
    same = draw(tiny_pipeline, 2, decoder=decoder, known=known)
    assert bool((same.images[:, :, 1] == 7).all())
    assert torch.equal(same.images, draw(tiny_pipeline, None, decoder=decoder, known=known).images)
    several = known.repeat(5, 1, 1, 1)
    several[1], several[3, :, :, 3] = -1, 2
    parts = draw(tiny_pipeline, 2, decoder=decoder, known=several)
    assert torch.equal(parts.images, draw(tiny_pipeline, None, decoder=decoder, known=several).images)


def test_a_waiting_picture_begins_as_soon_as_one_is_finished(tiny_pipeline):
    """Evaluations of the model are those of the busiest place, not the sum of the longest of each turn."""
    single = [item.evaluations for item in draw(tiny_pipeline, None, decoder="jacobi").statistics]
    drawings = tiny_pipeline.draw(CAPTIONS, seed=SEEDS, batch_size=2, decoder="jacobi")
    steps = [drawing.generation.committed.clone() for drawing in drawings]
    places = [0, 0]
    for evaluations in single:
        places[places.index(min(places))] += evaluations
    assert len(set(single)) > 1 and len(steps) == max(places)
    for step in steps:
        assert int(((step > 0) & (step < 16)).sum()) <= 2


def test_parts_of_a_drawing_are_finished_one_by_one(tiny_pipeline):
    *_, drawing = tiny_pipeline.draw(CAPTIONS, seed=SEEDS, batch_size=2, decoder="coupled-jacobi")
    part = drawing.part([3, 0])
    assert (part.prompts, part.seeds) == ([CAPTIONS[3], CAPTIONS[0]], [SEEDS[3], SEEDS[0]])
    images = tiny_pipeline(CAPTIONS, seed=SEEDS, decoder="coupled-jacobi").images
    assert [image.tobytes() for image in tiny_pipeline.render(part)] == [images[3].tobytes(), images[0].tobytes()]


def test_decoders_that_begin_waiting_lines_cannot_let_others_change_them():
    renewing = {name for name in decoding.decoders() if decoding.make(name).renews}
    assert renewing == {"autoregressive", "jacobi", "seeded-speculative"}
    assert not decoding.make("seeded-speculative", drafter="draft-model").renews
    assert not decoding.make("jacobi", drafter="horizontal-sample").renews


def test_drafters_that_look_back_say_so():
    kinds = parts("drafter")
    assert all(kind.looks_back for kind in kinds.values() if kind.select is not Drafter.select)
    plain = {name for name, kind in kinds.items() if not kind.looks_back}
    repeats = {"horizontal-repeat", "vertical-repeat", "frame-repeat"}
    assert plain == {"uniform", "random", "n-gram", "grid-n-gram"} | repeats


@pytest.mark.parametrize("size", [0, -1, 2.0, True])
def test_other_sizes_are_refused(tiny_pipeline, size):
    with pytest.raises(OptionError, match="batch_size"):
        tiny_pipeline("a cat", batch_size=size)
