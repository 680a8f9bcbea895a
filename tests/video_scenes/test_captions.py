"""Captions of moving scenes: what is understood, what is refused, and the fields a model reads."""

import numpy as np
import pytest
import torch

from mmgen.errors import PromptError
from mmgen.scenes.motion import MOVING_OBJECTS, STILL, Motion, MotionGrammar, MovingScene
from mmgen.scenes.motion_encoder import MovingSceneEncoder
from mmgen.scenes.motion_render import sample_moving_scene

grammar = MotionGrammar()


@pytest.fixture(scope="module")
def scenes():
    generator = np.random.default_rng(0)
    return [sample_moving_scene(generator, MOVING_OBJECTS) for _ in range(2000)]


def test_a_description_means_its_scene(scenes):
    assert all(grammar.parse(grammar.describe(scene)) == scene for scene in scenes)


@pytest.mark.parametrize(
    "wordings",
    [
        ("a red ball bounces from left to right", "The red ball bouncing right and left!", "red ball bounces right"),
        ("a cat moves up while a star moves down", "cat goes to the top as the star slides from top to bottom"),
        ("a dog slowly moves left", "a dog moves slowly to the left", "a dog moves from right to left slowly"),
        ("a ball jumps", "a soccer ball bounces up and down", "a football hops upwards"),
        ("a car stays", "an automobile stands still on white background", "the car rests"),
        ("a fish moves fast, blue background", "a fish moves quickly from left to right on a blue background"),
    ],
)
def test_wordings_of_one_scene(wordings):
    assert len({grammar.parse(wording) for wording in wordings}) == 1


def test_what_captions_mean():
    moves = Motion("moves", "up", "slowly")
    assert grammar.parse("a robot slowly moves up while a frog stays on a grey background") == MovingScene(
        "robot", moves, "frog", STILL, "gray"
    )
    assert grammar.parse("a rocket moves") == MovingScene("rocket", Motion("moves", "right", "normally"))


@pytest.mark.parametrize(
    "kind, caption, means",
    [
        ("objects", "a {} stays", lambda scene: scene.first),
        ("motions", "a cat {}", lambda scene: scene.motion.verb),
        ("directions", "a cat moves {}", lambda scene: scene.motion.direction),
        ("speeds", "a cat moves {}", lambda scene: scene.motion.speed),
        ("colours", "a cat stays on a {} background", lambda scene: scene.background),
    ],
)
def test_every_word_that_is_listed_is_understood(kind, caption, means):
    assert len(grammar.words()) == 5 and len(grammar.words()["objects"]) == len(MOVING_OBJECTS)
    for name, others in grammar.words()[kind].items():
        assert {means(grammar.parse(caption.format(word))) for word in (name, *others)} == {name}


@pytest.mark.parametrize(
    "prompt, words",
    [
        ("", "empty"),
        ("a cat", "does not say how it moves"),
        ("moves right", "no object is named"),
        ("a dragon moves up", "'dragon'"),
        ("a catt moves up", "did you mean cat"),
        ("a pizza moves up", "there are red ball"),
        ("a cat moves sideways", "'sideways' is not understood after 'moves'"),
        ("two cats move up", "one of its kind"),
        ("a small cat moves up", "one size"),
        ("a cat moves up while a dog moves left", "cross"),
        ("a cat moves up while a cat moves down", "two different objects"),
        ("a cat stays while a dog stays while a fish stays", "3 objects"),
        ("a cat moves slowly up quickly", "2 speeds"),
        ("a cat stays quickly", "goes nowhere"),
        ("a cat moves up on a mauve background", "unknown background 'mauve'"),
        (7, "a prompt is text"),
    ],
)
def test_what_is_not_understood_is_named(prompt, words):
    with pytest.raises(PromptError, match=words):
        grammar.parse(prompt)


def test_every_scene_has_fields_of_its_own(scenes):
    encoder = MovingSceneEncoder(size=8)
    ids = encoder.ids(scenes)
    assert ids.shape == (2000, encoder.length) == (2000, 9)
    assert len({tuple(row) for row in ids.tolist()}) == len(set(scenes))
    assert ids.max() < encoder.null_ids(1).min()  # no caption is no scene
    assert encoder.null_ids(2).max() < encoder.embedding.num_embeddings
    wordings = ["a ball bounces slowly", "a soccer ball slowly jumps up and down"]
    one, other = encoder.encode(wordings)
    assert torch.equal(one, other)
