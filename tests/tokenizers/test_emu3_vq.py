"""Emu3's tokenizer for single pictures against transformers' own way, which is a film of equal frames."""

import json

import pytest
import torch

from mmgen.errors import SizeError
from mmgen.tokenizers.emu3_vq import Emu3VQ

CONFIG = {
    "codebook_size": 64,
    "base_channels": 32,
    "channel_multiplier": [1, 2, 4],
    "num_res_blocks": 1,
    "attn_resolutions": [2],
    "hidden_size": 128,
}


@pytest.fixture(scope="module")
def theirs():
    from transformers import Emu3VQVAE, Emu3VQVAEConfig

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Emu3VQVAE(Emu3VQVAEConfig(**CONFIG))
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm3d):
                module.running_mean.normal_(0, 0.5)
                module.running_var.uniform_(0.5, 2)
            if isinstance(module, (torch.nn.BatchNorm3d, torch.nn.GroupNorm)):
                torch.nn.init.normal_(module.weight, 1, 0.2)
                torch.nn.init.normal_(module.bias, 0, 0.2)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def ours(theirs):
    """Made without memory from a configuration that has been a file, then given the weights strictly."""
    with torch.device("meta"):
        model = Emu3VQ(vq_config=json.loads(json.dumps(theirs.config.to_dict())))
    weights = {f"vqvae.{key}": tensor for key, tensor in theirs.state_dict().items()}
    model.load_state_dict(weights, assign=True, strict=True)
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    return model.eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1


@torch.no_grad()
def test_codes_and_pictures_are_those_of_transformers(theirs, ours, images):
    codes = ours.encode(images)
    assert codes.shape == (2, 1, 8, 12) and codes.dtype == torch.long and ours.stride == 4
    expected = torch.stack(theirs.encode(images, torch.tensor([[32, 48]] * 2)).image_tokens)
    assert (codes[:, 0] == expected).all() and len(codes.unique()) > 8
    drawn = theirs.decode(expected)
    assert (ours._decode(codes) - drawn).abs().max() < 1e-4
    assert (ours.decode(codes) - drawn.clamp(-1, 1)).abs().max() < 1e-4 and drawn.abs().max() > 1


@torch.no_grad()
def test_each_picture_by_itself(ours, images):
    codes = ours.encode(images)
    assert (ours.encode(images[1:]) == codes[1:]).all()
    assert torch.allclose(ours.decode(codes[1:]), ours.decode(codes)[1:], atol=1e-4)


@torch.no_grad()
def test_a_picture_goes_once_through_the_layers_of_a_frame(ours, images):
    seen = []
    layers = (ours.vqvae.encoder.conv_in, ours.vqvae.decoder.conv_in)
    hooks = [layer.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0]))) for layer in layers]
    ours.decode(ours.encode(images))
    for hook in hooks:
        hook.remove()
    assert seen == [2, 2]


@torch.no_grad()
def test_half_precision(ours, images):
    codes = ours.encode(images)
    half = Emu3VQ.from_config(ours.config).to(torch.bfloat16).eval()
    half.load_state_dict(ours.state_dict())
    exact = ours._decode(codes)
    assert (half._decode(codes).float() - exact).square().mean().sqrt() < 0.05 * exact.std()
    assert half.encode(images).shape == codes.shape


def test_pictures_that_do_not_fit(ours):
    with pytest.raises(SizeError, match="multiples of 4"):
        ours.encode(torch.zeros(1, 3, 32, 30))


def test_the_published_model():
    with torch.device("meta"):
        model = Emu3VQ()
    assert model.stride == 8 and model.codebook.shape == (32768, 4)
