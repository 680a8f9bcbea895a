"""The judge of clips passes true ones and fails wrong ones."""

import dataclasses

import numpy as np
import pytest

from mmgen.errors import SizeError
from mmgen.evaluation import motion
from mmgen.scenes.motion import MOVING_OBJECTS, SPEEDS, STILL, Motion, MovingScene
from mmgen.scenes.motion_render import render_clip
from mmgen.scenes.render import is_held_out

MOVES = Motion("moves", "right", "normally")


@pytest.fixture(scope="module")
def scenes():
    return motion.held_out_moving_scenes(40, seed=3)


@pytest.fixture(scope="module")
def clips(scenes):
    generator = np.random.default_rng(0)
    return [render_clip(scene, generator) for scene in scenes]


def draw(scene, seed=0):
    return render_clip(scene, np.random.default_rng(seed))


def test_true_clips_pass(scenes, clips):
    assert all(is_held_out(scene) for scene in scenes)
    report = motion.measure_clips(clips, scenes)
    assert report.correct.of == 40 and report.single.of + report.pair.of == 40
    for name in ("background", "objects", "motion", "direction", "speed", "smooth", "correct"):
        assert getattr(report, name).right == 40, name
    assert sum(share["of"] for share in report.to_dict()["by_name"].values()) == 40 + report.pair.of


@pytest.mark.parametrize(
    "part, other",
    [
        ("background", {"background": "green"}),
        ("objects", {"first": "dog"}),
        ("objects", {"second": "dog", "second_motion": STILL}),
        ("motion", {"motion": Motion("bounces", "right", "normally")}),
        ("motion", {"motion": STILL}),
        ("direction", {"motion": Motion("moves", "left", "normally")}),
        ("direction", {"motion": Motion("moves", "up", "normally")}),
        ("speed", {"motion": Motion("moves", "right", "slowly")}),
        ("speed", {"motion": Motion("moves", "right", "quickly")}),
    ],
)
def test_one_wrong_thing_fails_one_part(part, other):
    scene = MovingScene("cat", MOVES, background="blue")
    clip = draw(scene)
    assert motion.judge_clip(clip, scene).correct
    verdict = motion.judge_clip(clip, dataclasses.replace(scene, **other))
    assert not getattr(verdict, part) and not verdict.correct


def test_a_jump_is_not_smooth():
    scene = MovingScene("cat", MOVES, background="blue")
    clip = draw(scene)
    jumped = clip[[0, 1, 2, 6, 7, 8, 8, 8, 8, 8, 8]]
    verdict = motion.judge_clip(jumped, scene)
    assert not verdict.smooth and verdict.motion and verdict.direction and verdict.speed


def test_what_comes_and_goes_is_not_there():
    scene = MovingScene("cat", STILL, background="blue")
    clip = draw(scene)
    clip[::3] = clip[0, 0, 0]
    verdict = motion.judge_clip(clip, scene)
    assert not verdict.objects and verdict.background and verdict.recognised == ()


def test_every_object_and_speed_is_told():
    for number, name in enumerate(MOVING_OBJECTS):
        speed, verb = list(SPEEDS)[number % 3], ("moves", "bounces")[number % 2]
        scene = MovingScene(name, Motion(verb, ("up", "left")[number // 2 % 2], speed), background="yellow")
        assert motion.judge_clip(draw(scene, number), scene).correct, scene


@pytest.mark.parametrize("shape", [(64, 64, 3), (1, 64, 64, 3), (3, 32, 64, 3)])
def test_what_is_no_clip_is_refused(shape):
    with pytest.raises(SizeError):
        motion.watch(np.zeros(shape, np.uint8))
