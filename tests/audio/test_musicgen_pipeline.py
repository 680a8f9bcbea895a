"""MusicGen from its published folder to sound: as transformers, and where transformers does it wrong, right."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from audio.musicgens import write_musicgen
from safetensors.torch import load_file, save_file

import mmgen
from mmgen.checkpoints import musicgen, published
from mmgen.errors import OptionError, OutputError, PromptError, SizeError, UnknownNameError, WeightsError
from mmgen.pipelines.recording import recording

TEXTS = ["a slow sad song with piano", "happy"]
SHORT = {"duration": 0.16, "decoder": "plane-wise"}


@pytest.fixture(scope="module", params=[1, 2], ids=["mono", "stereo"])
def pair(request, tmp_path_factory):
    """Ours and transformers', of one folder."""
    folder = tmp_path_factory.mktemp("musicgen")
    theirs = write_musicgen(folder, request.param)
    return load(folder), theirs


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("musicgen")
    write_musicgen(folder)
    return folder


@pytest.fixture(scope="module")
def pipe(folder):
    return load(folder)


def load(folder: Path):
    pipe = mmgen.load(str(folder))
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_greedy_sound_is_that_of_transformers(pair, guidance):
    ours, theirs = pair
    words = [ours._words(text) for text in TEXTS]
    length = max(map(len, words))
    ids = torch.tensor([row + [0] * (length - len(row)) for row in words])
    # One column begins, and the second codebook comes a frame late.
    expected = theirs.generate(
        input_ids=ids, attention_mask=(ids != 0).long(), do_sample=False, guidance_scale=guidance, max_new_tokens=17
    )
    output = ours(TEXTS, guidance=guidance, temperature=0, seed=0, **SHORT)
    assert output.sampling_rate == 800 and output.audios.dtype == np.float32
    assert output.audios.shape == tuple(expected.shape) == (2, ours.tokenizer.channels, 128)
    assert output.audios.std() > 1e-3
    np.testing.assert_allclose(output.audios, expected.numpy(), atol=1e-5)


def test_every_recording_of_a_prompt_is_what_it_is_alone(pair):
    pipe, _ = pair
    several = pipe(TEXTS, seed=[4, 90], num_waveforms_per_prompt=3, output_type="latent", **SHORT)
    assert several.audios.shape == (6, pipe.tokenizer.codebooks, 16)
    assert [item.seed for item in several.statistics] == [4, 5, 6, 90, 91, 92]
    for item, codes in zip(several.statistics, several.audios, strict=True):
        alone = pipe(item.prompt, seed=item.seed, output_type="latent", **SHORT)
        assert torch.equal(alone.audios[0], codes)
    assert len({tuple(codes.flatten().tolist()) for codes in several.audios}) == 6


def test_decoders_draw_the_same_sound(pair):
    pipe, _ = pair
    expected = pipe(TEXTS, seed=3, **SHORT)
    faster = pipe(TEXTS, seed=3, duration=0.16, decoder="jacobi", decoder_options={"window": 5})
    assert np.array_equal(faster.audios, expected.audios)
    assert all(item.law == "exact" and item.complete for item in faster.statistics)
    assert all(item.tokens == 16 * pipe.tokenizer.codebooks for item in faster.statistics)


def test_a_recording_is_continued(pair):
    pipe, _ = pair
    first = pipe(TEXTS[0], seed=3, **SHORT)
    given = pipe.tokenizer.encode(torch.from_numpy(first.audios))
    for beginning in (first.audios[0], torch.from_numpy(first.audios[0])):
        longer = pipe(TEXTS[0], seed=5, duration=0.3, continue_from=beginning, output_type="latent")
        assert torch.equal(longer.audios[..., :16], given)
        assert longer.statistics[0].tokens == 14 * pipe.tokenizer.codebooks
    # Of both sides the mean, and one side on both.
    sides = {1: np.stack([first.audios[0, 0]] * 2), 2: first.audios[0].mean(0)}[pipe.tokenizer.channels]
    other = pipe.plan(TEXTS[0], seed=0, duration=0.3, continue_from=sides)
    mixed = torch.from_numpy(first.audios.mean(1, keepdims=True)).expand(-1, pipe.tokenizer.channels, -1)
    known = other.layout.unflatten(other.known)
    assert torch.equal(known[..., :16], pipe.tokenizer.encode(mixed))


