"""Captions in, pictures out, scale by scale."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from next_scale.scenes import COLOURS, scene_pipeline

import mmgen
from mmgen.decoding.scales.scale_wise import ScaleWise
from mmgen.errors import OptionError, PromptError, SizeError, UnknownNameError
from mmgen.evaluation import bench, judges

CAPTIONS = ["a cat on a blue background", "a small apple above a large dog"]


@pytest.fixture(scope="module")
def pipe():
    return scene_pipeline()


@pytest.fixture(scope="module")
def scenes():
    """The same for pictures of 64x64 pixels, which can be judged."""
    return scene_pipeline((1, 2, 16))


def test_a_call_returns_pictures_and_statistics(pipe):
    out = pipe(CAPTIONS, seed=[1, 2])
    assert [image.size for image in out.images] == [(16, 16)] * 2
    for item, prompt in zip(out.statistics, CAPTIONS, strict=True):
        assert (item.prompt, item.decoder, item.law, item.size) == (prompt, "scale-wise", "exact", (16, 16))
        assert (item.tokens, item.evaluations, item.complete) == (21, 3, True)
    out = pipe(CAPTIONS[0], seed=1, decoder_options={"passes": 8, "entropy": 0.0, "handover": 2})
    item = out.statistics[0]
    assert (item.evaluations, item.draft_evaluations, item.law) == (5, 1, "heuristic")


def test_a_picture_depends_on_its_caption_guidance_and_seed(pipe):
    def draw(caption, **given):
        return pipe(caption, output_type="latent", **{"seed": 1} | given).images

    plain = draw(CAPTIONS[0])
    assert torch.equal(draw("CAT, blue background"), plain)
    for other in (draw(CAPTIONS[1]), draw(CAPTIONS[0], seed=2), draw(CAPTIONS[0], guidance=9.0)):
        assert not torch.equal(other, plain)
    both = draw(CAPTIONS, seed=[1, 5])
    assert torch.equal(both[:1], plain) and torch.equal(both[1:], draw(CAPTIONS[1], seed=5))


def test_every_scale_is_a_picture(pipe):
    steps = [np.asarray(pipe.render(drawing)[0]) for drawing in pipe.draw(CAPTIONS[0], seed=4)]
    assert len(steps) == 3 and (steps[-1] == np.asarray(pipe(CAPTIONS[0], seed=4).images[0])).all()
    assert all((left != right).any() for left, right in pairwise(steps))


def test_a_folder_draws_the_same_pictures(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    loaded = mmgen.load(str(tmp_path))
    loaded.set_progress_bar_config(disable=True)
    assert type(loaded) is type(pipe) and loaded.decoder == ScaleWise() and loaded.revision == pipe.revision
    for options in ({}, {"handover": 1}):
        left, right = (p(CAPTIONS[0], seed=3, decoder_options=options, output_type="latent") for p in (pipe, loaded))
        assert torch.equal(left.images, right.images)
    alone = mmgen.load(str(tmp_path), draft=None)
    with pytest.raises(OptionError, match="draft model"):
        alone(CAPTIONS[0], decoder_options={"handover": 1})


def test_known_codes_are_of_their_scale(pipe):
    known = torch.full((1, 21), -1)
    known[0, 0], known[0, 20] = 3, COLOURS
    drawn = pipe(CAPTIONS, seed=1, known=known, output_type="latent").images
    assert drawn[:, 0].tolist() == [3, 3] and drawn[:, 20].tolist() == [COLOURS] * 2
    for place, code in ((0, COLOURS), (20, COLOURS - 1), (1, -2)):
        with pytest.raises(OptionError, match="at scale"):
            pipe(CAPTIONS[0], known=torch.full((1, 21), -1).index_fill_(1, torch.tensor([place]), code))


@pytest.mark.parametrize(
    "given, error, words",
    [
        ({"prompt": "a thing"}, PromptError, "thing"),
        ({"width": 20}, SizeError, "16, the size"),
        ({"decoder": "jacobi"}, UnknownNameError, "scale-wise"),
        ({"decoder_options": {"passes": 0}}, OptionError, "passes"),
    ],
)
def test_bad_arguments(pipe, given, error, words):
    with pytest.raises(error, match=words):
        pipe(**{"prompt": CAPTIONS[0]} | given)


def test_pictures_can_be_judged(scenes):
    report = judges.evaluate(scenes, count=3, batch=2)
    assert report.correct.of == 3 and report.correct.right == 0  # random weights


def test_decoders_of_scales_are_compared(scenes):
    rows = bench.run(scenes, "scale-wise:passes=4+entropy=0.0,scale-wise:handover=1", prompts=2, repeats=1)
    assert [row.options for row in rows] == [{}, {"passes": 4, "entropy": 0.0}, {"handover": 1}]
    assert [row.evaluations for row in rows] == [3, 6, 1] and [row.draft_evaluations for row in rows] == [0, 0, 2]
    assert [row.same_pictures for row in rows] == [True, False, False] and rows[0].speedup == 1
    assert rows[0].evaluation_ratio == 1 and rows[1].evaluation_ratio == 2
    own = bench.run(scenes, None, prompts=1, repeats=1)
    assert [row.decoder for row in own] == ["scale-wise"]
    with pytest.raises(UnknownNameError, match="scale-wise"):
        bench.run(scenes, "jacobi")
