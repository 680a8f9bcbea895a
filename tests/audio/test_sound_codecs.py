"""Codecs of sound: what transformers' models say, one interface, and as many samples out as went in."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import mmgen
from mmgen.checkpoints import published as families
from mmgen.checkpoints import sound_codecs
from mmgen.checkpoints.folder import load_model
from mmgen.errors import OptionError, SizeError, WeightsError
from mmgen.tokenizers.sound_codecs import EnCodec, Mimi

NAMES = ("encodec_musicgen", "dac", "mimi")


@pytest.fixture(scope="module", params=NAMES)
def case(request, published):
    folder, data = published(request.param)
    return sound_codecs.load(folder), data


def test_codes_and_sound_are_those_of_transformers(case):
    codec, data = case
    codes = data["codes"].reshape(1, codec.codebooks, -1)
    assert torch.equal(codec.encode(data["x"]), codes)
    expected = data["y"].reshape(1, 1, -1)
    sound = codec.decode(codes)
    torch.testing.assert_close(sound[..., : expected.shape[-1]], expected, atol=1e-5, rtol=1e-5)


def test_every_number_of_samples_comes_back(case):
    codec, data = case
    for samples in (1, codec.hop - 1, codec.hop, codec.hop + 1, 3 * codec.hop + 7):
        codes = codec.encode(data["x"][..., :samples])
        assert codes.dtype == torch.int64
        assert tuple(codes.shape) == (1, codec.codebooks, -(-samples // codec.hop))
        assert tuple(codec.decode(codes).shape) == (1, codec.channels, codes.shape[2] * codec.hop)


def test_both_sides_of_stereo_are_coded_apart(published):
    folder, data = published("encodec_musicgen")
    mono = sound_codecs.load(folder)
    stereo = EnCodec(json.loads((folder / "config.json").read_text()), channels=2).eval()
    stereo.load_state_dict(mono.state_dict())
    left, right = data["x"][..., :4000], data["x"][..., 4000:]
    codes = stereo.encode(torch.cat((left, right), dim=1))
    assert codes.shape[1] == stereo.codebooks == 8
    # Convolutions of two rows and of one differ in the last bit.
    assert torch.equal(codes[:, 0::2], mono.encode(left))
    assert torch.equal(codes[:, 1::2], mono.encode(right))
    sound = stereo.decode(codes)
    torch.testing.assert_close(sound[:, :1], mono.decode(codes[:, 0::2]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(sound[:, 1:], mono.decode(codes[:, 1::2]), atol=1e-5, rtol=1e-5)


def test_a_codec_of_one_codebook_has_the_same_interface(published):
    folder, data = published("dac")
    config = json.loads((folder / "config.json").read_text())
    whole = sound_codecs.load(folder)
    one = type(whole)(config, codebooks=1).eval()
    one.load_state_dict(whole.state_dict())
    assert torch.equal(one.encode(data["x"]), data["codes"][:, :1])
    assert tuple(one.decode(data["codes"][:, :1]).shape) == (1, 1, data["x"].shape[-1])


def test_older_names_are_read(published, tmp_path):
    for name, renames in (
        ("encodec_musicgen", ((".parametrizations.weight.original0", ".weight_g"),
                              (".parametrizations.weight.original1", ".weight_v"))),
        ("mimi", (("encoder.encoder_seanet.", "encoder."), ("decoder.decoder_seanet.", "decoder."),
                  ("encoder.encoder_transformer.", "encoder_transformer."),
                  ("decoder.decoder_transformer.", "decoder_transformer."),
                  ("encoder.downsample.", "downsample."), ("decoder.upsample.", "upsample."))),
    ):  # fmt: skip
        folder, data = published(name)
        older = tmp_path / name
        older.mkdir()
        (older / "config.json").write_text((folder / "config.json").read_text())
        weights = load_file(folder / "model.safetensors")
        for new, old in renames:
            weights = {key.replace(new, old): value for key, value in weights.items()}
        assert set(weights) != set(load_file(folder / "model.safetensors"))
        save_file(weights, older / "model.safetensors")
        codec = sound_codecs.load(older)
        assert torch.equal(codec.encode(data["x"]), data["codes"].reshape(1, codec.codebooks, -1))


def test_a_codec_is_loaded_by_name_and_saved_in_our_format(published, tmp_path):
    folder, data = published("mimi")
    assert families.recognise(folder) is sound_codecs
    codec = mmgen.load(str(folder))
    codec.save_pretrained(tmp_path)
    again = load_model(Mimi, tmp_path)
    assert torch.equal(again.encode(data["x"]), data["codes"])


def test_what_does_not_fit_is_refused(published, tmp_path):
    folder, _ = published("encodec_musicgen")
    codec = sound_codecs.load(folder)
    for shape in ((1, 2, 100), (1, 100), (1, 1, 0)):
        with pytest.raises(SizeError, match=r"\[B, 1, samples\]"):
            codec.encode(torch.zeros(shape))
    with pytest.raises(SizeError, match=r"\[B, 4, frames\]"):
        codec.decode(torch.zeros(1, 3, 5, dtype=torch.long))
    for code in (-1, 64):
        with pytest.raises(OptionError, match="0 to 63"):
            codec.decode(torch.full((1, 4, 2), code))
    config = json.loads((folder / "config.json").read_text())
    with pytest.raises(OptionError, match="1 or 2"):
        EnCodec(config, channels=3)
    with pytest.raises(OptionError, match="1 to 4"):
        EnCodec(config, codebooks=5)
    with pytest.raises(OptionError, match="loudness"):
        EnCodec(config | {"normalize": True, "chunk_length_s": 1.0})
    (tmp_path / "config.json").write_text(json.dumps(config | {"codebook_size": 60}))
    (tmp_path / "model.safetensors").symlink_to(folder / "model.safetensors")
    with pytest.raises(WeightsError, match="does not describe a codec"):
        sound_codecs.load(tmp_path)