def test_given_codes_stay_and_cost_nothing(pipe):
    known = torch.full((1, 2, 16), -1)
    known[..., 3:6] = 7
    output = pipe(TEXTS, seed=3, known=known, output_type="latent", **SHORT)
    assert (output.audios[..., 3:6] == 7).all()
    assert output.statistics[0].tokens == 26


def test_sound_is_heard_while_it_is_written(pipe):
    whole = pipe(TEXTS, seed=3, **SHORT).audios
    heard = 0
    for drawing in pipe.draw(TEXTS, seed=3, **SHORT):
        ready = drawing.layout.frames_ready[int(drawing.generation.evaluations.max())]
        codes = pipe.render(drawing, "latent")
        sound = pipe.render(drawing)
        assert sound.shape == whole.shape and (sound[..., ready * 8 :] == 0).all()
        assert (codes[..., :ready] >= 0).all()
        heard += 0 < ready < 16
    assert heard == 15 and np.array_equal(sound, whole)


def test_a_duration_need_not_be_a_number_of_frames(pipe):
    output = pipe("happy", seed=1, duration="0.123", decoder="plane-wise")
    assert output.audios.shape == (1, 1, 98)
    assert output.statistics[0].conditions == {"duration": "0.123"}
    longer = pipe("happy", seed=1, duration=0.13, decoder="plane-wise")
    assert np.array_equal(longer.audios[..., :98], output.audios)


def test_a_folder_of_ours_plays_the_same(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert again.revision == pipe.revision and again.medium == "audio"
    assert np.array_equal(again("happy", seed=1, **SHORT).audios, pipe("happy", seed=1, **SHORT).audios)
    again.cache_bits = 8
    assert again("happy", seed=1, **SHORT).audios.shape == (1, 1, 128)


def test_older_files_are_read(folder, pipe, tmp_path):
    weights = load_file(folder / "model.safetensors")
    older = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for name, value in weights.items()
    }
    older["decoder.model.decoder.embed_positions.weights"] = torch.zeros(64, 32)
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_text((folder / name).read_text())
    save_file(older, tmp_path / "model.safetensors")
    assert published.recognise(tmp_path) is musicgen
    assert load(tmp_path).revision == pipe.revision


def test_damaged_folders_are_refused(folder, tmp_path):
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_text((folder / name).read_text())
    weights = load_file(folder / "model.safetensors")
    del weights["decoder.lm_heads.1.weight"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"lm_heads\.1"):
        mmgen.load(str(tmp_path))
    config = json.loads((folder / "config.json").read_text())
    config["decoder"]["num_attention_heads"] = 5
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="does not describe a MusicGen"):
        mmgen.load(str(tmp_path))


@pytest.mark.parametrize(
    "settings, error, message",
    [
        ({"duration": 0}, OptionError, "up to 3600"),
        ({"duration": 3601}, OptionError, "up to 3600"),
        ({"duration": "long"}, OptionError, "up to 3600"),
        ({"duration": True}, OptionError, "up to 3600"),
        ({"height": 64}, OptionError, "sound has a duration"),
        ({"num_waveforms_per_prompt": 0}, OptionError, "1 to 256"),
        ({"output_type": "pil"}, OptionError, "np, pt, latent"),
        ({"tempo": 3}, UnknownNameError, "continue_from, duration"),
        ({"decoder": "autoregressive"}, mmgen.errors.UnknownNameError, "plane-wise"),
        ({"continue_from": np.zeros((1, 200), np.float32), "duration": 0.2}, SizeError, r"less than 0\.2 s"),
        ({"continue_from": np.zeros((3, 20), np.float32)}, SizeError, r"\[2, samples\]"),
        ({"continue_from": np.zeros(20, np.int16)}, SizeError, "numbers in"),
        ({"continue_from": np.zeros(0, np.float32)}, SizeError, "samples"),
        ({"continue_from": np.zeros(20, np.float32), "known": torch.zeros(1, 2, 16)}, OptionError, "one of them"),
        ({"known": torch.zeros(1, 3, 16, dtype=torch.long), "duration": 0.16}, SizeError, r"\[1, 2, 16\]"),
        ({"known": torch.full((1, 2, 16), 16), "duration": 0.16}, OptionError, "0 to 15"),
    ],
)
def test_what_cannot_be_played_is_refused_before_anything_is(pipe, settings, error, message):
    with pytest.raises(error, match=message):
        pipe("happy", seed=1, **settings)


