"""The judge of sound: true recordings pass, and what is wrong with the others is named."""

import dataclasses

import numpy as np
import pytest
import torch

import mmgen
from mmgen.errors import OptionError
from mmgen.evaluation.hearing import answers_of, hear, shipped_hearing
from mmgen.evaluation.judges import Judge
from mmgen.evaluation.sound import SoundReport, SoundVerdict, held_out_sound_scenes, judge_sound, measure_sounds
from mmgen.scenes.render import is_held_out
from mmgen.scenes.sound import INSTRUMENTS, VOICES, WORDS, Music, SoundGrammar, Speech


def test_true_recordings_are_right(held_out):
    scenes, sounds = held_out
    report = measure_sounds(sounds, scenes)
    assert report.correct.right >= 22 and report.correct.of == 24
    assert report.notes.share > 0.95
    assert report.music.of + report.speech.of == 24 and report.music.of > 0 < report.speech.of


def test_the_shipped_codec_keeps_what_captions_ask_for(held_out):
    scenes, sounds = held_out
    codec = mmgen.load("sound-codes")
    waveforms = torch.from_numpy(np.stack(list(sounds)))[:, None]
    report = measure_sounds(codec.decode(codec.encode(waveforms))[:, 0].numpy(), scenes)
    assert report.correct.right >= 19 and report.notes.share > 0.9


def test_what_is_wrong_is_named(held_out):
    for scene, sound in list(zip(*held_out, strict=True))[:8]:
        true = judge_sound(sound, scene)
        if isinstance(scene, Speech):
            wrong = Speech(*(next(other for other in field if other != own)
                             for field, own in ((VOICES, scene.voice), (WORDS, scene.word))))  # fmt: skip
            verdict = judge_sound(sound, wrong)
            assert not verdict.voice and not verdict.word and verdict.recognised == true.recognised
            continue
        other = {"fast": "slow", "medium": "fast", "slow": "fast"}
        assert not judge_sound(sound, dataclasses.replace(scene, tempo=other[scene.tempo])).tempo
        tone = {"C": "F sharp"}.get(scene.tone, "C")
        assert not judge_sound(sound, dataclasses.replace(scene, tone=tone)).melody
        instrument = next(name for name in INSTRUMENTS if name != scene.instrument)
        assert judge_sound(sound, dataclasses.replace(scene, instrument=instrument)).instrument is False


def test_loudness_makes_no_difference(held_out):
    scenes, sounds = held_out
    for scene, sound in list(zip(scenes, sounds, strict=True))[:4]:
        assert judge_sound(0.1 * sound, scene) == judge_sound(sound, scene)


def test_silence_is_wrong_and_no_error():
    verdict = judge_sound(np.zeros(48_000), Music("piano"))
    assert not verdict.correct and not verdict.melody


def test_what_a_verdict_asks_for():
    assert SoundVerdict(True, True, (True,) * 4 + (False,)).correct
    assert not SoundVerdict(True, True, (True,) * 3 + (False,)).correct
    assert SoundVerdict(voice=True, word=True).correct and SoundVerdict(voice=True, word=True).melody is None
    assert not SoundVerdict(voice=True, word=False).correct


def test_a_report_counts_what_it_concerns():
    report = SoundReport()
    report.add(Music("flute"), SoundVerdict(True, False, (True, False), recognised=("flute",)))
    report.add(Speech("male", "one"), SoundVerdict(voice=True, word=True, recognised=("male", "one")))
    counts = {name: (share["right"], share["of"]) for name, share in report.to_dict().items() if name != "by_name"}
    assert counts == {
        "instrument": (1, 1), "tempo": (0, 1), "melody": (0, 1), "notes": (1, 2), "voice": (1, 1), "word": (1, 1),
        "music": (0, 1), "speech": (1, 1), "correct": (1, 2),
    }  # fmt: skip
    assert report.to_dict()["by_name"]["flute"]["share"] == 1


def test_answers_have_a_place_for_none():
    first, second = answers_of([Music("piano"), Speech("female", "zero")]).tolist()
    assert first == [1, 0, 0] and second == [0, 1, 1]


def test_the_shipped_network_is_small_and_hears_only_recordings():
    assert sum(parameter.numel() for parameter in shipped_hearing().parameters()) < 250_000
    with pytest.raises(OptionError, match="sounds"):
        hear([])


def test_the_judge_of_sound_draws_held_out_captions():
    judge = Judge(SoundGrammar())
    scenes = judge.scenes(20, seed=1)
    assert scenes == held_out_sound_scenes(20, 1) and all(is_held_out(scene) for scene in scenes)
    assert [judge.grammar.parse(caption) for caption in judge.captions(scenes)] == scenes
    assert judge.knows(np.zeros(48_000)) and not judge.knows(np.zeros(1000))
