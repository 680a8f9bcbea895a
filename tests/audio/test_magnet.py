"""MAGNeT from audiocraft's files to sound: logits, seeds, known codes, beginnings, gaps, and a companion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from audio.magnets import (
    BOOKS,
    CODES,
    CONFIG,
    FRAMES,
    TEXT,
    official_logits,
    official_state,
    official_texts,
    write_magnet,
)
from audio.musicgens import write_musicgen

import mmgen
from mmgen.checkpoints import magnet, published
from mmgen.errors import OptionError, SizeError, WeightsError
from mmgen.pipelines.sound_windows import seed_of
from mmgen.sampling import Sampling
from mmgen.sessions.companion import Companion

TEXTS = ["a slow sad song with piano", "happy"]
OPTIONS = {"passes": 4, "fine_passes": 3}
SHORT = {"duration": 0.16, "decoder": "masked-spans", "decoder_options": OPTIONS, "guidance": 2.0, "top_p": 1.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("magnet")
    write_magnet(folder)
    return folder


def load(folder: Path, **options):
    told = {} if (folder / "model_index.json").exists() else {"text_encoder": folder / "t5"}
    pipe = mmgen.load(str(folder), **told, **options)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def pipe(folder):
    return load(folder)


@pytest.fixture(scope="module")
def musicgen(tmp_path_factory):
    """A MusicGen of the same codec, and its folder."""
    folder = tmp_path_factory.mktemp("musicgen")
    write_musicgen(folder)
    pipe = mmgen.load(str(folder))
    pipe.set_progress_bar_config(disable=True)
    return pipe, folder


@pytest.fixture(scope="module")
def accompanied(folder, musicgen):
    return load(folder, companion=musicgen[1])


@torch.no_grad()
@pytest.mark.parametrize("book", [0, 1])
def test_logits_are_those_of_audiocraft(pipe, book):
    state = official_state()
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(-1, CODES, (2, BOOKS, FRAMES), generator=generator)
    texts = torch.randn(2, 5, TEXT, generator=generator)
    told = torch.tensor([True, False])[:, None].expand(-1, 5)
    memory = pipe.transformer.remember(texts, told)
    ours = pipe.transformer.masked_logits(codes, book, memory)
    heard = official_texts(state, texts, told)
    expected = official_logits(state, torch.where(codes < 0, CODES, codes), heard, book)
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)
    other = official_logits(state, torch.where(codes < 0, CODES, codes), heard, 1 - book)
    assert not torch.allclose(ours, other, atol=1e-2)


def test_a_folder_is_recognised_and_says_its_defaults(folder, pipe):
    assert published.recognise(folder) is magnet and magnet.recognise(folder / "state_dict.bin")
    assert not magnet.recognise(folder / "t5") and not magnet.recognise(folder / "compression_state_dict.bin")
    assert dict(pipe.config.sampling) == {"guidance": 20.0, "temperature": 3.5, "top_k": 0, "top_p": 0.8}
    assert pipe.transformer.frames == FRAMES and pipe.decoder.options()["passes"] == 20


def test_the_codec_is_that_of_transformers(folder, pipe):
    theirs = load(folder, tokenizer=folder / "encodec")
    assert theirs.revision == pipe.revision
    sound = torch.randn(1, 1, 80, generator=torch.Generator().manual_seed(1))
    assert torch.equal(theirs.tokenizer.encode(sound), pipe.tokenizer.encode(sound))


def test_sound_is_written(pipe):
    output = pipe(TEXTS, seed=3, **SHORT)
    assert output.audios.shape == (2, 1, 128) and output.sampling_rate == 800 and output.audios.std() > 1e-3
    for item in output.statistics:
        assert (item.law, item.complete, item.tokens, item.evaluations) == ("heuristic", True, 32, 7)
        assert item.draft_evaluations == 0
    assert not np.array_equal(output.audios[0], output.audios[1])


def test_every_recording_of_a_prompt_is_what_it_is_alone(pipe):
    settings = SHORT | {"output_type": "latent"}
    several = pipe(TEXTS, seed=[4, 90], num_waveforms_per_prompt=2, **settings)
    parts = pipe(TEXTS, seed=[4, 90], num_waveforms_per_prompt=2, batch_size=3, **settings)
    assert torch.equal(several.audios, parts.audios)
    for item, codes in zip(several.statistics, several.audios, strict=True):
        alone = pipe(item.prompt, seed=item.seed, **settings)
        assert torch.equal(alone.audios[0], codes)
    assert len({tuple(codes.flatten().tolist()) for codes in several.audios}) == 4


def test_given_codes_and_beginnings_stay(pipe):
    known = torch.full((1, 2, 16), -1)
    known[..., 3:6] = 7
    output = pipe(TEXTS, seed=3, known=known, output_type="latent", **SHORT)
    assert bool((output.audios[..., 3:6] == 7).all()) and output.statistics[0].tokens == 26
    first = pipe(TEXTS[0], seed=3, **SHORT)
    longer = pipe(TEXTS[0], seed=5, continue_from=first.audios[0], output_type="latent", **SHORT | {"duration": 0.3})
    given = pipe.tokenizer.encode(torch.from_numpy(first.audios))
    assert torch.equal(longer.audios[..., :16], given)


def test_a_gap_is_filled_in(pipe):
    first = pipe(TEXTS[0], seed=3, **SHORT)
    settings = {name: value for name, value in SHORT.items() if name != "duration"}
    drawing = pipe.plan(TEXTS[0], seed=8, recording=first.audios[0], interval=(0.05, 0.1), **settings)
    known = drawing.layout.unflatten(drawing.known)
    free = (known < 0).all(1)
    assert torch.equal(free, (known < 0).any(1)) and 4 <= int(free.sum()) <= 7
    again = pipe(TEXTS[0], seed=8, recording=first.audios[0], interval=(0.05, 0.1), output_type="latent", **settings)
    assert torch.equal(again.audios[known >= 0], known[known >= 0])
    assert again.statistics[0].tokens == 2 * int(free.sum())


LONG = SHORT | {"duration": 0.7, "output_type": "latent"}


def test_longer_than_it_was_trained_on_each_window_goes_on_from_the_one_before(pipe):
    assert pipe.windows_of(70) == [range(40), range(24, 64), range(48, 70)]
    output = pipe(TEXTS, seed=[3, 8], **LONG)
    assert output.audios.shape == (2, 2, 70) and bool((output.audios >= 0).all())
    for number, window in enumerate(pipe.windows_of(70)):
        known = torch.full((2, 2, len(window)), -1)
        if number:
            known[..., :16] = output.audios[..., window.start : window.start + 16]
        settings = LONG | {"duration": len(window) / 100, "seed": [seed_of(seed, number) for seed in (3, 8)]}
        own = pipe(TEXTS, known=known, **settings)
        assert torch.equal(own.audios, output.audios[..., window.start : window.stop])
    for item in output.statistics:
        assert (item.complete, item.tokens, item.evaluations) == (True, 140, 3 * 7)
    parts = pipe(TEXTS, seed=[3, 8], batch_size=1, **LONG)
    assert torch.equal(parts.audios, output.audios)
    assert torch.equal(pipe(TEXTS[1], seed=8, **LONG).audios[0], output.audios[1])


def test_a_window_is_heard_when_it_is_written(pipe):
    settings = {name: value for name, value in LONG.items() if name != "output_type"}
    pieces = list(pipe.stream(TEXTS[0], seed=3, seconds=0.01, **settings))
    assert [piece.shape[-1] for piece in pieces] == [32 * 8, 24 * 8, 14 * 8]  # eight frames are heard later
    whole = pipe(TEXTS[0], seed=3, **settings).audios
    np.testing.assert_allclose(np.concatenate(pieces, axis=-1), whole, atol=1e-4 * np.abs(whole).max())


@pytest.mark.parametrize(
    "interval, windows",
    [
        ((0.34, 0.44), [range(19), range(19, 59), range(59, 70)]),
        ((0.02, 0.67), [range(40), range(24, 64), range(48, 70)]),
    ],
)
def test_a_gap_of_a_long_recording_is_filled_in(pipe, interval, windows, monkeypatch):
    heard, session = [], type(pipe).session
    monkeypatch.setattr(type(pipe), "session", lambda own, part: heard.append(part.layout.frames) or session(own, part))
    sound = 0.3 * np.random.default_rng(4).standard_normal((1, 560)).astype(np.float32)
    frames = range(round(interval[0] * 100), round(interval[1] * 100))
    assert pipe.windows_of(70, frames) == windows
    settings = {name: value for name, value in LONG.items() if name != "duration"}
    output = pipe(TEXTS[0], seed=8, recording=sound, interval=interval, **settings)
    given = pipe.tokenizer.encode(torch.from_numpy(sound)[None])
    around = [frame for frame in range(70) if frame not in frames]
    assert torch.equal(output.audios[..., around], given[..., around])
    assert output.statistics[0].complete and output.statistics[0].tokens == 2 * len(frames)
    # A gap that a window can hold costs one window, and the codes on both its sides are shown.
    assert heard == ([40] if len(frames) < 40 else [40, 40, 22])


def test_a_folder_of_ours_plays_the_same(accompanied, pipe, tmp_path):
    for one, name in ((pipe, "alone"), (accompanied, "accompanied")):
        one.save_pretrained(tmp_path / name)
        again = load(tmp_path / name)
        assert again.revision == one.revision and (again.companion is None) == (one.companion is None)
        assert np.array_equal(again("happy", seed=1, **SHORT).audios, one("happy", seed=1, **SHORT).audios)


def test_a_companion_judges_as_it_would_write(accompanied, musicgen):
    features, mask = accompanied.text_features(TEXTS)
    codes = torch.randint(0, CODES, (2, BOOKS, 9), generator=torch.Generator().manual_seed(3))
    companion = Companion(accompanied.companion, features, mask)
    layout = musicgen[0].order(9)
    session = companion.session(torch.full_like(codes, -1), Sampling())
    session.open(layout.count)
    planes = layout.fold(layout.flatten(codes))
    law = session.score(torch.cat((torch.zeros_like(planes[:, :1]), planes[:, :-1]), 1))
    likely = layout.unflatten(layout.unfold(law.gather(-1, planes[..., None]).squeeze(-1)))
    torch.testing.assert_close(companion.probabilities(codes, 1), likely[:, 1], atol=1e-6, rtol=1e-4)
    # Of the first codebook's codes, those before them alone are known.
    hidden = codes.clone()
    hidden[:, 1] = -1
    assert not torch.allclose(companion.probabilities(hidden, 0), likely[:, 0], rtol=1e-2)
    torch.testing.assert_close(companion.probabilities(hidden, 0)[:, 0], likely[:, 0, 0], atol=1e-6, rtol=1e-4)
    assert companion.evaluations.tolist() == [3, 3]


def test_rescoring_changes_what_is_kept(accompanied):
    plain = accompanied(TEXTS, seed=3, output_type="latent", **SHORT)
    judged = SHORT | {"decoder_options": OPTIONS | {"rescoring": 0.7}}
    rescored = accompanied(TEXTS, seed=3, output_type="latent", **judged)
    assert not torch.equal(plain.audios, rescored.audios)
    assert rescored.statistics[0].draft_evaluations == 3 + 2
    alone = accompanied(TEXTS[1], seed=3, output_type="latent", **judged)
    assert torch.equal(alone.audios[0], rescored.audios[1])


def test_a_companion_begins_as_it_writes_alone(accompanied, musicgen):
    settings = {"seed": [3, 9], "output_type": "latent"}
    hybrid = accompanied(TEXTS, lead="0.06", **settings, **SHORT)
    begun = musicgen[0](TEXTS, duration=0.06, **settings)
    assert torch.equal(hybrid.audios[..., :6], begun.audios)
    assert bool((hybrid.audios >= 0).all())
    item = hybrid.statistics[0]
    assert item.conditions["lead"] == "0.06" and item.draft_evaluations == begun.statistics[0].evaluations
    known = torch.full((1, 2, 16), -1)
    known[..., 2], known[..., 9] = 5, 6
    told = accompanied(TEXTS, lead=0.06, known=known, **settings, **SHORT)
    assert bool((told.audios[..., 2] == 5).all()) and bool((told.audios[..., 9] == 6).all())


@pytest.mark.parametrize(
    "settings, error, message",
    [
        ({"lead": 0.05}, OptionError, "companion"),
        ({"lead": -1}, OptionError, "less than 0.16"),
        ({"lead": "long"}, OptionError, "less than 0.16"),
        ({"lead": 0.16}, OptionError, "less than 0.16"),
        ({"decoder_options": {"rescoring": 0.5}}, OptionError, "no companion"),
        ({"decoder": "jacobi"}, mmgen.errors.UnknownNameError, "masked-spans"),
        ({"known": torch.zeros(1, 3, 16, dtype=torch.long)}, SizeError, r"\[1, 2, 16\]"),
    ],
)
def test_what_cannot_be_written_is_refused(pipe, settings, error, message):
    with pytest.raises(error, match=message):
        pipe("happy", seed=1, **{**SHORT, **settings})


def test_a_companion_begins_the_first_window_alone(accompanied, musicgen):
    output = accompanied(TEXTS, seed=[3, 9], lead=0.3, **LONG)
    begun = musicgen[0](TEXTS, seed=[3, 9], duration=0.3, output_type="latent")
    assert torch.equal(output.audios[..., :30], begun.audios) and output.statistics[0].evaluations == 3 * 7
    assert output.statistics[0].draft_evaluations == begun.statistics[0].evaluations
    with pytest.raises(OptionError, match=r"less than 0\.4"):
        accompanied("happy", lead=0.4, **LONG)


def test_a_companion_of_other_codes_is_refused(pipe, musicgen):
    from mmgen.backbones.musicgen import MusicGenTransformer

    config = dict(musicgen[0].transformer.config.decoder)
    other = MusicGenTransformer(config | {"vocab_size": 15, "pad_token_id": 15, "bos_token_id": 15}, TEXT)
    names = ("tokenizer", "transformer", "decoder", "text_encoder", "text_tokenizer")
    given = {name: getattr(pipe, name) for name in names}
    with pytest.raises(OptionError, match="2 codebooks of 15 codes"):
        type(pipe)(**given, companion=other)


def changed(**model) -> dict:
    return CONFIG | {"transformer_lm": CONFIG["transformer_lm"] | model}


@pytest.mark.parametrize(
    "config, message",
    [
        (changed(norm_first=False), "norm_first"),
        (changed(positional_embedding="rope"), "sin, as all"),
        (changed(num_layers=3), "does not describe a MAGNeT|missing keys"),
        (CONFIG | {"dataset": None}, "does not describe a MAGNeT"),
        (changed(dim=30), "does not describe a MAGNeT|shape"),
    ],
)
def test_files_of_another_kind_are_refused(tmp_path, config, message):
    write_magnet(tmp_path, config)
    with pytest.raises(WeightsError, match=message):
        load(tmp_path)


def test_what_the_files_do_not_hold_is_asked_for(folder, tmp_path):
    with pytest.raises(OptionError, match="a folder of t5-base"):
        mmgen.load(str(folder))
    with pytest.raises(WeightsError, match="holds no codec"):
        load(folder, tokenizer=folder / "t5")
    with pytest.raises(WeightsError, match="holds no MusicGen"):
        load(folder, companion=folder / "t5")
    write_magnet(tmp_path, codec="facebook/encodec_32khz")
    with pytest.raises(OptionError, match="encodec_32khz"):
        load(tmp_path)
    assert load(tmp_path, tokenizer=tmp_path / "encodec").tokenizer.codebooks == BOOKS


@pytest.mark.parametrize("words", [None, "- a list", "a: [", yaml.safe_dump({"lm_model": "another"})])
def test_other_pickles_are_not_taken_for_it(tmp_path, words):
    held = {"best_state": official_state()} | ({} if words is None else {"xp.cfg": words})
    torch.save(held, tmp_path / "state_dict.bin")
    assert not magnet.recognise(tmp_path)
    with pytest.raises(WeightsError, match="is no checkpoint that mmgen knows"):
        mmgen.load(str(tmp_path))


def test_the_command_line_converts_and_writes(folder, tmp_path, capsys):
    from mmgen import media
    from mmgen.cli import main

    ours, file = tmp_path / "ours", tmp_path / "song.wav"
    assert main(["convert", str(folder), str(ours), "--text-encoder", str(folder / "t5")]) == 0
    words = ["generate", "happy", "--pipeline", str(ours), "--seed", "3", "--condition", "duration=0.16"]
    assert main([*words, "--option", "passes=3", "--device", "cpu", "--out", str(file)]) == 0
    said = media.read_metadata(file)
    assert (said["decoder"], said["law"], said["evaluations"]) == ("masked-spans", "heuristic", 3 + 10)
    assert media.read_sound(file)[0].shape == (1, 128)