def test_prompts_are_checked(pipe):
    for prompt in ("", "  ", 7):
        with pytest.raises(PromptError, match="say what to play"):
            pipe(prompt)
    with pytest.raises(PromptError, match="at most 512"):
        pipe("happy " * 600)


def test_a_codec_of_other_codes_is_refused(pipe, tmp_path):
    from mmgen.tokenizers.sound_codecs import EnCodec

    stereo = EnCodec(pipe.tokenizer.config.codec, channels=2)
    with pytest.raises(OptionError, match="codec of 4 codebooks"):
        type(pipe)(stereo, pipe.transformer, pipe.decoder, pipe.text_encoder, pipe.text_tokenizer)


def test_the_command_line_writes_sound_that_it_can_make_again(folder, tmp_path, capsys):
    from mmgen import media
    from mmgen.cli import main
    from mmgen.media.sound import read_sound

    words = ["generate", "happy", "--pipeline", str(folder), "--seed", "3", "--device", "cpu"]
    first = tmp_path / "first.flac"
    assert main([*words, "--condition", "duration=0.16", "--out", str(first)]) == 0
    second = tmp_path / "second.wav"
    beginning = ["--condition", "duration=0.3", "--continue-from", str(first)]
    assert main([*words, *beginning, "--decoder", "plane-wise", "--out", str(second)]) == 0
    sound, rate = read_sound(second)
    assert (sound.shape, rate) == ((1, 240), 800)
    said = media.read_metadata(second)
    assert said["decoder"] == "plane-wise" and said["conditions"] == {"duration": "0.3", "continue_from": str(first)}
    capsys.readouterr()
    assert main(["show", str(second)]) == 0
    assert f"--condition continue_from={first}" in capsys.readouterr().out


def test_a_file_of_another_rate_is_resampled(pipe, tmp_path):
    from mmgen.media.sound import write_sound

    seconds = np.arange(0, 0.1, 1 / 3200)
    write_sound(tmp_path / "x.wav", 0.5 * np.sin(2 * np.pi * 50 * seconds)[None], 3200, None)
    wanted = 0.5 * np.sin(2 * np.pi * 50 * np.arange(0, 0.1, 1 / 800))[None]
    heard = recording(tmp_path / "x.wav", 800, 2)
    assert tuple(heard.shape) == (2, 80) and torch.equal(heard[0], heard[1])
    np.testing.assert_allclose(heard[:1, 8:-8].numpy(), wanted[:, 8:-8], atol=0.02)
    assert pipe.plan("happy", seed=0, duration=0.2, continue_from=str(tmp_path / "x.wav")).known.max() >= 0
    with pytest.raises(OutputError, match="no such file"):
        pipe("happy", seed=0, continue_from="absent.wav")


def test_fewer_bits_play_as_well(folder, tmp_path):
    small = mmgen.load(str(folder), dtype=torch.bfloat16)
    small.save_pretrained(tmp_path)
    for pipe in (small, mmgen.load(str(tmp_path), dtype=torch.bfloat16)):
        pipe.set_progress_bar_config(disable=True)
        assert (pipe.transformer.dtype, pipe.tokenizer.dtype) == (torch.bfloat16, torch.float32)
        assert np.isfinite(pipe("happy", seed=1, **SHORT).audios).all()
    quantised = load(folder).quantise(8)
    quantised.set_progress_bar_config(disable=True)
    assert quantised("happy", seed=1, **SHORT).audios.shape == (1, 1, 128)
