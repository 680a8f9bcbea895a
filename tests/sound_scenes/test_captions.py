"""Captions of sound: what is understood, what is refused, the fields a model reads, and the notes that are meant."""

import itertools

import numpy as np
import pytest
import torch

from mmgen.errors import PromptError
from mmgen.scenes.render import is_held_out
from mmgen.scenes.score import SECONDS, Moment, moments, onsets, score, step_frames
from mmgen.scenes.sound import FIGURES, INSTRUMENTS, MODES, TEMPOS, TONES, VOICES, WORDS, Music, SoundGrammar, Speech
from mmgen.scenes.sound_encoder import SoundSceneEncoder
from mmgen.scenes.sound_render import sample_sound_scenes

grammar = SoundGrammar()
ALL = [Music(*parts) for parts in itertools.product(INSTRUMENTS, FIGURES, TONES, MODES, TEMPOS)]
ALL += [Speech(*parts) for parts in itertools.product(VOICES, WORDS, TEMPOS)]


def test_a_description_means_its_scene():
    assert all(grammar.parse(grammar.describe(scene)) == scene for scene in ALL)
    assert len({grammar.describe(scene) for scene in ALL}) == len(ALL) == 3576


@pytest.mark.parametrize(
    "wordings",
    [
        ("a piano plays a rising C major scale, fast", "piano quickly plays ascending scale", "fast piano scale"),
        (
            "flute, slow arpeggio in A minor",
            "a flute slowly plays an arpeggio in a minor",
            "slow flute a-minor arpeggio",
        ),
        ("a female voice says seven", "A woman says: seven!", "woman saying seven, medium"),
        ("a man slowly says left", "male voice says left, slow", "slow man saying left"),
        ("violin plays chords in D flat major", "violin chord progression in C# major", "violin Db major chords"),
        ("an organ plays a falling E flat minor scale", "organ, d sharp minor scale down", "organ eb minor scale down"),
    ],
)
def test_wordings_of_one_scene(wordings):
    assert len({grammar.parse(wording) for wording in wordings}) == 1


def test_what_captions_mean():
    assert grammar.parse("sax arpeggio") == Music("saxophone", "arpeggio", "C", "major", "medium")
    assert grammar.parse("a guitar plays chords in B flat minor, slow") == Music(
        "guitar", "chords", "A sharp", "minor", "slow"
    )
    assert grammar.parse("a man says goodbye") == Speech("male", "goodbye", "medium")


@pytest.mark.parametrize(
    "kind, caption, means",
    [
        ("instruments", "a {} plays chords", lambda scene: scene.instrument),
        ("figures", "a piano plays {}", lambda scene: scene.figure),
        ("keys", "a piano plays chords in {}", lambda scene: f"{scene.tone} {scene.mode}"),
        ("tempos", "a piano plays chords {}", lambda scene: scene.tempo),
        ("voices", "a {} says yes", lambda scene: f"{scene.voice} voice"),
        ("words", "a woman says {}", lambda scene: scene.word),
    ],
)
def test_every_word_that_is_listed_is_understood(kind, caption, means):
    assert len(grammar.words()) == 6 and len(grammar.words()["keys"]) == 24
    for name, others in grammar.words()[kind].items():
        assert {means(grammar.parse(caption.format(word))) for word in (name, *others)} == {name}
    assert grammar.words()["keys"]["C sharp minor"] == ["D flat minor"]


@pytest.mark.parametrize(
    "prompt, words",
    [
        ("", "empty"),
        ("a piano", "does not say what is played"),
        ("a rising scale", "no instrument is named"),
        ("a pianno plays chords", "did you mean piano"),
        ("a tuba plays chords", "there are piano"),
        ("a piano plays chords loudly", "'loudly' is not understood"),
        ("a piano plays chords in C major and D minor", "2 keys"),
        ("a slow flute plays chords quickly", "2 tempos"),
        ("a child says seven", "unknown voice 'child'"),
        ("a man says sevn", "did you mean seven"),
        (7, "a prompt is text"),
    ],
)
def test_what_is_not_understood_is_named(prompt, words):
    with pytest.raises(PromptError, match=words):
        grammar.parse(prompt)


def test_every_scene_has_fields_of_its_own():
    encoder = SoundSceneEncoder(size=8)
    ids = encoder.ids(ALL)
    assert ids.shape == (len(ALL), encoder.length, 12) == (3576, 150, 12)
    assert len({row.numpy().tobytes() for row in ids}) == len(ALL)
    assert ids.max() < encoder.null_ids(1).min()  # no caption is no scene
    one, other = encoder.encode(["man says one", "a male voice says one"])
    assert torch.equal(one, other)


def test_frames_are_told_what_sounds_and_what_comes():
    scene = grammar.parse("a piano plays chords in C major, slowly")
    told = moments(scene)
    assert len(told) == 150 and told[0] == Moment((), None, (60, 64, 67), 5)
    assert told[5] == Moment((60, 64, 67), 0, (65, 69, 72), 30) and told[34].until == 1
    assert told[149] == Moment(score(scene)[-1], 24, (), None)
    for scene in ALL[:: len(ALL) // 50]:
        if not isinstance(scene, Speech):
            begun = [frame for frame, now in enumerate(moments(scene)) if now.since == 0]
            assert begun == onsets(scene.tempo) and [moments(scene)[frame].keys for frame in begun] == score(scene)


def test_what_is_held_out_is_never_drawn_for_training():
    for held_out in (False, True):
        scenes = sample_sound_scenes(np.random.default_rng(1), 300, held_out=held_out)
        assert [is_held_out(scene) for scene in scenes] == [held_out] * 300
    kept = [scene for scene in ALL if is_held_out(scene)]
    assert 0.03 < len(kept) / len(ALL) < 0.07
    # Each part of what is held out is heard in training, in another combination.
    assert {scene.word for scene in ALL if isinstance(scene, Speech) and not is_held_out(scene)} == set(WORDS)


def test_notes_begin_as_quickly_as_said():
    for tempo, notes in TEMPOS.items():
        seconds = np.array(onsets(tempo)) / 50
        assert np.allclose(np.diff(seconds), 60 / notes)
        assert seconds[-1] + 0.5 * step_frames(tempo) / 50 <= SECONDS


@pytest.mark.parametrize(
    "scene, steps",
    [
        (Music("piano", "rising scale", "C", "major", "medium"), "60 62 64 65 67 69 71"),
        (Music("piano", "falling scale", "A", "minor", "medium"), "81 79 77 76 74 72 71"),
        (Music("piano", "arpeggio", "D", "minor", "medium"), "62 65 69 74 69 65 62"),
        (Music("piano", "chords", "C", "major", "slow"), "60,64,67 65,69,72 67,71,74 60,64,67 65,69,72"),
        (Music("piano", "chords", "A", "minor", "slow"), "69,72,76 74,77,81 76,79,83 69,72,76 74,77,81"),
    ],
)
def test_figures_have_the_notes_of_their_key(scene, steps):
    assert score(scene) == [tuple(map(int, step.split(","))) for step in steps.split()]
