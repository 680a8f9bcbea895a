"""What is played in a recording, by signal processing alone: when notes begin, how quickly, and which they are."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from mmgen.errors import SizeError

RATE = 16_000
"""Samples of a second."""
SHORTEST = 1.0
"""Seconds of a recording, at least."""

_HOP = 160
_WINDOW = 1024
_BINS = 3
"""Bands of a semitone."""
_PERIODS = np.geomspace(60 / 275, 60 / 80, 124)
"""Seconds from one note to the next, steps of one percent: 275 to 80 notes a minute are told apart."""
_CONTRAST = 40
"""The loudest band above those that count as silence; more would hear a trembling tone as notes."""
_MISSED = 0.35
"""What a beat without an onset costs, where one with a clear onset earns 1 less the same: so neither half nor twice
the tempo is best."""
_LOWEST, _KEYS = 48, 54
"""The lowest key of MIDI that is heard, and how many from there on."""
_HARMONICS = 10
_SPECTRUM = 8192
"""Samples that a note's spectrum is made of, at most; half a second."""


@dataclass(frozen=True)
class Beat:
    """An even row of notes.

    Attributes:
        period: seconds from one to the next.
        start: second of the first.
    """

    period: float
    start: float

    @property
    def tempo(self) -> float:
        """Notes of a minute."""
        return 60 / self.period


def onset_strength(sound: np.ndarray) -> np.ndarray:
    """How clearly something begins, every 10 ms: the rise of the logarithmic spectrum, summed over its bands.

    A band counts as much as it is above itself and its neighbours before, so that a tone that trembles begins once
    (Böck and Widmer 2013, "Maximum filter vibrato suppression for onset detection").

    Args:
        sound: float [samples] at 16 kHz.

    Returns:
        float64 [samples // 160]; 1 is as clear as the clearer half of what begins.

    Raises:
        SizeError: another shape, or less than a second.
    """
    if sound.ndim != 1 or len(sound) < SHORTEST * RATE:
        raise SizeError(f"a recording of shape {list(sound.shape)}", f"[samples], {SHORTEST:g} s at 16 kHz or more")
    padded = np.pad(sound.astype(np.float64), (_WINDOW // 2, _WINDOW // 2))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[: len(sound) // _HOP * _HOP : _HOP]
    bands = np.abs(np.fft.rfft(frames * np.hanning(_WINDOW), 2 * _WINDOW)) @ _thirds().T
    level = np.log1p(bands * (_CONTRAST / max(bands.max(), 1e-9)))
    before = np.pad(level, ((0, 0), (1, 1)))
    before = np.maximum(np.maximum(before[:, :-2], before[:, 2:]), level)  # what trembles does not begin
    rise = np.maximum(level[3:] - before[:-3], 0).sum(1)  # over 30 ms: bows and reeds take their time
    rise = np.pad(rise, (2, 1))
    peaks = rise[1:-1][(rise[1:-1] >= rise[:-2]) & (rise[1:-1] > rise[2:])]
    loud = peaks[peaks > 0.2 * peaks.max(initial=0)]
    return rise / (np.median(loud) if len(loud) else 1.0)


def beat_of(sound: np.ndarray) -> Beat:
    """The even row of beats that onsets of a recording [samples] fit best."""
    strength = np.minimum(onset_strength(sound), 1.0)
    near = np.max([np.roll(strength, shift) for shift in (-2, -1, 0, 1, 2)], axis=0)
    best, beat = -np.inf, Beat(float(_PERIODS[0]), 0.0)
    for period in _PERIODS:
        step = period * RATE / _HOP
        starts = np.arange(0, int(step))
        places = np.rint(starts[:, None] + step * np.arange(int(len(near) / step) + 1)).astype(int)
        inside = places < len(near)
        # Sharp strength decides between neighbours, the blurred one whether a beat is there at all.
        at = np.minimum(places, len(near) - 1)
        scores = ((0.8 * near[at] + 0.2 * strength[at] - _MISSED) * inside).sum(1)
        if scores.max() > best:
            best, beat = scores.max(), Beat(float(period), float(starts[scores.argmax()] * _HOP / RATE))
    return beat


def pitch_classes(sound: np.ndarray, count: int) -> frozenset[int]:
    """The pitch classes, 0 (C) to 11 (B), of a few notes that sound together.

    The spectrum is taken apart into those of notes with even harmonics, none of them negative (Lee and Seung 2001,
    "Algorithms for Non-negative Matrix Factorization", theorem 2 with the second factor held); octaves are added up.

    Args:
        sound: float [samples] at 16 kHz.
        count: how many there are.
    """
    heard = sound[:_SPECTRUM]
    spectrum = np.sqrt(_fine_bands() @ np.abs(np.fft.rfft(heard * np.hanning(len(heard)), _SPECTRUM)) ** 2)
    notes = _notes()
    shares = np.full(notes.shape[1], spectrum.sum() / notes.shape[1] + 1e-12)
    for _ in range(60):
        shares *= notes.T @ (spectrum / (notes @ shares + 1e-12)) / notes.sum(0)
    keys = _LOWEST + np.arange(len(shares)) % _KEYS
    classes = np.bincount(keys % 12, weights=shares * notes.sum(0), minlength=12)
    return frozenset(int(place) for place in np.argsort(-classes)[:count])


@functools.cache
def _thirds() -> np.ndarray:
    """Which bins of an onset's spectrum are of which third of a semitone, from 220 Hz on: [bands, bins]."""
    frequencies = np.arange(_WINDOW + 1) * RATE / (2 * _WINDOW)
    bands = np.rint(_BINS * 12 * np.log2(np.maximum(frequencies, 1) / 220)).astype(int)
    return (bands == np.arange(60 * _BINS)[:, None]).astype(float)


@functools.cache
def _fine_bands() -> np.ndarray:
    """Which bins of a note's spectrum are of which third of a semitone: [bands, bins]."""
    frequencies = np.arange(_SPECTRUM // 2 + 1) * RATE / _SPECTRUM
    keys = 69 + 12 * np.log2(np.maximum(frequencies, 1) / 440)
    bands = np.rint(_BINS * (keys - _LOWEST + 0.5)).astype(int)
    return (bands == np.arange(_BINS * _KEYS + 1)[:, None]).astype(float)


@functools.cache
def _notes() -> np.ndarray:
    """Spectra of single notes in thirds of a semitone, [bands, notes], where note n is key n modulo `_KEYS`.

    There are three of each key: a tone with all harmonics, one with odd ones only (as of a clarinet), and one of those
    whose lowest is the weaker one, or it would be heard a fifth higher.
    """
    bands, numbers = np.arange(_BINS * _KEYS + 1), np.arange(1, _HARMONICS + 1)
    centres = _BINS * (np.arange(_KEYS)[:, None] + 12 * np.log2(numbers) + 0.5)
    blurred = np.exp(-0.5 * ((bands[:, None, None] - centres) / 0.9) ** 2)
    full, odd = 0.75 ** (numbers - 1), numbers % 2 * 0.9 ** (numbers - 1)
    weak = numbers % 2 * np.where(numbers == 1, 0.5, 0.95 ** (numbers - 1))
    return np.concatenate([blurred @ heights for heights in (full, odd, weak)], axis=1)
