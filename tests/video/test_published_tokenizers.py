"""Emu3's and VidTok's tokenizers on clips, against their libraries' own ways, traps included."""

import pytest
import torch

from mmgen.checkpoints.folder import Weightless
from mmgen.checkpoints.vidtok import load_tokenizer
from mmgen.errors import OptionError, SizeError, WeightsError
from mmgen.tokenizers.emu3_vq import Emu3VQ
from mmgen.tokenizers.vidtok import VidTok

EMU3 = {
    "codebook_size": 64,
    "base_channels": 32,
    "channel_multiplier": [1, 2],
    "num_res_blocks": 1,
    "attn_resolutions": [1],
    "hidden_size": 64,
}
VIDTOK = {
    "ch": 32,
    "ch_mult": [1, 1, 1],
    "z_channels": 4,
    "double_z": False,
    "num_res_blocks": 1,
    "spatial_ds": [0, 1],
    "spatial_us": [1, 2],
    "tempo_ds": [0, 1],
    "tempo_us": [1, 2],
    "regularizer": "fsq",
    "codebook_size": 4096,
}


def varied(model: torch.nn.Module) -> torch.nn.Module:
    """A model with weights that make its codes differ, the same in every run."""
    generator = torch.Generator().manual_seed(0)
    for name, value in model.state_dict().items():
        if value.ndim > 1:
            value.normal_(0, 1.4 / value[0].numel() ** 0.5, generator=generator)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 2, generator=generator)
        elif value.is_floating_point() and value.ndim and not name.endswith("weight"):
            value.normal_(0, 0.1, generator=generator)
    return model.eval().requires_grad_(False)


def clip(*size: int) -> torch.Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture(scope="module")
def emu3():
    return varied(Emu3VQ(vq_config=EMU3))


@pytest.fixture(scope="module", params=[True, False], ids=["causal", "looking ahead"])
def vidtok(request):
    return varied(VidTok(vidtok_config=VIDTOK | {"is_causal": request.param}))


@torch.no_grad()
def test_emu3_reads_wide_clips_as_transformers_does(emu3):
    clips = clip(8, 16, 24)
    codes = emu3.encode(clips)
    assert codes.shape == (2, 1, 2, 8, 12) and len(codes.unique()) > 8 and emu3.frame_stride == 4
    own = emu3.vqvae.encoder(clips.transpose(1, 2))
    expected = emu3.vqvae.quantize(emu3.vqvae.quant_conv(own.transpose(1, 2)).transpose(1, 2))
    assert torch.equal(codes[:, 0], expected)
    drawn = emu3.vqvae.decode(expected).transpose(1, 2)
    assert (emu3._decode_clips(codes) - drawn).abs().max() < 1e-5 * drawn.abs().max()


@torch.no_grad()
def test_emu3_keeps_what_transformers_cuts_off(emu3):
    """transformers gives back as many code frames as rows, and as many rows as columns, whatever there are."""
    clips = clip(8, 24, 16)
    cut = emu3.vqvae.encode(clips.transpose(1, 2), torch.tensor([[24, 16]] * 2)).image_tokens
    codes = emu3.encode(clips)
    assert codes.shape == (2, 1, 2, 12, 8) and cut[0].shape == (2, 8, 8)
    assert torch.equal(codes[:, 0, :, :8], torch.stack(cut))


@torch.no_grad()
@pytest.mark.parametrize("size", [(1, 8, 8), (5, 15, 9)], ids=str)
def test_clips_of_any_size_come_back_as_they_went_in(emu3, size):
    clips = clip(*size)
    codes = emu3.encode(clips)
    assert emu3.decode(codes, size).shape == clips.shape
    whole = emu3.decode(codes)
    assert torch.equal(emu3.decode(codes, size), whole[:, :, : size[0], : size[1], : size[2]])
    assert all(0 <= made - given < step for made, given, step in zip(whole.shape[2:], size, (4, 2, 2), strict=True))


@torch.no_grad()
def test_a_clip_of_equal_frames_is_the_picture(emu3):
    picture = clip(16, 24)
    codes = emu3.encode(picture)
    assert torch.equal(emu3.encode(picture.unsqueeze(2).expand(-1, -1, 4, -1, -1))[:, 0], codes)
    assert (emu3.decode(codes.unsqueeze(1))[:, :, 0] - emu3.decode(codes)).abs().max() < 1e-4


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 8, 18])
def test_vidtok_does_what_its_own_forward_does(vidtok, frames):
    clips = clip(frames, 8, 12)
    whole = frames + (vidtok.autoencoder.is_causal and frames % 4 == 0)  # its own would make up a step too many
    own = vidtok.autoencoder(clips[:, :, [*range(frames), -1][:whole]]).sample[:, :, :frames]
    codes = vidtok.encode(clips)
    assert codes.dtype == torch.long and len(codes.unique()) > 8
    assert own.shape == clips.shape
    assert (vidtok.decode(codes, clips.shape[2:]) - own.clamp(-1, 1)).abs().max() < 1e-4


