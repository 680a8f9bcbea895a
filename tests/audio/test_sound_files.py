"""Files of sound: whole, the same for the same sound, and telling what made them."""

from __future__ import annotations

import io
import time
import wave

import numpy as np
import pytest
import soundfile

from mmgen import media
from mmgen.errors import OptionError, OutputError, SizeError
from mmgen.media.sound import SOUND_FORMATS, read_sound, write_sound
from mmgen.media.spectrogram import spectrogram

RATE = 16000
ABOUT = {
    "prompt": "ein trauriges Lied, 悲しい " + "und lang " * 300, "seed": 7, "pipeline": "p", "decoder": "jacobi",
    "options": {}, "sampling": {"guidance": 3.0}, "conditions": {"duration": "2.0"}, "size": [],
}  # fmt: skip


def tone(hertz: float, channels: int = 1, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(int(RATE * seconds)) / RATE
    return np.stack([0.5 * np.sin(2 * np.pi * hertz * (1 + side) * time) for side in range(channels)]).astype("f4")


@pytest.mark.parametrize("ending", SOUND_FORMATS)
@pytest.mark.parametrize("channels", [1, 2])
def test_sound_comes_back_with_what_made_it(tmp_path, ending, channels):
    sound = tone(440, channels, 5.0)
    path = tmp_path / f"x.{ending}"
    write_sound(path, sound, RATE, ABOUT)
    again, rate = read_sound(path)
    assert rate == RATE and again.shape == sound.shape and again.dtype == np.float32
    assert np.abs(again - sound).max() < (0.05 if ending == "ogg" else 1e-4)
    assert media.read_metadata(path) == ABOUT
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", SOUND_FORMATS)
def test_the_same_sound_is_the_same_file(tmp_path, ending):
    for name in ("a", "b"):
        write_sound(tmp_path / f"{name}.{ending}", tone(440), RATE, ABOUT)
        time.sleep(1.1)  # what holds the time, or a number drawn from it, holds seconds
    assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()


def test_without_metadata_a_file_says_nothing(tmp_path):
    write_sound(tmp_path / "x.wav", tone(440), RATE, None)
    with pytest.raises(OutputError, match="no metadata of mmgen"):
        media.read_metadata(tmp_path / "x.wav")
    with wave.open(str(tmp_path / "x.wav")) as file:  # players without libsndfile
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate(), file.getnframes()) == (1, 2, RATE, RATE)


def test_what_is_too_loud_is_cut_off(tmp_path):
    sound = np.array([[2.0, -2.0, np.nan, np.inf, 0.5]], dtype="f4")
    write_sound(tmp_path / "x.flac", sound, RATE, None)
    np.testing.assert_allclose(read_sound(tmp_path / "x.flac")[0], [[1, -1, 0, 1, 0.5]], atol=1e-4)


def test_other_files_of_sound_are_read(tmp_path):
    encoded = io.BytesIO()
    soundfile.write(encoded, tone(440, 2).T, RATE, format="MP3")
    (tmp_path / "x.mp3").write_bytes(encoded.getvalue())
    sound, rate = read_sound(tmp_path / "x.mp3")
    assert rate == RATE and sound.shape[0] == 2 and 0.4 < sound.max() < 0.6


def test_what_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(OptionError, match="wav, flac, ogg"):
        write_sound(tmp_path / "x.mp4", tone(440), RATE, None)
    for sound in (tone(440)[0], np.zeros((1, 0), "f4"), np.zeros((9, 5), "f4")):
        with pytest.raises(SizeError, match="1 to 8 channels"):
            write_sound(tmp_path / "x.wav", sound, RATE, None)
    with pytest.raises(OptionError, match="flac files know"):
        write_sound(tmp_path / "x.flac", tone(440), 10**7, None)
    with pytest.raises(OutputError, match="cannot be written"):
        write_sound(tmp_path / "absent" / "x.wav", tone(440), RATE, None)
    assert not list(tmp_path.iterdir())


def test_no_more_is_read_than_may_be(tmp_path):
    write_sound(tmp_path / "x.flac", np.zeros((1, 3 * RATE), "f4"), RATE, None)
    assert read_sound(tmp_path / "x.flac", 3)[0].shape == (1, 3 * RATE)
    with pytest.raises(OutputError, match=r"lasts longer than 2\.9 s"):
        read_sound(tmp_path / "x.flac", 2.9)


def test_what_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(OutputError, match="no such file"):
        read_sound(tmp_path / "x.wav")
    (tmp_path / "x.wav").write_bytes(b"RIFF\0\0\0\0WAVEfmt nonsense")
    with pytest.raises(OutputError, match="is not sound"):
        read_sound(tmp_path / "x.wav")
    with pytest.raises(OutputError, match="no metadata of mmgen"):
        media.read_metadata(tmp_path / "x.wav")
    (tmp_path / "x.flac").write_bytes(b"fLaC nonsense")
    with pytest.raises(OutputError, match="broken sound"):
        media.read_metadata(tmp_path / "x.flac")


@pytest.mark.parametrize("hertz", [300, 1200, 4800])
def test_a_spectrogram_is_brightest_at_the_pitch(hertz):
    picture = spectrogram(tone(hertz, seconds=2.0), RATE)
    assert picture.size == (768, 256) and picture.mode == "RGB"
    row = np.asarray(picture).astype(int).sum(-1)[:, 384].argmax()
    mel = lambda f: 2595 * np.log10(1 + f / 700)  # noqa: E731
    assert abs((255 - row) / 255 - mel(hertz) / mel(RATE / 2)) < 0.04


def test_a_short_sound_has_a_spectrogram():
    assert spectrogram(np.zeros((2, 5), "f4"), 800, height=32, width=64).size == (64, 32)
    with pytest.raises(SizeError, match="two samples"):
        spectrogram(np.zeros((1, 1), "f4"), 800)
