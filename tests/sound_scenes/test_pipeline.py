"""Captions to sound with a small random model: one seed, one recording, whichever exact decoder writes it."""

import numpy as np
import pytest
import torch

import mmgen
from mmgen.backbones.sound import SoundTransformer
from mmgen.decoding import planes
from mmgen.errors import OptionError, PromptError, SizeError
from mmgen.evaluation.judges import evaluate, judge_of
from mmgen.pipelines.text_to_sound import TextToSoundPipeline
from mmgen.scenes.sound_encoder import SoundSceneEncoder
from mmgen.tokenizers.sound_vq import SoundVQ

CAPTIONS = ["a piano plays a rising C major scale, fast", "a female voice says seven"]
SHORT = {"duration": 0.3, "seed": [4, 9]}


@pytest.fixture(scope="module")
def pipe():
    generator = torch.Generator().manual_seed(0)
    codec = SoundVQ(codebooks=3, codebook_size=16, code_size=8)
    transformer = SoundTransformer(16, 3, 20, size=16, layers=2, heads=2, hidden_size=16)
    for model, scale in ((codec, 1.0), (transformer, 0.4)):
        for parameter in model.parameters():
            parameter.data.normal_(0, scale, generator=generator)
    torch.manual_seed(1)
    pipe = TextToSoundPipeline(
        codec, SoundSceneEncoder(size=16), transformer, planes.make("plane-wise"), {"guidance": 2.0}
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_captions_become_sound(pipe):
    output = pipe(CAPTIONS[0], seed=1)
    assert output.audios.shape == (1, 1, 48_000) and output.audios.dtype == np.float32
    assert output.sampling_rate == 16_000
    assert output.statistics[0].evaluations == 152  # 150 frames, and two that the later codebooks are late


@pytest.mark.parametrize("decoder", ["jacobi", "speculative-jacobi"])
def test_every_exact_decoder_runs_and_jacobi_writes_the_recording_of_the_seed(pipe, decoder):
    plain = pipe(CAPTIONS, output_type="latent", **SHORT)
    fast = pipe(CAPTIONS, output_type="latent", decoder=decoder, **SHORT)
    assert plain.audios.shape == fast.audios.shape == (2, 3, 15)
    if decoder == "jacobi":
        assert torch.equal(plain.audios, fast.audios)
        assert fast.statistics[0].evaluations <= plain.statistics[0].evaluations


def test_a_recording_alone_is_what_it_is_in_a_batch(pipe):
    together = pipe(CAPTIONS, output_type="latent", **SHORT).audios
    for row, caption in enumerate(CAPTIONS):
        alone = pipe(caption, output_type="latent", duration=0.3, seed=SHORT["seed"][row]).audios
        assert torch.equal(alone[0], together[row])


def test_captions_and_guidance_count(pipe):
    plain, guided = (
        pipe("a man says one", seed=3, duration=0.3, guidance=g, output_type="latent").audios for g in (1.0, 6.0)
    )
    other = pipe("a man says two", seed=3, duration=0.3, guidance=1.0, output_type="latent").audios
    assert not torch.equal(plain, guided) and not torch.equal(plain, other)


def test_it_goes_on_from_a_recording(pipe):
    begun = 0.1 * np.sin(np.arange(3200) / 10)
    codes = pipe(CAPTIONS[0], seed=1, duration=0.5, continue_from=begun, output_type="latent").audios
    given = pipe.tokenizer.encode(torch.from_numpy(begun).float()[None, None])
    assert torch.equal(codes[..., :10], given) and codes.shape[-1] == 25


@pytest.mark.parametrize("seconds", [0.02, 0.1, 1.0])
def test_pieces_are_the_whole_to_the_last_bit_and_no_frame_is_decoded_twice(pipe, monkeypatch, seconds):
    whole = pipe(CAPTIONS, **SHORT).audios
    decoded, read = [], SoundVQ.vectors_of
    monkeypatch.setattr(SoundVQ, "vectors_of", lambda codec, codes: decoded.append(codes) or read(codec, codes))
    pieces = list(pipe.stream(CAPTIONS, seconds=seconds, **SHORT))
    assert sum(codes[..., 0].numel() for codes in decoded) == 2 * 15
    assert len(pieces) == {0.02: 13, 0.1: 3, 1.0: 1}[seconds]
    assert np.array_equal(np.concatenate(pieces, axis=-1), whole)


def test_several_of_a_caption_are_written_however_it_is_asked(pipe):
    wish = {"num_waveforms_per_prompt": 2, "seed": 4, "duration": 0.3}
    whole = pipe(CAPTIONS[0], **wish).audios
    assert whole.shape == (2, 1, 4800)
    assert np.array_equal(np.concatenate(list(pipe.stream(CAPTIONS[0], **wish)), axis=-1), whole)


def test_too_long_a_beginning_is_refused_before_it_is_encoded(pipe, monkeypatch):
    monkeypatch.setattr(SoundVQ, "encode", lambda codec, waveform: pytest.fail("it was encoded"))
    with pytest.raises(SizeError, match=r"less than 0\.3 s"):
        pipe(CAPTIONS[0], duration=0.3, continue_from=np.zeros(48_000, np.float32))


def test_a_saved_pipeline_writes_the_same(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    again = mmgen.load(str(tmp_path))
    again.set_progress_bar_config(disable=True)
    assert np.array_equal(again(CAPTIONS, **SHORT).audios, pipe(CAPTIONS, **SHORT).audios)


def test_what_it_cannot_do_is_named(pipe):
    with pytest.raises(PromptError, match="there are piano"):
        pipe("a tuba plays chords")
    with pytest.raises(OptionError, match="seconds up to 3"):
        pipe(CAPTIONS[0], duration=4)


def test_its_judge_is_that_of_sound(pipe):
    assert judge_of(pipe).medium == "audio"
    report = evaluate(pipe, count=2, batch=2).to_dict()
    assert report["correct"]["of"] == 2
