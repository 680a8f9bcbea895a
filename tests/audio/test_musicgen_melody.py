"""MusicGen melody: the melody, logits and greedy codes are transformers', and a row hangs on nothing but itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from audio.musicgens import tiny_musicgen, write_text_tokenizer
from torch import Tensor
from transformers import (
    MusicgenMelodyConfig,
    MusicgenMelodyDecoderConfig,
    MusicgenMelodyFeatureExtractor,
    MusicgenMelodyForConditionalGeneration,
)

import mmgen
from mmgen.checkpoints import musicgen, musicgen_melody, published
from mmgen.errors import OptionError, OutputError, SizeError
from mmgen.media.chroma import melody
from mmgen.media.sound import write_sound
from mmgen.pipelines.recording import recording

TEXTS = ["a slow sad song with piano", "happy"]
SHORT = {"duration": 0.16, "output_type": "latent"}
RATE, MOMENTS = 800, 7


def write_melody_model(folder: Path) -> MusicgenMelodyForConditionalGeneration:
    """The codec and text encoder of `tiny_musicgen`, and a decoder that hears melodies of 7 moments."""
    parts = tiny_musicgen()
    decoder = MusicgenMelodyDecoderConfig(
        vocab_size=16, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, ffn_dim=48, dropout=0.0,
        num_codebooks=2, audio_channels=1, pad_token_id=16, bos_token_id=16, max_position_embeddings=64,
    )  # fmt: skip
    config = MusicgenMelodyConfig(
        text_encoder=parts.config.text_encoder.to_dict(), audio_encoder=parts.config.audio_encoder.to_dict(),
        decoder=decoder.to_dict(), num_chroma=12, chroma_length=MOMENTS,
    )  # fmt: skip
    torch.manual_seed(5)
    model = MusicgenMelodyForConditionalGeneration(config).eval().requires_grad_(False)
    model.text_encoder.load_state_dict(parts.text_encoder.state_dict())
    model.audio_encoder.load_state_dict(parts.audio_encoder.state_dict())
    generator = torch.Generator().manual_seed(6)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and name.startswith(("decoder", "enc_to_dec", "audio_enc_to_dec")):
            parameter.normal_(0, 0.35, generator=generator)
    model.save_pretrained(folder)
    write_text_tokenizer(folder)
    return model


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Ours and transformers', of one folder."""
    folder = tmp_path_factory.mktemp("melody")
    theirs = write_melody_model(folder)
    assert published.recognise(folder) is musicgen_melody and not musicgen.recognise(folder)
    return load(folder), theirs


def load(folder: Path):
    pipe = mmgen.load(str(folder))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def tune(rate: int, seconds: float, notes: tuple[float, ...] = (220.0, 261.6, 329.6, 196.0)) -> Tensor:
    """Notes one after the other, each with an overtone: float32 [samples]."""
    moments = torch.arange(round(rate * seconds)) / rate
    pitch = torch.tensor(notes)[(moments / seconds * len(notes)).long()]
    return 0.4 * torch.sin(2 * torch.pi * pitch * moments) + 0.1 * torch.sin(4 * torch.pi * pitch * moments)


def extracted(sound: Tensor, rate: int) -> Tensor:
    """What transformers hears of a melody: [1, moments, 12]."""
    extractor = MusicgenMelodyFeatureExtractor(sampling_rate=rate)
    return extractor(sound.numpy(), sampling_rate=rate, return_tensors="pt")["input_features"]


@pytest.mark.parametrize("rate, seconds", [(32000, 3.0), (32000, 0.2), (800, 2.0)])
def test_a_melody_is_heard_as_transformers_does(rate, seconds):
    sound = tune(rate, seconds) + 0.02 * torch.randn(round(rate * seconds), generator=torch.Generator().manual_seed(1))
    heard = melody(sound, rate)
    assert torch.equal(heard, extracted(sound, rate)[0]) and bool((heard.sum(1) == 1).all())
    if seconds == 3.0:
        # A, C, E and G, of the classes that begin with C.
        assert {9, 0, 4, 7} <= set(heard.argmax(1).tolist())