@torch.no_grad()
@pytest.mark.parametrize("size", [(5, 9, 15), (2, 13, 9)], ids=str)
def test_vidtok_takes_sizes_that_its_own_does_not(vidtok, size):
    clips = clip(*size)
    codes = vidtok.encode(clips)
    assert codes.shape[3:] == (-(-size[1] // 4), -(-size[2] // 4)) and vidtok.stride == vidtok.frame_stride == 4
    assert vidtok.decode(codes, size).shape == clips.shape


@torch.no_grad()
def test_vidtok_codes_stand_for_vectors(vidtok):
    codes = vidtok.encode(clip(1, 8, 8))
    vectors = vidtok.codebook
    assert vectors.shape == (4096, 4) and len(vectors.unique(dim=0)) == 4096
    latents = torch.nn.functional.embedding(codes[:, 0], vectors).permute(0, 4, 1, 2, 3)
    assert (vidtok.autoencoder.decode(latents).clamp(-1, 1) - vidtok.decode(codes)).abs().max() < 1e-4


def test_saved_and_loaded(vidtok, tmp_path):
    vidtok.save_pretrained(tmp_path)
    again = VidTok.from_pretrained(tmp_path).eval()
    codes = torch.arange(16).view(1, 1, 4, 2, 2)
    assert torch.equal(again.decode(codes), vidtok.decode(codes))


def test_what_does_not_fit(emu3, vidtok):
    for tokenizer in (emu3, vidtok):
        with pytest.raises(SizeError, match="B, 3, T, H, W"):
            tokenizer.encode(torch.zeros(1, 4, 8, 16, 16))
        codes = torch.zeros(1, 1, 4, 2, 2, dtype=torch.long)
        with pytest.raises(SizeError, match="up to"):
            tokenizer.decode(codes, (99, 16, 16))
    if not vidtok.autoencoder.is_causal:
        with pytest.raises(SizeError, match="multiple of 4"):
            vidtok.decode(torch.zeros(1, 1, 3, 2, 2, dtype=torch.long))
    with pytest.raises(OptionError, match="fsq"):
        VidTok(vidtok_config={})


def published(vidtok: VidTok, path, **others: torch.Tensor):
    """A file as VidTok's authors write it, with the weights of their losses."""
    weights = vidtok.autoencoder.state_dict() | {"loss.logvar": torch.zeros(1)} | others
    torch.save({"state_dict": weights}, path)
    return path


def test_vidtok_is_known_by_its_weights(vidtok, tmp_path):
    path = published(vidtok, tmp_path / "vidtok_fsq_488_4096_v1_1.ckpt")
    again = load_tokenizer(path)
    codes = torch.arange(16).view(1, 1, 4, 2, 2)
    assert again.autoencoder.is_causal == vidtok.autoencoder.is_causal
    assert torch.equal(again.decode(codes), vidtok.decode(codes))
    assert torch.equal(again.encode(clip(5, 8, 8)), vidtok.encode(clip(5, 8, 8)))


def test_vidtok_files_that_are_refused(vidtok, tmp_path):
    path = published(vidtok, tmp_path / "vidtok_fsq_488_4096.ckpt")
    if vidtok.autoencoder.is_causal:
        with pytest.raises(WeightsError, match=r"version 1\.1"):
            load_tokenizer(path)
    else:
        assert not load_tokenizer(path).autoencoder.is_causal
    name = next(name for name in vidtok.autoencoder.state_dict() if name.startswith("encoder.conv_out"))
    shape = vidtok.autoencoder.state_dict()[name].shape
    doubled = published(vidtok, tmp_path / "vidtok_kl_v1_1.ckpt", **{name: torch.zeros(2 * shape[0], *shape[1:])})
    with pytest.raises(WeightsError, match="not discrete"):
        load_tokenizer(doubled)
    torch.save({"state_dict": {"encoder.norm.weight": torch.zeros(3)}}, tmp_path / "other.ckpt")
    with pytest.raises(WeightsError, match="does not describe a tokenizer of VidTok"):
        load_tokenizer(tmp_path / "other.ckpt")


def test_vidtok_of_the_published_size():
    with Weightless():
        model = VidTok(vidtok_config={"z_channels": 5, "double_z": False, "regularizer": "fsq", "codebook_size": 32768})
    assert (model.stride, model.frame_stride, model.autoencoder.is_causal) == (8, 4, True)
