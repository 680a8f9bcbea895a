"""What the tests of sound share."""

import ctypes.util

import numpy as np
import pytest

from mmgen.scenes.fluidsynth import SOUNDFONT
from mmgen.scenes.sound_render import render_sounds, sample_sound_scenes

RATE = 16_000


@pytest.fixture(scope="session")
def synthesisers():
    """Skips where what plays and speaks is not installed."""
    for library in ("fluidsynth", "espeak-ng"):
        if ctypes.util.find_library(library) is None:
            pytest.skip(f"lib{library} is not installed")
    if not SOUNDFONT.is_file():
        pytest.skip(f"there is no {SOUNDFONT}: the package fluid-soundfont-gm is not installed")


@pytest.fixture(scope="session")
def held_out(synthesisers):
    """Scenes that training never sees, and their recordings."""
    scenes = sample_sound_scenes(np.random.default_rng(77), 24, held_out=True)
    return scenes, render_sounds(scenes, seed=5)


def tone(frequency: float, seconds: float, harmonics: int = 6, decay: float = 3.0) -> np.ndarray:
    """A plucked string, roughly: float64 [samples]."""
    time = np.arange(int(seconds * RATE)) / RATE
    partials = sum(0.7**n * np.sin(2 * np.pi * frequency * (n + 1) * time) for n in range(harmonics))
    return 0.1 * partials * np.exp(-decay * time)


def frequency_of(key: int) -> float:
    return 440.0 * 2 ** ((key - 69) / 12)


def played(steps: list[tuple[int, ...]], period: float, start: float = 0.1, seconds: float = 3.0) -> np.ndarray:
    """Steps of keys of MIDI, one after the other: float64 [samples]."""
    sound = np.zeros(int(seconds * RATE))
    for number, keys in enumerate(steps):
        first = int((start + number * period) * RATE)
        piece = sum(tone(frequency_of(key), period) for key in keys)[: max(len(sound) - first, 0)]
        sound[first : first + len(piece)] += piece
    return sound
