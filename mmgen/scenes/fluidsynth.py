"""Music by FluidSynth, a synthesiser that plays recorded notes; through its C interface."""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from mmgen.errors import MissingDependencyError

SOUNDFONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
"""FluidR3 by Frank Wen, under the MIT licence: recorded notes of all instruments of General MIDI."""
RATE = 32_000
"""Samples of a second. What the recordings hold above half of it would come back as noise; there is next to nothing."""

_CURE = "on Debian and Ubuntu: apt-get install libfluidsynth3 fluid-soundfont-gm"
_GAIN = 0.3
_DRUMS = 9
"""The channel that General MIDI keeps for drums."""


@functools.cache
def _library() -> Any:
    name = ctypes.util.find_library("fluidsynth")
    if name is None:
        raise MissingDependencyError("FluidSynth's library is not installed", _CURE)
    library = ctypes.CDLL(name)
    for maker in ("new_fluid_settings", "new_fluid_synth"):
        getattr(library, maker).restype = ctypes.c_void_p
    for level in range(4):  # it would write about its settings to the terminal
        library.fluid_set_log_function(level, None, None)
    return library


class Synthesiser:
    """A synthesiser with one player, without reverberation and chorus: what was played is silent once it is released.

    What it plays hangs on all that it played before, in the last bits; a fresh one that plays the same in the same
    order gives the same samples.

    Raises:
        MissingDependencyError: FluidSynth or the soundfont is not installed; the message says what to install.
    """

    def __init__(self) -> None:
        self._library = library = _library()
        if not SOUNDFONT.is_file():
            raise MissingDependencyError(f"there is no soundfont {SOUNDFONT}", _CURE)
        self._settings = ctypes.c_void_p(library.new_fluid_settings())
        numbers = {"synth.sample-rate": RATE, "synth.gain": _GAIN}
        switches = {"synth.reverb.active": 0, "synth.chorus.active": 0, "synth.dynamic-sample-loading": 1}
        for name, number in numbers.items():
            library.fluid_settings_setnum(self._settings, name.encode(), ctypes.c_double(number))
        for name, switch in switches.items():
            library.fluid_settings_setint(self._settings, name.encode(), switch)
        self._synth = ctypes.c_void_p(library.new_fluid_synth(self._settings))
        library.fluid_synth_sfload(self._synth, str(SOUNDFONT).encode(), 1)
        self._channels: dict[int, int] = {}
        self._free = iter([channel for channel in range(16) if channel != _DRUMS])

    def __enter__(self) -> Synthesiser:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._library.delete_fluid_synth(self._synth)
        self._library.delete_fluid_settings(self._settings)

    def begin(self, program: int) -> None:
        """Silences everything and takes an instrument of General MIDI, 0 to 127; 15 different ones, at most.

        Each has a channel of its own: one that is left would lose its recordings, and read them from disk again.
        """
        self._library.fluid_synth_all_sounds_off(self._synth, -1)
        if program not in self._channels:
            self._channels[program] = next(self._free)
            self._library.fluid_synth_program_change(self._synth, self._channels[program], program)
        self._channel = self._channels[program]

    def press(self, keys: Iterable[int], velocity: int) -> None:
        """Begins notes: keys of MIDI, struck with a velocity of 1 to 127."""
        for key in keys:
            self._library.fluid_synth_noteon(self._synth, self._channel, key, velocity)

    def release(self, keys: Iterable[int]) -> None:
        """Ends notes; they fade out as the instrument's do."""
        for key in keys:
            self._library.fluid_synth_noteoff(self._synth, self._channel, key)

    def play(self, samples: int) -> np.ndarray:
        """The next samples, float32 [samples], both sides mixed; a multiple of 64, the player's own step."""
        left, right = np.empty((2, samples), np.float32)
        sides = (side.ctypes.data_as(ctypes.c_void_p) for side in (left, right))
        self._library.fluid_synth_write_float(self._synth, samples, next(sides), 0, 1, next(sides), 0, 1)
        return (left + right) / 2
