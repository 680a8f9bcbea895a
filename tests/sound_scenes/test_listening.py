"""What is played in a recording: tempo and notes of tones that the tests make."""

import itertools

import numpy as np
import pytest
from sound_scenes.conftest import RATE, frequency_of, played, tone

from mmgen.errors import SizeError
from mmgen.evaluation.listening import beat_of, onset_strength, pitch_classes
from mmgen.scenes.score import score
from mmgen.scenes.sound import TEMPOS, Music


@pytest.mark.parametrize("tempo", [80, 100, 130, 150, 200, 250, 270])
def test_the_tempo_of_even_notes_is_heard(tempo):
    steps = score(Music("piano", "rising scale", "E", "minor", "fast"))[: int(2.9 * tempo / 60)]
    beat = beat_of(played(steps, 60 / tempo))
    assert beat.tempo == pytest.approx(tempo, rel=0.02)
    assert beat.start == pytest.approx(0.1, abs=0.03)


def test_a_tone_that_trembles_begins_once():
    time = np.arange(3 * RATE) / RATE
    phase = 2 * np.pi * 440 * time + 3 * np.sin(2 * np.pi * 6 * time)  # a quarter of a semitone up and down
    strength = onset_strength(0.1 * np.where(time > 0.5, np.sin(phase), 0))
    later = strength[60:290]  # the recording ends there, which sounds like a beginning
    assert strength[45:55].max() > 3 * later.max()


def test_the_beat_of_silence_is_no_error():
    assert beat_of(np.zeros(3 * RATE)).tempo > 0


@pytest.mark.parametrize("key", [55, 60, 69, 78, 90])
@pytest.mark.parametrize("harmonics", [1, 3, 10])
def test_a_note_is_heard_in_every_colour(key, harmonics):
    assert pitch_classes(tone(frequency_of(key), 0.25, harmonics), 1) == {key % 12}


def test_a_tone_of_odd_harmonics_is_no_fifth():
    time = np.arange(4000) / RATE
    sound = sum(np.sin(2 * np.pi * 311.13 * n * time) for n in (1, 3, 5))
    assert pitch_classes(sound, 1) == {3}


@pytest.mark.parametrize("chord", [(60, 64, 67), (69, 72, 76), (67, 71, 74), (66, 69, 73)])
def test_the_notes_of_a_chord_are_heard(chord):
    assert pitch_classes(sum(tone(frequency_of(key), 0.4) for key in chord), 3) == {key % 12 for key in chord}


@pytest.mark.parametrize("shape", [(1, 48_000), (8000,), (0,)])
def test_what_is_no_recording_is_refused(shape):
    with pytest.raises(SizeError, match="a recording of shape"):
        beat_of(np.zeros(shape))


def test_the_tempos_of_captions_are_told_apart():
    tempos = sorted(TEMPOS.values())
    assert all(slow * 1.1 < quick * 0.9 for slow, quick in itertools.pairwise(tempos))
