"""The shipped network sees what is in scenes, and distances of its features grow with what is wrong."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from safetensors.torch import load_file

from mmgen.errors import OptionError, SizeError, WeightsError
from mmgen.evaluation import features
from mmgen.evaluation.adherence import held_out_scenes
from mmgen.evaluation.features import Answers, features_of, shipped_network
from mmgen.evaluation.frechet import distance_between
from mmgen.scenes.grammar import BACKGROUNDS, POSITIONS, Scene
from mmgen.scenes.objects import CHARACTERS
from mmgen.scenes.render import place, render
from mmgen.training import features as recipe
from mmgen.training.loop import Budget


@pytest.fixture(scope="module")
def scenes():
    return held_out_scenes(240, seed=21)


def draw(scenes, seed):
    return [render(scene, np.random.default_rng((seed, index))) for index, scene in enumerate(scenes)]


@pytest.fixture(scope="module")
def seen(scenes):
    """Features of two renderings of the same scenes."""
    return features_of(draw(scenes, 0)), features_of(draw(scenes, 1))


def test_the_shipped_network_answers_held_out_scenes():
    shares = recipe.measure_features(shipped_network(), 300)
    assert set(shares) == {*Answers._fields, "everything"}
    assert min(shares.values()) >= 0.9 and shares["background"] >= 0.99


def test_the_shipped_file_is_small_and_of_half_precision():
    assert features.WEIGHTS_PATH.stat().st_size < 1.5e6
    assert {tensor.dtype for tensor in load_file(features.WEIGHTS_PATH).values()} == {torch.float16}


def test_features_are_scaled_to_the_variance_of_scenes(scenes, seen):
    assert seen[0].shape == (240, features.FEATURES) and seen[0].dtype == torch.float64
    assert float(seen[0].var(0).sum()) == pytest.approx(1, abs=0.15)
    pictures = draw(scenes, 0)[:5]
    torch.testing.assert_close(features_of(pictures, batch=2), seen[0][:5], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(features_of([Image.fromarray(picture) for picture in pictures]), features_of(pictures))


@pytest.mark.parametrize("fault", ["blur", "noise", "other objects"])
def test_distances_grow_with_the_fault(scenes, seen, fault):
    generator = np.random.default_rng(5)

    def spoil(picture, strength):
        if fault == "blur":
            return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(2 * strength)))
        noise = generator.normal(0, 60 * strength, picture.shape)
        return np.clip(picture + noise, 0, 255).astype(np.uint8)

    def wrong(strength):
        if fault != "other objects":
            return [spoil(picture, strength) for picture in draw(scenes, 1)]
        # Cats and dogs where something else was asked for: nothing a single picture would tell.
        count = round(strength * len(scenes) / 2)
        changed = [dataclasses.replace(scene, first="cat", second=scene.second and "dog") for scene in scenes[:count]]
        return draw([*changed, *scenes[count:]], 1)

    chance = distance_between(*seen)
    distances = [distance_between(seen[0], features_of(wrong(strength))) for strength in (0.25, 0.5, 1.0)]
    assert chance < distances[0] < distances[1] < distances[2]
    assert distances[2] > 3 * chance


def test_pictures_are_checked():
    with pytest.raises(SizeError, match="32"):
        features_of([np.zeros((32, 32, 3), np.uint8)])
    with pytest.raises(OptionError, match="at least one"):
        features_of([])


def test_missing_and_damaged_weights_are_told(tmp_path):
    with pytest.raises(WeightsError, match="absent"):
        shipped_network(tmp_path / "absent.safetensors")
    (tmp_path / "damaged.safetensors").write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="damaged"):
        shipped_network(tmp_path / "damaged.safetensors")


def test_true_answers_are_read_off_the_picture():
    scene = Scene("cat", "blue", 1, "large", None, "left of", "key", "small")
    placed = place(scene, np.random.default_rng(3))
    true = recipe.true_answers(scene, placed)
    names = list(CHARACTERS)
    assert [names[index] for index in true.objects.nonzero().flatten()] == ["cat", "key"]
    assert true.sizes.tolist() == [1, 1] and true.number.tolist() == [0, 1, 0, 0]
    assert [POSITIONS[index] for index in true.places.nonzero().flatten()] == ["left", "right"]
    assert list(BACKGROUNDS)[int(true.background.argmax())] == "blue" and true.background.sum() == 1
    covered = recipe.covering(placed)
    difference = render(scene, np.random.default_rng(3)) != np.array(BACKGROUNDS["blue"])
    assert set(covered.unique().tolist()) == {0, 1 + names.index("cat"), 1 + names.index("key")}
    assert covered[:, :4].max() == 1 + names.index("cat")
    for row, column in (covered == 0).nonzero().tolist():
        assert not difference[8 * row + 4, 8 * column + 4].any()


def test_batches_follow_their_seed_and_keep_held_out_scenes_apart():
    images, true, covered = recipe.draw_answered((1, 2), 6)
    again = recipe.draw_answered((1, 2), 6)
    assert torch.equal(images, again[0]) and torch.equal(covered, again[2]) and images.shape == (6, 3, 64, 64)
    assert all(torch.equal(one, other) for one, other in zip(true, again[1], strict=True))
    assert not torch.equal(images, recipe.draw_answered((1, 2), 6, held_out=True)[0])


def test_the_recipe_writes_what_can_be_loaded(tmp_path):
    lines = []
    small = dataclasses.replace(recipe.RECIPE, budget=Budget(steps=3, log_steps=1), batch=4, scenes=20)
    assert recipe.RECIPE.destination == features.WEIGHTS_PATH.parent
    small.run(tmp_path / "out", tmp_path / "work", "cpu", False, lines.append)
    assert len(lines) == 4 and set(json.loads(lines[-1])) == {*Answers._fields, "everything"}
    network = shipped_network(tmp_path / "out" / features.WEIGHTS_PATH.name)
    with torch.no_grad():
        spread = torch.cat([network(images) for images, _, _ in recipe._held_out(20)]).var(0).sum()
    assert float(spread) == pytest.approx(1, rel=0.02)  # float16 keeps three digits


def test_scaling_keeps_the_answers():
    torch.manual_seed(0)
    network = features.SceneFeatures().eval()
    images = recipe.draw_answered((5,), 4)[0]
    with torch.no_grad():
        local = network.local(images)
        before = network.answers(local.mean((1, 2))), network.covered(local)
        recipe.set_scale(network, 30)
        local = network.local(images)
        after = network.answers(local.mean((1, 2))), network.covered(local)
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
