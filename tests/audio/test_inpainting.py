"""An interval of a recording is written anew: around it, to the last sample, everything stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from audio.musicgens import write_musicgen

import mmgen
from mmgen.errors import OptionError, OutputError
from mmgen.pipelines.sound_interval import Interval

RATE, HOP = 800, 8
TEXT = "a slow sad song with piano"
SAMPLES = 30 * HOP + 3


@pytest.fixture(scope="module", params=[1, 2], ids=["mono", "stereo"])
def pipe(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("musicgen")
    write_musicgen(folder, request.param)
    pipe = mmgen.load(str(folder))
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def sound(pipe):
    generator = np.random.default_rng(4)
    return (0.3 * generator.standard_normal((pipe.tokenizer.channels, SAMPLES))).astype(np.float32)


def test_around_the_interval_every_sample_stays(pipe, sound):
    start, stop = 83, 141
    output = pipe([TEXT, "happy"], seed=3, recording=sound, interval=(start / RATE, stop / RATE))
    assert output.audios.shape == (2, *sound.shape)
    for audio in output.audios:
        assert np.array_equal(audio[:, :start], sound[:, :start])
        assert np.array_equal(audio[:, stop:], sound[:, stop:])
        assert not (audio[:, start:stop] == sound[:, start:stop]).any()
    codes = pipe(TEXT, seed=3, recording=sound, interval=(start / RATE, stop / RATE), output_type="latent")
    given = pipe.tokenizer.encode(torch.from_numpy(sound)[None])
    assert torch.equal(codes.audios[..., :10], given[..., :10])
    assert torch.equal(codes.audios[..., 18:], given[..., 18:])
    assert codes.statistics[0].tokens == 8 * pipe.tokenizer.codebooks  # frames 10 to 17 have a part in it
    # Behind a frame that is faded in, and before one that is faded out, the new sound is heard alone.
    alone = pipe.tokenizer.decode(codes.audios)[0].numpy()
    inside = slice(start + HOP, stop - HOP)
    assert np.array_equal(output.audios[0][:, inside], alone[:, inside])


def test_what_is_known_costs_nothing_and_is_the_same_from_every_decoder(pipe, sound):
    settings = {"seed": 3, "recording": sound, "interval": (0.1, 0.16)}
    expected = pipe(TEXT, decoder="plane-wise", **settings)
    delays = pipe.tokenizer.codebooks // pipe.tokenizer.channels - 1
    assert expected.statistics[0].evaluations <= 6 + delays
    assert expected.statistics[0].conditions == {
        "recording": "<ndarray>", "interval": "0.1,0.16", "duration": str(SAMPLES / RATE)
    }  # fmt: skip
    for window in (1, 2, 5):
        faster = pipe(TEXT, decoder="jacobi", decoder_options={"window": window}, **settings)
        assert np.array_equal(faster.audios, expected.audios)
        assert faster.statistics[0].evaluations <= expected.statistics[0].evaluations


def test_runs_of_known_codes_are_read_at_once_and_the_rest_in_narrow_windows(pipe, sound, monkeypatch):
    from mmgen.sessions.codebooks import CodebookSession

    widths, score = [], CodebookSession.score

    def counting(self, planes):
        widths.append(planes.shape[1])
        return score(self, planes)

    monkeypatch.setattr(CodebookSession, "score", counting)
    pipe(TEXT, seed=3, recording=sound, interval=(0.1, 0.16), decoder="jacobi", decoder_options={"window": 3})
    assert widths[0] == 11 and set(widths[1:]) == {3}


@pytest.mark.parametrize("decoder", ["jacobi", "speculative-jacobi", "coupled-jacobi"])
def test_a_row_alone_is_the_row_in_a_batch(pipe, sound, decoder):
    settings = {"recording": sound, "interval": "0.1,0.16", "decoder": decoder, "output_type": "latent"}
    together = pipe([TEXT, "happy", "a sad song"], seed=[3, 8, 5], **settings)
    for row, (text, seed) in enumerate(((TEXT, 3), ("happy", 8), ("a sad song", 5))):
        assert torch.equal(pipe(text, seed=seed, **settings).audios[0], together.audios[row])


def test_rows_with_other_known_codes_do_not_change_a_row(pipe):
    known = torch.full((3, pipe.tokenizer.codebooks, 16), -1)
    known[0, :, :9] = 3
    known[1, :, 4:7] = 5
    for decoder in ("jacobi", "speculative-jacobi"):
        settings = {"duration": 0.16, "decoder": decoder, "output_type": "latent"}
        together = pipe([TEXT] * 3, seed=[3, 8, 5], known=known, **settings)
        for row, seed in enumerate((3, 8, 5)):
            alone = pipe(TEXT, seed=seed, known=known[row : row + 1], **settings)
            assert torch.equal(alone.audios[0], together.audios[row])


def test_intervals_at_the_ends_and_of_everything(pipe, sound):
    length = SAMPLES / RATE
    beginning = pipe(TEXT, seed=3, recording=sound, interval=(0, 0.1)).audios[0]
    assert np.array_equal(beginning[:, 80:], sound[:, 80:])
    ending = pipe(TEXT, seed=3, recording=sound, interval=[0.2, length]).audios[0]
    assert np.array_equal(ending[:, :160], sound[:, :160])
    whole = pipe(TEXT, seed=3, recording=torch.from_numpy(sound), interval=(0, length))
    assert np.array_equal(whole.audios, pipe(TEXT, seed=3, duration=length).audios)


def test_long_recordings_are_written_where_the_interval_is(pipe, sound, monkeypatch):
    monkeypatch.setattr(type(pipe), "window", 0.1)
    monkeypatch.setattr(type(pipe), "stride", 0.06)
    output = pipe(TEXT, seed=3, recording=sound, interval=(0.2, 0.23))
    audio, item = output.audios[0], output.statistics[0]
    assert np.array_equal(audio[:, :160], sound[:, :160]) and np.array_equal(audio[:, 184:], sound[:, 184:])
    assert item.complete and item.tokens == 3 * pipe.tokenizer.codebooks
    assert item.evaluations <= 2 * (3 + 3)  # of five windows only those that the interval lies in


def test_pieces_are_the_whole(pipe, sound):
    settings = {"seed": 3, "recording": sound, "interval": (0.1, 0.16), "decoder": "plane-wise"}
    whole = pipe(TEXT, **settings).audios
    pieces = list(pipe.stream(TEXT, seconds=0.04, **settings))
    assert len(pieces) > 1
    heard = np.concatenate(pieces, axis=-1)
    np.testing.assert_allclose(heard, whole, atol=1e-4 * np.abs(whole).max())
    assert np.array_equal(heard[..., :80], whole[..., :80]) and np.array_equal(heard[..., 128:], whole[..., 128:])


def test_new_sound_is_faded_in_and_out():
    interval = Interval.of(torch.zeros(1, 40), (0.25, 0.75), 40, fade=3)
    assert (interval.start, interval.stop, interval.in_words(40)) == (10, 30, "0.25,0.75")
    share = interval.joined(torch.ones(2, 1, 40))
    expected = torch.cat((torch.zeros(10), torch.tensor([0.25, 0.5, 0.75]), torch.ones(14)))
    expected = torch.cat((expected, expected[10:13].flip(0), torch.zeros(10)))
    assert torch.equal(share, expected.expand(2, 1, -1))
    assert torch.equal(interval.joined(torch.ones(1, 1, 7), 8), expected[None, None, 8:15])
    at_once = Interval.of(torch.zeros(1, 40), "0,1", 40, fade=3)
    assert torch.equal(at_once.joined(torch.ones(1, 1, 40)), torch.ones(1, 1, 40))


@pytest.mark.parametrize(
    "settings, error, message",
    [
        ({"interval": (0.1, 0.2)}, OptionError, "with the recording"),
        ({"recording": "SOUND"}, OptionError, r"such as 1\.5,4"),
        ({"recording": "SOUND", "interval": (0.1, 0.4)}, OptionError, r"up to 0\.30375"),
        ({"recording": "SOUND", "interval": (-0.1, 0.2)}, OptionError, "from 0 on"),
        ({"recording": "SOUND", "interval": (0.2, 0.2)}, OptionError, "from 0 on"),
        ({"recording": "SOUND", "interval": (0.2, float("nan"))}, OptionError, "from 0 on"),
        ({"recording": "SOUND", "interval": "0.1-0.2"}, OptionError, "from 0 on"),
        ({"recording": "SOUND", "interval": 0.1}, OptionError, "from 0 on"),
        ({"recording": "SOUND", "interval": {"start": 0}}, OptionError, "from 0 on"),
        ({"recording": "SOUND", "interval": (0.1, 0.2), "duration": 1}, OptionError, r"has 0\.30375 seconds"),
        ({"recording": "SOUND", "interval": (0.1, 0.2), "continue_from": "SOUND"}, OptionError, "one of them"),
        ({"recording": "SOUND", "interval": (0.1, 0.2), "known": torch.zeros(1)}, OptionError, "one of them"),
        ({"recording": "absent.wav", "interval": (0.1, 0.2)}, OutputError, "no such file"),
    ],
)
def test_what_cannot_be_is_refused(pipe, sound, settings, error, message):
    given = {name: sound if isinstance(value, str) and value == "SOUND" else value for name, value in settings.items()}
    with pytest.raises(error, match=message):
        pipe(TEXT, seed=1, **given)


def test_the_command_line_writes_an_interval_that_it_can_write_again(tmp_path, capsys):
    from mmgen import media
    from mmgen.cli import main
    from mmgen.media.sound import read_sound, write_sound

    folder = tmp_path / "model"
    folder.mkdir()
    write_musicgen(folder)
    generator = np.random.default_rng(4)
    original = (0.3 * generator.standard_normal((1, SAMPLES))).clip(-0.9, 0.9)
    write_sound(tmp_path / "first.wav", original, RATE, None)
    words = ["generate", TEXT, "--pipeline", str(folder), "--seed", "3", "--device", "cpu"]
    part = ["--recording", str(tmp_path / "first.wav"), "--interval", "0.1,0.2"]
    assert main([*words, *part, "--out", str(tmp_path / "second.wav")]) == 0
    (before, _), (after, _) = (read_sound(tmp_path / name) for name in ("first.wav", "second.wav"))
    assert np.array_equal(after[:, :80], before[:, :80]) and np.array_equal(after[:, 160:], before[:, 160:])
    assert not np.array_equal(after[:, 80:160], before[:, 80:160])
    conditions = media.read_metadata(tmp_path / "second.wav")["conditions"]
    again = [word for name, value in conditions.items() for word in ("--condition", f"{name}={value}")]
    assert main([*words, *again, "--out", str(tmp_path / "third.wav")]) == 0
    assert np.array_equal(read_sound(tmp_path / "third.wav")[0], after)
    capsys.readouterr()
    assert main([*words, "--recording", str(tmp_path / "first.wav")]) != 0
    assert "from which second to which" in capsys.readouterr().err
