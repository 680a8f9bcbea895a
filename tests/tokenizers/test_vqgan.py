"""The VQGAN tokenizers against published code, or against what it made of the same weights."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from mmgen import codebook
from mmgen.checkpoints.vqgan_keys import from_janus, from_llamagen, from_taming
from mmgen.errors import SizeError
from mmgen.tokenizers.vqgan import VQGAN
from mmgen.tokenizers.vqgan_blocks import Upsample

GOLDENS = Path(__file__).parents[2] / "../shared/goldens"
needs_goldens = pytest.mark.skipif(not GOLDENS.is_dir(), reason="the goldens lie beside the repository, not in it")


def scramble(model):
    """Weights no block can be left out of, norms among them, which begin as the identity."""
    generator = torch.Generator().manual_seed(3)
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        centre = float("norm" in name and name.endswith(".weight") and weight.ndim == 1)
        weight.data = centre + noise * (1.2 / weight[0].numel() ** 0.5 if weight.ndim > 1 else 0.2)
    return model.eval().requires_grad_(False)


def pictures(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(5)) * 2 - 1


def load(weights, translate, **config):
    """A model made without memory, and then given the weights under our names."""
    with torch.device("meta"):
        model = VQGAN(**config)
    named = {translate(key): tensor for key, tensor in weights.items()}
    named.pop(None, None)
    missing, unexpected = model.load_state_dict(named, assign=True, strict=False)
    assert not unexpected
    return model.eval(), missing


@pytest.fixture(scope="module")
def tiny():
    return scramble(VQGAN(codebook_size=64, latent_channels=32, channels=32, multipliers=(1, 2, 2), blocks=1))


@pytest.fixture(scope="module")
def golden():
    weights = torch.load(GOLDENS / "llamagen/vq16.pt", weights_only=True)["model"]
    model, missing = load(weights, from_llamagen, codebook_size=128, latent_channels=32, channels=32)
    assert not missing
    return model, load_file(GOLDENS / "llamagen/vq16_io.safetensors")


@needs_goldens
@torch.no_grad()
def test_llamagen(golden):
    model, expected = golden
    assert (model._vectors_of(expected["image"]) - expected["pre_quant"]).abs().max() < 1e-4
    codes = model.encode(expected["image"])
    assert codes.shape == (2, 1, 4, 4) and codes.dtype == torch.long
    assert (codes.flatten() == expected["indices"]).all()
    assert (model.codebook[codes[:, 0]].permute(0, 3, 1, 2) - expected["quant"]).abs().max() < 1e-5
    codes = expected["tokens"].view(2, 1, 4, 4)
    assert (model._decode(codes) - expected["pixels"]).abs().max() < 1e-3
    assert (model.decode(codes) - expected["pixels"].clamp(-1, 1)).abs().max() < 1e-3
    assert expected["pixels"].abs().max() > 1


@needs_goldens
@torch.no_grad()
def test_half_precision(golden):
    model, expected = golden
    half = VQGAN.from_config(model.config).to(torch.bfloat16)
    half.load_state_dict(model.state_dict())
    codes = expected["tokens"].view(2, 1, 4, 4)
    error = half._decode(codes).float() - expected["pixels"]
    assert error.square().mean().sqrt() < 0.03 * expected["pixels"].std()
    assert (half.encode(expected["image"]).flatten() == expected["indices"]).float().mean() > 0.7


@needs_goldens
@pytest.mark.parametrize(("name", "multipliers"), [("VQ-16", (1, 1, 2, 2, 4)), ("VQ-8", (1, 2, 2, 4))])
def test_published_llamagen_sizes(name, multipliers):
    published = json.loads((GOLDENS / "llamagen/published_shapes.json").read_text())[name]
    with torch.device("meta"):
        model = VQGAN(multipliers=multipliers)
    expected = {from_llamagen(key): shape for key, shape in published["keys"].items()}
    del expected[None]
    assert {key: list(tensor.shape) for key, tensor in model.state_dict().items()} == expected
    assert model.num_parameters() == published["params"]
    assert model.stride == 2 ** (len(multipliers) - 1)


@torch.no_grad()
def test_janus():
    from transformers import JanusVQVAEConfig
    from transformers.models.janus.modeling_janus import JanusVQVAE

    shape = {"num_embeddings": 64, "latent_channels": 32, "base_channels": 32, "channel_multiplier": [1, 2, 4]}
    theirs = scramble(JanusVQVAE(JanusVQVAEConfig(**shape, num_res_blocks=1, num_patches=8)))
    # Unlike the official code, theirs looks up without normalising: the same codes only for vectors of length one.
    theirs.quantize.embedding.weight.data = F.normalize(theirs.quantize.embedding.weight.data)
    config = {"codebook_size": 64, "latent_channels": 32, "channels": 32, "multipliers": (1, 2, 4), "blocks": 1}
    ours, missing = load(theirs.state_dict(), from_janus, **config)
    assert not missing
    images = pictures(2, 3, 32, 32)
    codes = ours.encode(images)
    assert (codes.flatten() == theirs.encode(images).image_tokens).all() and len(codes.unique()) > 8
    assert (ours._decode(codes) - theirs.decode(codes.flatten(1))).abs().max() < 1e-4


@torch.no_grad()
def test_chameleon():
    from transformers import ChameleonVQVAE, ChameleonVQVAEConfig

    shape = {"embed_dim": 16, "num_embeddings": 64, "latent_channels": 32, "base_channels": 32}
    theirs = ChameleonVQVAE(ChameleonVQVAEConfig(**shape, channel_multiplier=[1, 2, 2], num_res_blocks=1))
    scramble(theirs).quantize.embedding.weight.data.mul_(2)
    config = {"latent_channels": 32, "channels": 32, "blocks": 1, "attention": False, "normalised": False}
    config |= {"codebook_size": 64, "codebook_channels": 16, "multipliers": (1, 2, 2)}
    ours, missing = load(theirs.state_dict(), lambda key: from_taming(key, 3), **config)
    assert missing and all(key.startswith("decoder.") for key in missing)
    images = pictures(2, 3, 32, 48)
    codes = ours.encode(images)
    assert codes.shape == (2, 1, 8, 12)
    assert (codes.flatten() == theirs.encode(images).image_tokens).all() and len(codes.unique()) > 8


@needs_goldens
@torch.no_grad()
def test_chameleon_golden():
    prefix = "model.vqmodel."
    weights = load_file(GOLDENS / "chameleon/model.safetensors")
    weights = {key.removeprefix(prefix): tensor for key, tensor in weights.items() if key.startswith(prefix)}
    config = {"latent_channels": 32, "channels": 32, "blocks": 1, "attention": False, "normalised": False}
    config |= {"codebook_size": 64, "codebook_channels": 16, "multipliers": (1, 2)}
    ours, _ = load(weights, lambda key: from_taming(key, 2), **config)
    expected = load_file(GOLDENS / "chameleon/io.safetensors")
    assert (ours.encode(expected["vq_image"]).flatten() == expected["vq_codes"]).all()


# diffusers' names for what taming-transformers and MoVQGAN call otherwise.
TAMING = (
    (r"down_blocks\.(\d+)\.(resnets|attentions)\.", lambda found: f"down.{found[1]}.{found[2]}."),
    (r"up_blocks\.(\d+)\.", lambda found: f"up.{2 - int(found[1])}."),
    (r"down_blocks\.", "down."),
    (r"(down|up)samplers\.0\.", r"\1sample."),
    (r"mid_block\.resnets\.0\.", "mid.block_1."),
    (r"mid_block\.resnets\.1\.", "mid.block_2."),
    (r"mid_block\.attentions\.0\.", "mid.attn_1."),
    (r"\.resnets\.", ".block."),
    (r"\.attentions\.", ".attn."),
    (r"conv_shortcut", "nin_shortcut"),
    (r"conv_norm_out", "norm_out"),
    (r"group_norm|spatial_norm", "norm"),
    (r"to_([qkv])\.", r"\1."),
    (r"to_out\.0\.", "proj_out."),
)


def taming_name(key):
    for pattern, replacement in TAMING:
        key = re.sub(pattern, replacement, key)
    return key


@pytest.mark.parametrize("spatial_norm", [False, True])
@torch.no_grad()
def test_taming_and_movq(spatial_norm):
    from diffusers import VQModel

    theirs = VQModel(
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"),
        block_out_channels=(32, 64, 96),
        latent_channels=4,
        num_vq_embeddings=64,
        norm_type="spatial" if spatial_norm else "group",
    )
    scramble(theirs).quantize.embedding.weight.data.mul_(2)
    weights = {taming_name(key): tensor for key, tensor in theirs.state_dict().items()}
    maps = re.compile(r"attn.*\.(q|k|v|proj_out)\.weight")
    weights = {key: tensor[..., None, None] if maps.search(key) else tensor for key, tensor in weights.items()}
    assert "decoder.up.2.attn.0.q.weight" in weights and "decoder.up.0.upsample.conv.weight" not in weights
    assert ("decoder.up.0.block.1.norm2.conv_y.weight" in weights) == spatial_norm
    ours, missing = load(
        weights,
        lambda key: from_taming(key, 3),
        **{"codebook_size": 64, "codebook_channels": 4, "latent_channels": 4, "channels": 32, "blocks": 1},
        **{"multipliers": (1, 2, 3), "normalised": False, "spatial_norm": spatial_norm},
    )
    assert not missing
    images = pictures(2, 3, 32, 24)
    codes = ours.encode(images)
    latents = theirs.encode(images).latents
    assert (codes.flatten() == theirs.quantize(latents)[2][2]).all() and len(codes.unique()) > 8
    assert (ours._decode(codes) - theirs.decode(latents).sample).abs().max() < 1e-4


@pytest.mark.parametrize(("millions", "channels", "blocks"), [(67, 128, 2), (102, 128, 4), (270, 256, 2)])
def test_published_movq_sizes(millions, channels, blocks):
    with torch.device("meta"):
        model = VQGAN(16384, 4, 4, channels, (1, 2, 2, 4), blocks, normalised=False, spatial_norm=True)
    assert abs(model.num_parameters() / 1e6 - millions) < 1


@torch.no_grad()
def test_pictures_of_any_size_and_each_by_itself(tiny):
    images = pictures(3, 3, 20, 36)
    codes = tiny.encode(images)
    assert codes.shape == (3, 1, 5, 9) and tiny.stride == 4
    drawn = tiny.decode(codes)
    assert drawn.shape == images.shape and drawn.abs().max() <= 1
    assert (tiny.encode(images[1:2]) == codes[1:2]).all()
    assert torch.allclose(tiny.decode(codes[1:2]), drawn[1:2], atol=1e-4)


def test_pictures_that_do_not_fit(tiny):
    for shape in ((1, 3, 20, 18), (1, 3, 18, 20), (1, 1, 20, 20), (3, 20, 20)):
        with pytest.raises(SizeError, match=r"multiples of 4") as caught:
            tiny.encode(torch.zeros(shape))
        assert str(shape) in str(caught.value)


@torch.no_grad()
def test_the_code_is_the_nearest_however_many_are_compared_at_a_time(tiny, monkeypatch):
    images = pictures(2, 3, 20, 36)
    codes = tiny.encode(images)
    vectors = F.normalize(tiny._vectors_of(images), dim=1).double().permute(0, 2, 3, 1)
    distances = (vectors[..., None, :] - F.normalize(tiny.vectors.double(), dim=1)).square().sum(-1)
    assert (distances.argmin(-1) == codes[:, 0]).all()
    monkeypatch.setattr(codebook, "_BLOCK", 7)
    assert (tiny.encode(images) == codes).all()


@torch.no_grad()
def test_the_codebook_is_what_the_decoder_reads(tiny):
    assert torch.allclose(tiny.codebook.norm(dim=1), torch.ones(64))
    assert not torch.allclose(tiny.vectors.norm(dim=1), torch.ones(64), atol=0.1)
    codes = tiny.encode(pictures(1, 3, 16, 16))
    unscaled = VQGAN.from_config(tiny.config, normalised=False).eval()
    unscaled.load_state_dict({**tiny.state_dict(), "vectors": tiny.codebook})
    assert torch.equal(unscaled.codebook, tiny.codebook)
    assert torch.allclose(unscaled.decode(codes), tiny.decode(codes), atol=1e-5)


def test_doubling_is_repeating_and_convolving():
    layer = Upsample(5).double()
    x = pictures(2, 5, 3, 4).double()
    repeated = F.interpolate(x, scale_factor=2, mode="nearest")
    expected = F.conv2d(repeated, layer.weight, layer.bias, padding=1)
    assert torch.allclose(layer(x), expected, atol=1e-12)


def test_nothing_is_left_outside_the_weights(tiny):
    with torch.device("meta"):
        model = VQGAN.from_config(tiny.config)
    model.load_state_dict(tiny.state_dict(), assign=True)
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    codes = torch.arange(12).view(1, 1, 3, 4)
    assert torch.equal(model.eval().decode(codes), tiny.decode(codes))


@pytest.mark.parametrize("translate", [from_llamagen, from_janus, lambda key: from_taming(key, 4)])
def test_names_that_are_dropped_and_names_that_are_unknown(translate):
    dropped = ("loss.discriminator.main.0.weight", "ema_encoder.convinweight", "model_ema.decay", "colorize")
    for key in (*dropped, "quantize.codebook_used"):
        assert translate(key) is None
    for key in ("lossless.weight", "text_model.embeddings.weight"):
        assert translate(key) == key
    assert translate("post_quant_conv.bias") == "from_codebook.bias"


def test_levels_are_counted_from_the_lowest_resolution_of_a_decoder():
    assert from_janus("decoder.up.0.attn.1.q.bias") == "decoder.levels.0.attentions.1.query.bias"
    assert from_taming("decoder.up.0.block.2.conv1.bias", 4) == "decoder.levels.3.blocks.2.conv1.bias"
    assert from_taming("encoder.down.0.block.2.conv1.bias", 4) == "encoder.levels.0.blocks.2.conv1.bias"
    assert from_taming("decoder.up.4.upsample.conv.weight", 5) == "decoder.levels.0.resample.weight"
