"""Clips of moving scenes show what their captions say, step by step."""

import numpy as np
import pytest
import torch

from mmgen.layout import PlaneLayout
from mmgen.scenes.grammar import BACKGROUNDS
from mmgen.scenes.motion import DIRECTIONS, MOVING_OBJECTS, SPEEDS, STILL, Motion, MotionGrammar, MovingScene
from mmgen.scenes.motion_encoder import MovingSceneEncoder, StoryboardEncoder
from mmgen.scenes.motion_render import (
    CELL,
    FRAMES,
    TRACK,
    paths,
    render_clip,
    render_staged,
    sample_moving_scene,
    stage,
    stagings,
    way,
)
from mmgen.scenes.render import is_held_out
from mmgen.tokenizers.causal_patches import CausalPatchVQ
from mmgen.training.clips import draw_clip_codes, draw_clips


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("speed", SPEEDS)
def test_what_moves_goes_to_the_other_edge_and_stays(direction, speed):
    places = way(Motion("moves", direction, speed), FRAMES)
    steps = np.diff(places) * (1 if direction in ("right", "down") else -1)
    assert {places[0], places[-1]} == {0, TRACK}
    moving = TRACK // SPEEDS[speed]
    assert (steps[:moving] == SPEEDS[speed]).all() and (steps[moving:] == 0).all()


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("speed", SPEEDS)
def test_what_bounces_turns_round_at_the_edges(direction, speed):
    places = way(Motion("bounces", direction, speed), FRAMES)
    steps = np.diff(places)
    assert (abs(steps) == SPEEDS[speed]).all()
    assert np.sign(steps[0]) == (1 if direction in ("right", "down") else -1)
    turns = 1 + np.flatnonzero(np.diff(steps))
    assert len(turns) >= 1 and set(places[turns]) <= {0, TRACK}


def test_things_stay_inside_apart_and_on_cells_every_four_frames():
    generator = np.random.default_rng(1)
    for _ in range(500):
        corners = paths(stage(sample_moving_scene(generator, MOVING_OBJECTS), generator))
        assert corners.min() >= 0 and corners.max() <= TRACK
        assert (corners[:, ::4] % CELL == 0).all()
        if len(corners) == 2:
            assert (abs(corners[0] - corners[1]).max(axis=-1) >= TRACK).all()


def test_stagings_are_all_that_may_be_drawn():
    captions = {
        "a cat moves up": 5,
        "a cat stays": 25,
        "a cat moves up while a dog moves down": 2,
        "a cat bounces left while a dog stays": 10,
        "a cat stays while a dog stays": 96,
    }
    for caption, count in captions.items():
        scene = MotionGrammar().parse(caption)
        drawn = {stage(scene, np.random.default_rng(seed)) for seed in range(20 * count)}
        assert drawn == set(stagings(scene)) and len(stagings(scene)) == count


def test_a_clip_shows_the_object_where_its_path_is():
    scene = MovingScene("star", Motion("moves", "down", "normally"), background="blue")
    clip = render_clip(scene, np.random.default_rng(5))
    corners = paths(stage(scene, np.random.default_rng(5)))[0]
    assert clip.shape == (FRAMES, 64, 64, 3) and clip.dtype == np.uint8
    for frame, (top, left) in zip(clip, corners, strict=True):
        rows, columns = np.nonzero((frame != BACKGROUNDS["blue"]).any(-1))
        assert top <= rows.min() <= top + 1 and top + 30 <= rows.max() < top + 32
        assert left <= columns.min() <= left + 1 and left + 30 <= columns.max() < left + 32


def test_a_longer_clip_begins_like_a_shorter_one():
    scene = MovingScene("cat", Motion("bounces", "left", "quickly"), "robot", STILL)
    shorter, longer = (render_clip(scene, np.random.default_rng(2), frames) for frames in (5, 33))
    assert np.array_equal(shorter, longer[:5])


def test_a_storyboard_says_where_the_clip_shows_which_part_of_what():
    encoder, generator = StoryboardEncoder(size=8), np.random.default_rng(3)
    for _ in range(50):
        staged = stage(sample_moving_scene(generator, MOVING_OBJECTS, pairs=0.5), generator)
        board, clip = encoder.board(staged), render_staged(staged)[::4]
        seen = (clip != BACKGROUNDS[staged.scene.background]).any(-1)
        cells = torch.from_numpy(seen.reshape(5, 8, CELL, 8, CELL).any((2, 4)))
        assert not cells[board == 0].any() and cells[board > 0].float().mean() > 0.7
        parts = torch.arange(1, 17 if staged.scene.second is None else 33)
        assert all(torch.equal(own[own > 0].sort().values, parts) for own in board)
        corner = tuple(np.array(staged.starts[0]) // CELL)
        assert board[0][corner] == 1


def test_each_place_is_told_what_stands_ahead_of_it():
    encoder = StoryboardEncoder(size=8)
    staged = stage(MovingScene("cat", Motion("moves", "right", "quickly")), np.random.default_rng(0))
    board, layout = encoder.board(staged), PlaneLayout((5, 8, 8))
    ids = encoder.ids([staged, staged.scene])
    assert ids.shape == (2, encoder.length + 3 * 321) and encoder(ids).shape == (2, encoder.length + 321, 8)
    told = ids[0, encoder.length :].view(321, 3) - torch.arange(3) * 34
    assert torch.equal(told[0], board[0, 0, 0].expand(3))
    for place, own in zip(layout.coordinates.tolist(), told[1:].tolist(), strict=True):
        for axis in range(3):
            ahead = [index + (axis == other) for other, index in enumerate(place)]
            inside = all(index < size for index, size in zip(ahead, layout.sizes, strict=True))
            assert own[axis] == (board[tuple(ahead)] if inside else 0)
    unsaid = ids[1, encoder.length :]
    assert torch.equal(unsaid, encoder.null_ids(1)[0, encoder.length :]) and (unsaid.view(321, 3) % 34 == 33)[0].all()
    assert torch.equal(encoder.ids([staged.scene])[:, : encoder.length], MovingSceneEncoder(size=8).ids([staged.scene]))


def test_training_never_sees_what_is_held_out():
    for held_out in (False, True):
        scenes, clips = draw_clips((0, held_out), 12, MOVING_OBJECTS, held_out=held_out, frames=2)
        assert [is_held_out(staged.scene) for staged in scenes] == [held_out] * 12
        assert clips.shape == (12, 3, 2, 64, 64) and clips.min() >= -1 and clips.max() <= 1


def test_a_batch_is_decided_by_its_seed_and_drops_captions():
    tokenizer = CausalPatchVQ(codebook_size=16, size=16, layers=1, heads=1, hidden_size=16)
    tokenizer.codebook.data.normal_(0, 0.5, generator=torch.Generator().manual_seed(0))
    encoder = MovingSceneEncoder(size=8)
    ids, codes = draw_clip_codes((4, 2), 8, encoder, tokenizer, unconditional=0.25)
    assert codes.shape == (8, 1, 5, 8, 8)
    assert torch.equal(ids[:2], encoder.null_ids(2)) and (ids[2:] < encoder.null_ids(1)).all()
    same = draw_clip_codes((4, 2), 8, encoder, tokenizer, unconditional=0.25)
    assert torch.equal(ids, same[0]) and torch.equal(codes, same[1])
    assert not torch.equal(codes, draw_clip_codes((4, 3), 8, encoder, tokenizer)[1])
