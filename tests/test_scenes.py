"""Captions, pictures and what is kept out of training."""

import numpy as np
import pytest
from PIL import Image

from mmgen.errors import PromptError
from mmgen.scenes import render
from mmgen.scenes.encoder import SceneEncoder
from mmgen.scenes.grammar import BACKGROUNDS, Grammar, Scene
from mmgen.scenes.grammars import GRAMMARS, grammar_of
from mmgen.scenes.motion_encoder import MovingSceneEncoder, StoryboardEncoder
from mmgen.scenes.objects import ALIASES, CHARACTERS, PLURALS
from mmgen.scenes.sound_encoder import SoundSceneEncoder

OBJECTS = tuple(CHARACTERS)
grammar = Grammar()


def test_a_description_means_its_scene():
    generator = np.random.default_rng(0)
    for _ in range(3000):
        scene = render.sample_scene(generator, OBJECTS)
        assert grammar.parse(grammar.describe(scene)) == scene


@pytest.mark.parametrize(
    "wordings",
    [
        ("a cat", "cat", "The cat!", "one cat", "a large cat", "a cat in the center", "a cat on a white background"),
        ("a dog to the left of a tree", "dog left of tree", "the big dog to the left of a deciduous tree"),
        ("two stars", "2 stars", "two stars on white background"),
        ("an apple under the moon on grey background", "a red apple below a crescent moon, gray background"),
        ("a small bee in the top-left corner", "tiny honeybee in the upper left", "little bee in top left"),
        ("a car at the bottom", "an automobile in the bottom", "a car on the lower side"),
    ],
)
def test_wordings_of_one_scene(wordings):
    assert len({grammar.parse(wording) for wording in wordings}) == 1


def test_every_name_alias_and_plural_is_understood():
    for name in OBJECTS:
        assert grammar.parse(f"a {name}").first == name
        assert grammar.parse(grammar.describe(Scene(name, "red", 3, "small", None))).first == name
    for alias, name in ALIASES.items():
        assert grammar.parse(f"a {alias} on a blue background").first == name
    for plural, name in PLURALS.items():
        if name in CHARACTERS:
            assert grammar.parse(f"three {plural}").first == name


@pytest.mark.parametrize(
    "kind, caption, means",
    [
        ("objects", "a {}", lambda scene: scene.first),
        ("sizes", "a {} cat", lambda scene: scene.size),
        ("counts", "{} frogs", lambda scene: {1: "one", 2: "two", 3: "three", 4: "four"}[scene.count]),
        ("positions", "a cat in the {}", lambda scene: scene.position),
        ("relations", "a cat {} a dog", lambda scene: scene.relation),
        ("colours", "a cat on a {} background", lambda scene: scene.background),
    ],
)
def test_every_word_that_is_listed_is_understood(kind, caption, means):
    for name, others in grammar.words()[kind].items():
        assert {means(grammar.parse(caption.format(word))) for word in (name, *others)} == {name}


def test_all_words_are_listed():
    words = grammar.words()
    assert list(words) == ["objects", "sizes", "counts", "positions", "relations", "colours"]
    assert words["objects"].keys() == CHARACTERS.keys() and words["colours"]["gray"] == ["grey"]
    assert sum(map(len, words["objects"].values())) == len(ALIASES)


def test_grammars_are_those_of_the_encoders(tmp_path):
    for kind in (SceneEncoder, MovingSceneEncoder, StoryboardEncoder, SoundSceneEncoder):
        encoder = kind(size=8)
        encoder.save_pretrained(tmp_path / kind.__name__ / "text_encoder")
        read = grammar_of(tmp_path / kind.__name__)
        assert type(read) is type(encoder.grammar) and read.words() == encoder.grammar.words()
    assert len(GRAMMARS) == 4 and grammar_of(tmp_path) is None


@pytest.mark.parametrize(
    "prompt, words",
    [
        ("", "empty"),
        (" ,. ", "empty"),
        ("the", "no object is named"),
        ("x" * 201, "201 characters"),
        ("a dragon", "'dragon'"),
        ("a catt", "did you mean cat"),
        ("a cat on a mauve background", "unknown background 'mauve'"),
        ("two cats above a dog", "a relation joins single objects"),
        ("two large cats", "counted objects are drawn small"),
        ("a cat beside a dog", "not an object"),
        ("on a red background", "no object is named"),
        ("a cat above", "not an object"),
        ("ein Kätzchen 🐈", "not an object"),
    ],
)
def test_other_prompts_are_refused_with_the_reason(prompt, words):
    with pytest.raises(PromptError, match=words.replace("?", r"\?")):
        grammar.parse(prompt)


def test_names_are_cldr_short_names():
    emoji = pytest.importorskip("emoji", reason="the emoji package (extra: dev) is not installed")
    for name, character in CHARACTERS.items():
        data = emoji.EMOJI_DATA.get(character) or emoji.EMOJI_DATA[character + "\ufe0f"]
        cldr = data["en"].strip(":").replace("_", " ").replace("-", " ").lower()
        assert cldr == name.replace("-", " "), (name, data["en"])


def test_pictures_follow_the_scene():
    generator = np.random.default_rng(1)
    for _ in range(300):
        scene = render.sample_scene(generator, OBJECTS)
        picture = render.render(scene, generator)
        assert picture.shape == (64, 64, 3)
        mask = (picture != np.array(BACKGROUNDS[scene.background])).any(-1)
        assert 0.02 < mask.mean() < 0.9
        assert len(render.place(scene, generator)) == (2 if scene.kind == "pair" else scene.count)


def test_relations_place_the_first_object_where_they_say():
    generator = np.random.default_rng(2)
    for relation, axis, sign in (("left of", 3, -1), ("right of", 3, 1), ("above", 2, -1), ("below", 2, 1)):
        for size in ("large", "small"):
            scene = Scene("cat", "red", 1, size, None, relation, "dog", "large")
            first, second = render.place(scene, generator)
            assert np.sign(first[axis] - second[axis]) == sign


def test_held_out_scenes_are_a_twentieth():
    generator = np.random.default_rng(3)
    share = np.mean([render.is_held_out(render.sample_scene(generator, OBJECTS)) for _ in range(4000)])
    assert 0.035 < share < 0.067


def test_the_sprite_sheet_is_the_font():
    if not render.FONT_PATH.exists():
        pytest.skip("Debian's package fonts-noto-color-emoji is not installed")
    drawn, stored = np.asarray(render.draw_sprites()), np.asarray(Image.open(render.SPRITES_PATH))
    assert np.abs(drawn.astype(int) - stored).mean() < 0.5
