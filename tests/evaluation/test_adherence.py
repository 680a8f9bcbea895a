"""The judge passes true pictures and fails wrong ones."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from mmgen.errors import OptionError, SizeError
from mmgen.evaluation import adherence, judges, recognition
from mmgen.evaluation.verdicts import Share
from mmgen.scenes.grammar import BACKGROUNDS, POSITIONS, Scene
from mmgen.scenes.objects import CHARACTERS
from mmgen.scenes.render import OBJECT_PIXELS, is_held_out, render, sprite

OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


@pytest.fixture(scope="module")
def scenes():
    return adherence.held_out_scenes(250, seed=11)


@pytest.fixture(scope="module")
def images(scenes):
    generator = np.random.default_rng(0)
    return [render(scene, generator) for scene in scenes]


def draw(scene, seed=0):
    return render(scene, np.random.default_rng(seed))


def test_true_pictures_pass(scenes, images):
    assert all(is_held_out(scene) for scene in scenes)
    report = adherence.measure(images, scenes)
    for name in ("background", "single_object", "single_position", "pair_objects", "pair_relation", "group_count"):
        assert getattr(report, name).of >= 10
        assert getattr(report, name).share >= 0.99, name
    assert report.correct.of == 250
    assert report.correct.share >= 0.99


def test_every_object_is_recognised_on_every_background():
    for name in CHARACTERS:
        for number, background in enumerate(BACKGROUNDS):
            scene = Scene(name, background, size=("large", "small")[number % 2])
            assert adherence.judge(draw(scene, number), scene).correct, scene


def test_captions_of_other_pictures_fail(scenes, images):
    shuffled = scenes[1:] + scenes[:1]
    report = adherence.measure(images, shuffled)
    assert report.correct.share < 0.02
    assert report.single_object.share < 0.1
    assert report.pair_relation.share < 0.05


def test_another_object_fails_at_the_object_alone():
    verdict = adherence.judge(draw(Scene("cat", "blue")), Scene("dog", "blue"))
    assert not verdict.correct and not verdict.object
    assert verdict.background and verdict.position and verdict.count
    assert verdict.recognised == ("cat",)


def test_another_background_fails_at_the_background_alone():
    for background in BACKGROUNDS:
        other = "white" if background == "black" else "black"
        verdict = adherence.judge(draw(Scene("robot", background)), Scene("robot", other))
        assert not verdict.correct and not verdict.background
        assert verdict.object and verdict.recognised_background == background


@pytest.mark.parametrize("value", [0, 120, 250])
def test_blank_pictures_fail(scenes, value):
    blank = np.full((64, 64, 3), value, np.uint8)
    assert not any(adherence.judge(blank, scene).correct for scene in scenes[:40])
    assert recognition.look(blank).objects == ()


def test_noise_fails(scenes):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert recognition.look(noise).background is None
    assert not any(adherence.judge(noise, scene).correct for scene in scenes[:20])


def test_mirrored_pairs_fail_at_the_relation(scenes, images):
    pairs = [(scene, image) for scene, image in zip(scenes, images, strict=True) if scene.kind == "pair"][:40]
    for scene, image in pairs:
        mirrored = dataclasses.replace(scene, relation=OPPOSITE[scene.relation])
        verdict = adherence.judge(image, mirrored)
        assert verdict.relation is False and verdict.object and not verdict.correct
        sideways = {"left of": "above", "right of": "above"}.get(scene.relation, "left of")
        assert adherence.judge(image, dataclasses.replace(scene, relation=sideways)).relation is False


def test_exchanged_objects_fail_at_the_relation():
    scene = Scene("cat", "white", 1, "large", None, "left of", "key", "small")
    other = Scene("key", "white", 1, "small", None, "left of", "cat", "large")
    assert adherence.judge(draw(scene), scene).correct
    assert adherence.judge(draw(scene), other).relation is False


def test_places_sizes_and_counts_are_told_apart():
    for position in POSITIONS:
        image = draw(Scene("bell", "red", 1, "small", position))
        right = [
            other for other in POSITIONS if adherence.judge(image, Scene("bell", "red", 1, "small", other)).position
        ]
        assert right == [position]
    assert adherence.judge(draw(Scene("bell", size="small")), Scene("bell", size="large")).size is False
    for count in (2, 3, 4):
        image = draw(Scene("bell", "gray", count, "small", None))
        right = [n for n in (2, 3, 4) if adherence.judge(image, Scene("bell", "gray", n, "small", None)).count]
        assert right == [count]
    assert not adherence.judge(draw(Scene("bell", "gray", 2, "small", None)), Scene("bell", "gray", 1, "small")).correct


def test_an_object_too_many_fails():
    scene = Scene("crown", "green", 1, "small", "top left")
    image = draw(scene)
    paint, opacity = sprite("fire", 20)
    image[40:60, 40:60] = paint * opacity + image[40:60, 40:60] * (1 - opacity)
    verdict = adherence.judge(image, scene)
    assert verdict.count is False and not verdict.correct
    assert set(verdict.recognised) == {"crown", "fire"}


@pytest.mark.parametrize("size", ["large", "small"])
def test_places_off_the_tokenizer_grid_are_seen(size):
    side = OBJECT_PIXELS[size]
    for row, column in ((0, 0), (3, 7), (10, 21), (64 - side, 64 - side)):
        image = np.empty((64, 64, 3), np.uint8)
        image[:] = BACKGROUNDS["purple"]
        paint, opacity = sprite("penguin", side)
        area = image[row : row + side, column : column + side]
        area[:] = paint * opacity + area * (1 - opacity)
        (found,) = recognition.look(Image.fromarray(image)).objects
        assert (found.name, found.size) == ("penguin", size)
        assert (found.row, found.column) == (row + side / 2, column + side / 2)


def test_noisy_and_tinted_pictures_are_still_recognised(scenes, images):
    generator = np.random.default_rng(1)
    noisy = [
        np.clip(image + generator.normal(0, 10, image.shape) + generator.normal(0, 4, 3), 0, 255).astype(np.uint8)
        for image in images[:80]
    ]
    assert adherence.measure(noisy, scenes[:80]).correct.share >= 0.95


def test_the_report_counts_what_was_asked_for(scenes, images):
    parts = adherence.measure(images, scenes).to_dict()
    kinds = [scene.kind for scene in scenes]
    assert parts["single_object"]["of"] == kinds.count("single")
    assert parts["pair_relation"]["of"] == kinds.count("pair")
    assert parts["group_count"]["of"] == kinds.count("group")
    assert parts["background"]["of"] == 250
    assert sum(share["of"] for share in parts["by_name"].values()) == 250 + kinds.count("pair")
    assert Share().share is None


def test_pictures_of_another_size_are_refused():
    with pytest.raises(SizeError, match="32"):
        adherence.judge(np.zeros((32, 32, 3), np.uint8), Scene("cat"))


class Painter:
    """A pipeline that draws what it is told, and records how it was called."""

    def __init__(self):
        from mmgen.scenes.grammar import Grammar

        self.text_encoder = type("Encoder", (), {"grammar": Grammar()})
        self.calls = []

    def __call__(self, prompts, seed, decoder):
        self.calls.append((len(prompts), list(seed), decoder))
        scenes = [self.text_encoder.grammar.parse(prompt) for prompt in prompts]
        return type("Output", (), {"images": [Image.fromarray(draw(scene, 3)) for scene in scenes]})


def test_evaluation_of_a_perfect_painter():
    painter, lines = Painter(), []
    report = judges.evaluate(painter, 20, seed=5, batch=8, decoder="jacobi", log=lines.append)
    assert report.correct.right == report.correct.of == 20
    assert [call[0] for call in painter.calls] == [8, 8, 4] and len(lines) == 3
    assert painter.calls[1][1:] == (list(range(13, 21)), "jacobi")
    with pytest.raises(OptionError, match="count"):
        judges.evaluate(painter, 0)


def test_reconstructions_stay_recognisable(scenes, images):
    torch = pytest.importorskip("torch")
    import mmgen

    tokenizer = mmgen.load("emoji-patches")
    pixels = torch.tensor(np.stack(images[:80])).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        decoded = tokenizer.decode(tokenizer.encode(pixels))
    pictures = ((decoded + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    assert adherence.measure(pictures, scenes[:80]).correct.share >= 0.95
