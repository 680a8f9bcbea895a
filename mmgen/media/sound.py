"""Sound as files: WAV for every player, FLAC for every sample in half the space, OGG for little space."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mmgen.errors import OptionError, OutputError, SizeError
from mmgen.media.files import written_whole

if TYPE_CHECKING:
    import numpy as np

SOUND_FORMATS = ("wav", "flac", "ogg")
"""Endings of the files that sound can be written to."""

_SUBTYPES = {"wav": "PCM_16", "flac": "PCM_16", "ogg": "VORBIS"}

_LARGEST = 2**24
"""Bytes that are read of a chunk, at most; a broken file may say anything."""

_BLOCK = 2**16
"""Samples written at once: libsndfile keeps all of a call on its stack when it writes OGG."""

_CURE = "give a WAV, FLAC, OGG or MP3 file that plays elsewhere"


def write_sound(path: Path, sound: np.ndarray, sampling_rate: int, metadata: Mapping[str, Any] | None) -> None:
    """Writes sound atomically, in the format of its ending, with its metadata; the same sound is the same file.

    WAV and FLAC hold 16 bits a sample, OGG is Vorbis, which loses a little. The metadata is the file's comment.

    Args:
        path: of the file, with an ending of `SOUND_FORMATS`; its folder exists.
        sound: numbers in [-1, 1], [channels, samples]; what lies outside is cut off.
        sampling_rate: samples of a second.
        metadata: JSON values by name, as `describe` makes them; None writes the sound alone.

    Raises:
        OptionError: the ending is none of the formats, or the format does not know the sampling rate.
        SizeError: the sound has another shape, or more than 8 channels.
        OutputError: the file cannot be written; nothing is left of it, and an older one is untouched.
    """
    import numpy as np

    ending = path.suffix.removeprefix(".").lower()
    if ending not in SOUND_FORMATS:
        raise OptionError("format", ending, f"one of {', '.join(SOUND_FORMATS)}")
    if sound.ndim != 2 or not 1 <= len(sound) <= 8 or not sound.shape[1]:
        raise SizeError(f"sound of shape {list(sound.shape)}", "[channels, samples], 1 to 8 channels")
    encoded = _encoded(ending, np.clip(np.nan_to_num(sound.T), -1, 1).astype(np.float32), sampling_rate, metadata)
    with written_whole(path) as file:
        file.write(encoded)


def read_sound(path: Path, seconds: float | None = None) -> tuple[np.ndarray, int]:
    """The samples of a file, float32 [channels, samples] in [-1, 1], and how many there are in a second.

    Args:
        seconds: that it may last, at most: a small file may hold hours of silence. None has no limit.

    Raises:
        OutputError: there is no such file, it is no sound that can be read, or it lasts longer.
    """
    import soundfile

    if not path.is_file():
        raise OutputError(path, "there is no such file", _CURE)
    try:
        with soundfile.SoundFile(str(path)) as sound:
            rate, most = sound.samplerate, -1 if seconds is None else math.ceil(seconds * sound.samplerate)
            # One more than may be: what a header says of the length need not be true.
            samples = sound.read(most + 1 if most >= 0 else -1, dtype="float32", always_2d=True)
    except (RuntimeError, OSError) as error:  # soundfile's errors are among them
        raise OutputError(path, "is not sound that can be read", _CURE) from error
    if 0 <= most < len(samples):
        raise OutputError(path, f"lasts longer than {seconds:g} s", "give a shorter recording")
    return samples.T.copy(), rate


def sound_comment(path: Path) -> str | None:
    """The comment of a file of sound, empty where it has none; None where the file does not begin as one.

    Raises:
        OutputError: it breaks off.
    """
    try:
        with open(path, "rb") as file:
            beginning = file.read(16)
            if beginning[8:].startswith(b"WAVE"):
                return _wave_comment(file)
    except OSError:
        return None
    if not beginning.startswith((b"fLaC", b"OggS")):
        return None
    import soundfile

    try:
        with soundfile.SoundFile(str(path)) as sound:
            return sound.comment
    except RuntimeError as error:
        raise OutputError(path, "is broken sound", _CURE) from error


def _wave_comment(file: IO[bytes]) -> str:
    """The comment of a WAV file; libsndfile writes long ones, but does not read them."""
    for name, content in _chunks(file, 12):
        if name == b"LIST" and content.read(4) == b"INFO":
            for part, text in _chunks(content, 4):
                if part == b"ICMT":
                    return text.read().rstrip(b"\0").decode(errors="replace")
    return ""


def _chunks(file: IO[bytes], start: int) -> Iterator[tuple[bytes, IO[bytes]]]:
    """Names and contents of the chunks of a RIFF file or list from a place on; of samples, the name alone."""
    while file.seek(start) == start and len(header := file.read(8)) == 8:
        name, size = header[:4], int.from_bytes(header[4:], "little")
        yield name, io.BytesIO(b"" if name == b"data" else file.read(min(size, _LARGEST)))
        start += 8 + size + size % 2


def _encoded(ending: str, samples: np.ndarray, sampling_rate: int, metadata: Mapping[str, Any] | None) -> bytes:
    """A file of samples [samples, channels]."""
    import soundfile

    from mmgen.media.metadata import as_text

    memory, form = io.BytesIO(), {"format": ending.upper(), "subtype": _SUBTYPES[ending]}
    try:
        with soundfile.SoundFile(memory, "w", sampling_rate, samples.shape[1], **form) as file:
            if metadata is not None:
                file.comment = as_text(metadata)
            for start in range(0, len(samples), _BLOCK):
                block = samples[start : start + _BLOCK]
                file.write(block if ending == "ogg" else _in_16_bits(block))
    except (RuntimeError, TypeError, ValueError) as error:
        raise OptionError("sampling_rate", sampling_rate, f"one that {ending} files know ({error})") from error
    return _numbered(memory.getvalue()) if ending == "ogg" else memory.getvalue()


def _in_16_bits(samples: np.ndarray) -> np.ndarray:
    """Samples as the files hold them. What was read of such a file comes out as it was, as with libsndfile it does not:
    that takes 32767 for the largest when it writes, and 32768 when it reads."""
    import numpy as np

    return (samples * 32768).round().clip(-32768, 32767).astype(np.int16)


def _numbered(pages: bytes) -> bytes:
    """An Ogg file whose stream has the number 0 in place of a random one (RFC 3533, section 6)."""
    file, start = bytearray(pages), 0
    while start < len(file):
        segments = file[start + 26]
        end = start + 27 + segments + sum(file[start + 27 : start + 27 + segments])
        file[start + 14 : start + 18] = file[start + 22 : start + 26] = bytes(4)
        file[start + 22 : start + 26] = _checksum(file[start:end]).to_bytes(4, "little")
        start = end
    return bytes(file)


def _checksum(page: bytes | bytearray) -> int:
    value = 0
    for byte in page:
        value = (value << 8 & 0xFFFFFFFF) ^ _REMAINDERS[value >> 24 ^ byte]
    return value


def _remainder(byte: int) -> int:
    """What is left of a byte, divided by Ogg's polynomial."""
    value = byte << 24
    for _ in range(8):
        value = (value << 1 ^ 0x104C11DB7) if value & 0x80000000 else value << 1
    return value


_REMAINDERS = [_remainder(byte) for byte in range(256)]
