"""Plays and says scenes of sound: the training recordings, and the references that judges are measured on."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor

import numpy as np

from mmgen.scenes import fluidsynth
from mmgen.scenes.espeak import say
from mmgen.scenes.fluidsynth import Synthesiser
from mmgen.scenes.render import draw_scenes
from mmgen.scenes.score import FRAMES_A_SECOND, SECONDS, onsets, score
from mmgen.scenes.sound import FIGURES, INSTRUMENTS, MODES, TEMPOS, TONES, VOICES, WORDS, Music, SoundScene, Speech

RATE = 16_000
"""Samples of a second."""
SAMPLES = SECONDS * RATE
LOUDNESS = 0.1
"""Root mean square of a recording where it sounds."""

_PEAK = 0.95
_VELOCITIES = (90, 110)
_VARIANTS = {"female": "gmw/en-US+f3", "male": "gmw/en-US+m3"}
_SPEEDS = {"slow": 100, "medium": 125, "fast": 160}
"""Words a minute."""
_PITCHES = (45, 55)
_SPEECH_START = RATE // 5
_AUDIBLE = 0.01
"""Share of the loudest frame's amplitude from which on a frame counts as sound."""


def sample_sound_scene(generator: np.random.Generator, speech: float = 0.3) -> SoundScene:
    """Draws a random scene.

    Args:
        speech: share of scenes in which a word is said.
    """

    def choose(options: Sequence[str]) -> str:
        return options[int(generator.integers(len(options)))]

    if generator.random() < speech:
        return Speech(choose(VOICES), choose(WORDS), choose(tuple(TEMPOS)))
    return Music(*(choose(tuple(field)) for field in (INSTRUMENTS, FIGURES, TONES, MODES, TEMPOS)))


def sample_sound_scenes(
    generator: np.random.Generator, count: int, speech: float = 0.3, held_out: bool | None = False
) -> list[SoundScene]:
    """Draws scenes of combinations that training sees, or of those kept out of it; or of both where it is None."""
    return draw_scenes(lambda: sample_sound_scene(generator, speech), count, held_out)


def render_sounds(scenes: Sequence[SoundScene], seed: int) -> np.ndarray:
    """Plays scenes, in a fresh process: the same scenes and seed always give the same samples.

    What captions leave open (how hard keys are struck, how high a voice is) is drawn at random.

    Returns:
        float32 [count, 48000] at 16 kHz, in [-1, 1], all about equally loud.

    Raises:
        MissingDependencyError: FluidSynth, its soundfont or eSpeak NG is not installed.
    """
    return rendering(scenes, seed).result()


def rendering(scenes: Sequence[SoundScene], seed: int) -> Future[np.ndarray]:
    """The same, while the caller goes on with something else."""
    executor = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    future = executor.submit(_render_all, list(scenes), seed)
    executor.shutdown(wait=False)
    return future


def _render_all(scenes: list[SoundScene], seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    with Synthesiser() as synthesiser:
        sounds = [
            _spoken(scene, generator) if isinstance(scene, Speech) else _played(scene, synthesiser, generator)
            for scene in scenes
        ]
    return np.stack([_levelled(sound) for sound in sounds])


def _played(music: Music, synthesiser: Synthesiser, generator: np.random.Generator) -> np.ndarray:
    velocity = _VELOCITIES[int(generator.integers(len(_VELOCITIES)))]
    frame = fluidsynth.RATE // FRAMES_A_SECOND
    starts = onsets(music.tempo)
    stops = [*starts[1:], SECONDS * FRAMES_A_SECOND]
    synthesiser.begin(INSTRUMENTS[music.instrument])
    parts = [synthesiser.play(starts[0] * frame)]
    for keys, start, stop in zip(score(music), starts, stops, strict=True):
        synthesiser.press(keys, velocity)
        parts.append(synthesiser.play((stop - start) * frame))
        synthesiser.release(keys)
    return resampled(np.concatenate(parts), fluidsynth.RATE)


def _spoken(speech: Speech, generator: np.random.Generator) -> np.ndarray:
    pitch = _PITCHES[int(generator.integers(len(_PITCHES)))]
    word = resampled(*say(speech.word, _VARIANTS[speech.voice], _SPEEDS[speech.tempo], pitch))
    word = word[: SAMPLES - _SPEECH_START]
    sound = np.zeros(SAMPLES, np.float32)
    sound[_SPEECH_START : _SPEECH_START + len(word)] = word
    return sound


def resampled(sound: np.ndarray, rate: int) -> np.ndarray:
    """Sound [samples] of `rate` samples a second at 16 kHz, by its spectrum: what is above 8 kHz is cut off."""
    divisor = int(np.gcd(rate, RATE))
    up, down = RATE // divisor, rate // divisor
    blocks = -(-len(sound) // down)
    spectrum = np.fft.rfft(sound, blocks * down)[: blocks * up // 2 + 1]
    spectrum[-1] = 0
    return (np.fft.irfft(spectrum, blocks * up) * (up / down)).astype(np.float32)


def _levelled(sound: np.ndarray) -> np.ndarray:
    """Sound at the loudness of all recordings, but for what would be louder than can be."""
    amplitudes = np.sqrt(np.square(sound).reshape(SECONDS * FRAMES_A_SECOND, -1).mean(1))
    audible = amplitudes[amplitudes > _AUDIBLE * amplitudes.max()]
    gain = LOUDNESS / np.sqrt(np.square(audible).mean())
    return sound * min(gain, _PEAK / np.abs(sound).max())
