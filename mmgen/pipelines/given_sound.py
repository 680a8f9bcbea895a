"""What a call says of its sound: how long it is, what it begins with or writes anew, and which codes are known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mmgen.errors import OptionError, SizeError
from mmgen.pipelines.recording import LONGEST, recording
from mmgen.pipelines.sound_interval import Interval
from mmgen.tokenizers.sound_codec import SoundCodec


def is_given(value: Any) -> bool:
    """Whether a recording, or another setting, is there; empty text is none."""
    return value is not None and not (isinstance(value, str) and value == "")


def duration_of(given: Any, sampling_rate: int) -> float:
    """Seconds of a recording, from a number or its text.

    Raises:
        OptionError: it is none, holds no sample, or is too long.
    """
    try:
        seconds = float(given)
    except (TypeError, ValueError):
        seconds = math.nan
    if isinstance(given, bool) or not 1 / sampling_rate <= seconds <= LONGEST:
        raise OptionError("duration", given, f"seconds, above 0 and up to {LONGEST}")
    return seconds


def only_one(settings: Mapping[str, Any]) -> str | None:
    """Which setting says what is known beforehand, `continue_from`, `recording` or `known`; None where none does.

    Raises:
        OptionError: there are several.
    """
    given = [name for name in ("continue_from", "recording", "known") if is_given(settings.get(name))]
    if len(given) > 1:
        raise OptionError(given[0], f"{given[0]} and {given[1]}", "one of them")
    return given[0] if given else None


def begun(codec: SoundCodec, given: Any, frames: int) -> Tensor:
    """Codes int64 [1, K, frames] that begin with those of a recording, and are free behind them.

    Raises:
        SizeError: the recording is not shorter, or is none.
        OutputError: its file cannot be read.
    """
    sound = recording(given, codec.sampling_rate, codec.channels)
    whole = sound.shape[1] // codec.hop  # a frame that is not full would end in silence
    if whole >= frames:
        most = frames * codec.hop / codec.sampling_rate
        raise SizeError(
            f"a recording of {sound.shape[1] / codec.sampling_rate:g} s to continue", f"less than {most:g} s"
        )
    codes = codec.encode(sound[None]).cpu()
    known = torch.full((1, codes.shape[1], frames), -1)
    known[:, :, :whole] = codes[:, :, :whole]
    return known


def interval_of(codec: SoundCodec, settings: Mapping[str, Any]) -> Interval | None:
    """The interval that is to be written anew; None where there is none.

    Args:
        settings: of a call; `recording` and `interval` are looked at.

    Raises:
        OptionError: one of the two is missing, or the interval does not lie in the recording.
        SizeError: the recording is none.
        OutputError: its file cannot be read.
    """
    sound, seconds = (settings.get(name) for name in ("recording", "interval"))
    if not is_given(sound) and not is_given(seconds):
        return None
    if not is_given(sound):
        raise OptionError("interval", seconds, "left out, or given with the recording that it is of")
    if not is_given(seconds):
        raise OptionError("interval", seconds, "given with the recording: from which second to which, such as 1.5,4")
    samples = recording(sound, codec.sampling_rate, codec.channels)
    return Interval.of(samples, seconds, codec.sampling_rate, codec.hop)


def with_interval(codec: SoundCodec, interval: Interval, duration: Any) -> dict[str, Any]:
    """The settings of a call that follow from an interval.

    Raises:
        OptionError: another duration than the recording's is given.
    """
    samples, rate = interval.recording.shape[1], codec.sampling_rate
    own = samples / rate
    if duration is not None and round(duration_of(duration, rate) * rate) != samples:
        raise OptionError("duration", duration, f"left out: the recording has {own:g} seconds")
    return {"duration": own, "interval": interval.in_words(rate), "known": _around(codec, interval)}


def check_known(codec: SoundCodec, known: Tensor, batch: int, frames: int) -> None:
    """Refuses what are no codes [B or 1, K, frames], -1 where free.

    Raises:
        SizeError: they are of another shape.
        OptionError: a code is out of range.
    """
    if known.ndim != 3 or known.shape[0] not in (1, batch) or tuple(known.shape[1:]) != (codec.codebooks, frames):
        raise SizeError(f"known codes of shape {list(known.shape)}", str([batch, codec.codebooks, frames]))
    if bool((known < -1).any()) or bool((known >= codec.codebook_size).any()):
        raise OptionError("known", "codes out of range", f"-1 where free, else 0 to {codec.codebook_size - 1}")


def _around(codec: SoundCodec, interval: Interval) -> Tensor:
    """Codes int64 [1, K, frames] of a recording, free in the frames of an interval."""
    known = codec.encode(interval.recording[None]).cpu()
    frames = interval.frames(codec.hop)
    known[..., frames.start : frames.stop] = -1
    return known
