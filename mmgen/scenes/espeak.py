"""Words by eSpeak NG, a synthesiser of speech; through its C interface."""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
from typing import Any

import numpy as np

from mmgen.errors import MissingDependencyError

_CURE = "on Debian and Ubuntu: apt-get install libespeak-ng1"
_SYNCHRONOUS, _STAY, _CHARACTERS, _UTF8 = 2, 0x8000, 1, 1
_RATE, _PITCH = 1, 3
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class _Speaker:
    """The library, which has one state for the whole process: one speaker serves all."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("espeak-ng")
        if name is None:
            raise MissingDependencyError("eSpeak NG's library is not installed", _CURE)
        self.library: Any = ctypes.CDLL(name)
        self.rate = self.library.espeak_Initialize(_SYNCHRONOUS, 0, None, _STAY)
        if self.rate <= 0:
            raise MissingDependencyError("eSpeak NG finds no data of its voices", _CURE)
        self.parts: list[np.ndarray] = []
        self._callback = _Callback(self._take)  # must live as long as the library may call it
        self.library.espeak_SetSynthCallback(self._callback)

    def _take(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self.parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0


@functools.cache
def _speaker() -> _Speaker:
    return _Speaker()


def say(word: str, voice: str, words_a_minute: int, pitch: int) -> tuple[np.ndarray, int]:
    """A word.

    What it says hangs on all that the process said before, in the last bits; a fresh process that says the same in the
    same order gives the same samples.

    Args:
        word: in English.
        voice: file of a voice and a variant of it, such as `gmw/en-US+f3`.
        words_a_minute: 80 to 450.
        pitch: 0 to 99; 50 is the voice's own.

    Returns:
        Samples, float32 in [-1, 1], and how many there are in a second.

    Raises:
        MissingDependencyError: eSpeak NG is not installed, or lacks the voice; the message says what to install.
    """
    speaker = _speaker()
    library, text = speaker.library, word.encode()
    if library.espeak_SetVoiceByName(voice.encode()):
        raise MissingDependencyError(f"eSpeak NG has no voice {voice}", _CURE)
    library.espeak_SetParameter(_RATE, words_a_minute, 0)
    library.espeak_SetParameter(_PITCH, pitch, 0)
    speaker.parts.clear()
    library.espeak_Synth(text, ctypes.c_size_t(len(text) + 1), 0, _CHARACTERS, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    return np.concatenate(speaker.parts).astype(np.float32) / 2**15, speaker.rate
