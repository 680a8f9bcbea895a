"""Recordings: the same bytes every time, equally loud, and what captions say; and a cure where a program is missing."""

import ctypes.util

import numpy as np
import pytest

from mmgen.errors import MissingDependencyError
from mmgen.scenes import espeak, fluidsynth
from mmgen.scenes.score import score
from mmgen.scenes.sound import Music, Speech
from mmgen.scenes.sound_render import LOUDNESS, SAMPLES, render_sounds, resampled

SCENES = [
    Music("piano", "rising scale", "C", "major", "fast"),
    Speech("female", "seven"),
    Music("flute", "chords", "G", "minor", "slow"),
    Speech("male", "seven"),
]


@pytest.fixture(scope="module")
def sounds(synthesisers):
    return render_sounds(SCENES, seed=3)


def test_the_same_seed_gives_the_same_samples(sounds):
    assert np.array_equal(render_sounds(SCENES, seed=3), sounds)


def test_recordings_are_three_seconds_equally_loud_and_not_clipped(sounds):
    assert sounds.shape == (4, SAMPLES) == (4, 48_000) and sounds.dtype == np.float32
    assert np.abs(sounds).max() <= 0.95
    for sound in sounds[[0, 2]]:
        assert 0.7 * LOUDNESS < np.sqrt(np.square(sound).mean()) <= LOUDNESS


def test_music_begins_on_its_first_frame_and_words_are_followed_by_silence(sounds):
    assert np.abs(sounds[0, :1600]).max() < 0.01 < np.abs(sounds[0, 1600:2400]).max()
    for spoken in sounds[[1, 3]]:
        assert np.abs(spoken[:3200]).max() == 0 and np.abs(spoken[32_000:]).max() < 0.01
        assert np.square(spoken[3200:24_000]).sum() > 0.99 * np.square(spoken).sum()


def test_the_first_note_has_its_pitch(sounds):
    note = sounds[0, 1900:5400] * np.hanning(3500)
    peak = np.abs(np.fft.rfft(note, 2**16)).argmax() * 16_000 / 2**16
    wanted = 440 * 2 ** ((score(SCENES[0])[0][0] - 69) / 12)
    assert min(abs(peak / (wanted * n) - 1) for n in (1, 2)) < 0.01


def test_resampling_keeps_a_tone_and_drops_what_is_too_high():
    time = np.arange(22_050) / 22_050
    low, high = (resampled(np.sin(2 * np.pi * frequency * time), 22_050) for frequency in (1000, 9000))
    assert low.shape == (16_000,) and np.abs(high).max() < 0.01
    np.testing.assert_allclose(low, np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000), atol=0.01)


@pytest.mark.parametrize("module, package", [(fluidsynth, "fluid-soundfont-gm"), (espeak, "libespeak-ng1")])
def test_a_missing_library_says_what_to_install(module, package, monkeypatch):
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    maker = fluidsynth._library if module is fluidsynth else espeak._speaker
    maker.cache_clear()
    with pytest.raises(MissingDependencyError, match=package):
        fluidsynth.Synthesiser() if module is fluidsynth else espeak.say("one", "gmw/en-US+f3", 120, 50)


def test_a_missing_soundfont_says_what_to_install(synthesisers, monkeypatch, tmp_path):
    monkeypatch.setattr(fluidsynth, "SOUNDFONT", tmp_path / "none.sf2")
    with pytest.raises(MissingDependencyError, match="fluid-soundfont-gm"):
        fluidsynth.Synthesiser()