@torch.no_grad()
def test_logits_are_those_of_transformers(pair):
    ours, theirs = pair
    sound = extracted(tune(RATE, 2.0), RATE)
    words = torch.tensor([ours._words(TEXTS[0])])
    codes = torch.randint(0, 16, (1, 9, 2), generator=torch.Generator().manual_seed(2))
    logits = theirs(
        input_ids=words, attention_mask=torch.ones_like(words), input_features=sound,
        decoder_input_ids=codes[0].T,
    ).logits  # fmt: skip
    expected = logits.view(1, 2, -1, 16)[:, :, -9:].transpose(1, 2)
    features, mask = ours.text_features(TEXTS[:1])
    model = ours.transformer
    prefix = model.prefix(sound, features, mask, torch.tensor([True]))
    cache = model.new_cache(1, prefix.embeddings.shape[1] + 9)
    model.prefill(prefix, cache)
    parts = [model.logits(model.features(part, prefix, cache)) for part in codes.split([4, 5], 1)]
    torch.testing.assert_close(torch.cat(parts, 1), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("decoder", ["plane-wise", "jacobi"])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("sung", [True, False])
def test_greedy_codes_are_those_of_transformers(pair, guidance, sung, decoder):
    ours, theirs = pair
    sound = tune(RATE, 2.0)
    heard = {"input_features": extracted(sound, RATE)} if sung else {}
    # One by one: beside a longer text, transformers hears the words that pad a shorter one.
    for text in TEXTS:
        words = torch.tensor([ours._words(text)])
        expected = theirs.generate(
            input_ids=words, attention_mask=torch.ones_like(words), do_sample=False, guidance_scale=guidance,
            max_new_tokens=17, **heard,
        )  # fmt: skip
        output = ours(
            text, guidance=guidance, temperature=0, seed=0, duration=0.16, decoder=decoder,
            melody=sound if sung else None,
        )  # fmt: skip
        np.testing.assert_allclose(output.audios, expected.numpy(), atol=1e-5)
        assert output.audios.std() > 1e-3


def test_a_row_alone_is_as_it_is_beside_others(pair):
    ours, _ = pair
    settings = SHORT | {"melody": tune(RATE, 1.0)}
    for decoder in ("plane-wise", "jacobi", "speculative-jacobi"):
        together = ours(TEXTS, seed=[4, 9], decoder=decoder, **settings).audios
        for text, seed, codes in zip(TEXTS, (4, 9), together, strict=True):
            assert torch.equal(ours(text, seed=seed, decoder=decoder, **settings).audios[0], codes)
    assert torch.equal(
        ours(TEXTS, seed=[4, 9], decoder="jacobi", **settings).audios,
        ours(TEXTS, seed=[4, 9], decoder="plane-wise", **settings).audios,
    )
    assert not torch.equal(ours(TEXTS, seed=[4, 9], **SHORT).audios, together)


def test_a_melody_may_be_a_file_or_samples_of_any_rate(pair, tmp_path):
    ours, _ = pair
    sound = tune(3200, 1.0)
    write_sound(tmp_path / "tune.wav", sound[None].numpy(), 3200, None)
    given = [str(tmp_path / "tune.wav"), (sound, 3200), (sound.numpy(), 3200), (sound.expand(2, -1), 3200)]
    heard = [ours._melody(one) for one in given]
    for one in heard:
        torch.testing.assert_close(one, recording((sound, 3200), RATE, 1)[0], atol=1e-4, rtol=0)
    outputs = [ours("happy", seed=1, melody=one, **SHORT) for one in given[:2]]
    assert torch.equal(outputs[0].audios, outputs[1].audios)
    assert outputs[0].statistics[0].conditions["melody"] == given[0]
    long = torch.cat((tune(RATE, 30.0), torch.ones(RATE)))
    assert torch.equal(ours._melody(long), long[: 30 * RATE])


def test_a_folder_of_ours_plays_the_same(pair, tmp_path):
    ours, _ = pair
    ours.save_pretrained(tmp_path)
    again = load(tmp_path)
    settings = SHORT | {"melody": tune(RATE, 1.0), "seed": 3}
    assert again.revision == ours.revision
    assert torch.equal(again(TEXTS[0], **settings).audios, ours(TEXTS[0], **settings).audios)
    again.cache_bits = 8
    assert again(TEXTS, **settings).audios.shape == (2, 2, 16)


@pytest.mark.parametrize(
    "settings, error, message",
    [
        ({"melody": np.zeros(20, np.float32), "duration": 31}, OptionError, "30 or less with a melody"),
        ({"melody": "absent.wav"}, OutputError, "no such file"),
        ({"melody": (np.zeros(20, np.float32), 0)}, OptionError, "positive whole number"),
        ({"melody": (np.zeros(20, np.float32), "high")}, OptionError, "positive whole number"),
        ({"melody": np.zeros((3, 20), np.float32)}, SizeError, r"\[2, samples\]"),
        ({"melody": np.zeros(0, np.float32)}, SizeError, "samples"),
    ],
)
def test_what_is_no_melody_is_refused_before_anything_is_written(pair, settings, error, message):
    with pytest.raises(error, match=message):
        pair[0].plan("happy", seed=1, **settings)
