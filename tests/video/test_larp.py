"""LARP's tokenizer against what the authors' code makes of the same weights."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmgen.checkpoints import larp
from mmgen.errors import SizeError, WeightsError
from mmgen.tokenizers.larp import LARP


@pytest.fixture(scope="module")
def files(goldens, tmp_path_factory):
    """A folder as the authors hand it out."""
    folder = tmp_path_factory.mktemp("larp")
    shutil.copy(goldens / "nar/larp_tokenizer.pt", folder / "tokenizer.pth")
    shutil.copy(goldens / "nar/larp_tokenizer_config.json", folder / "tokenizer.json")
    return folder


@pytest.fixture(scope="module")
def tokenizer(files):
    return larp.load_tokenizer(files)


@pytest.fixture(scope="module")
def golden(goldens):
    return load_file(goldens / "nar/larp_tokenizer_io.safetensors")


def test_codes_and_clips_are_the_authors(tokenizer, golden):
    assert tokenizer.codes_grid == (2, 4, 4) and len(tokenizer.codebook) == 96
    codes = tokenizer.encode(golden["video"] * 2 - 1)
    assert codes.shape == (2, 1, 2, 4, 4)
    assert torch.equal(codes.flatten(1), golden["indices"])
    for tokens, clips in (("tokens", "pixels"), ("indices", "recon")):
        drawn = tokenizer._decode(golden[tokens].view(2, 1, 2, 4, 4))
        assert (drawn / 2 + 0.5 - golden[clips]).abs().max() < 2e-5
        assert torch.equal(tokenizer.decode(golden[tokens].view(2, 1, 2, 4, 4)), drawn.clamp(-1, 1))


def test_the_hub_layout_is_the_same(files, tokenizer, golden, tmp_path):
    """Safetensors beside a config.json, with the prior that training leaves in it."""
    weights = torch.load(files / "tokenizer.pth", weights_only=True)
    prior = {"prior_model.tok_emb.weight": torch.zeros(4, 4)}
    save_file({name: tensor.contiguous() for name, tensor in weights.items()} | prior, tmp_path / "model.safetensors")
    shutil.copy(files / "tokenizer.json", tmp_path / "config.json")
    again = larp.load_tokenizer(tmp_path)
    codes = golden["tokens"].view(2, 1, 2, 4, 4)
    assert torch.equal(again.decode(codes), tokenizer.decode(codes))


def test_saved_and_loaded(tokenizer, golden, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = LARP.from_pretrained(tmp_path)
    codes = golden["tokens"].view(2, 1, 2, 4, 4)
    assert torch.equal(again.decode(codes), tokenizer.decode(codes))


def test_the_published_size():
    with torch.device("meta"):
        model = LARP()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert model.codes_grid == (4, 16, 16)
    # The authors count 172.2 M with fixed tables, which are buffers in their code: three of 1024 x 768.
    assert abs(parameters - 3 * 1024 * 768 - 172.2e6) < 1e5


@pytest.mark.parametrize(
    "change, words",
    [
        ({"patch_size": 4}, "unequal patch_size and decoder_patch_size"),
        ({"transformer_name": "transformer_encoder_fused"}, "another kind"),
        ({"frame_num": "many"}, "does not describe LARP"),
        ({"frame_num": 7}, "multiples"),
        ({"encoder_num_heads": None, "decoder_num_heads": None}, "does not describe LARP"),
        ({"bottleneck": {}}, "args"),
        ({"input_size": 64}, "has shape"),
        ({"encoder_depth": 3, "decoder_depth": 3}, "missing"),
    ],
)
def test_configurations_that_do_not_fit(files, tmp_path, change, words):
    shutil.copy(files / "tokenizer.pth", tmp_path)
    config = json.loads((files / "tokenizer.json").read_text()) | change
    (tmp_path / "tokenizer.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=words):
        larp.load_tokenizer(tmp_path / "tokenizer.pth")


def test_without_a_configuration(files, tmp_path):
    shutil.copy(files / "tokenizer.pth", tmp_path)
    with pytest.raises(WeightsError, match="holds 0 configurations"):
        larp.load_tokenizer(tmp_path)


def test_other_sizes_are_refused(tokenizer):
    with pytest.raises(SizeError, match=r"\[8, 32, 32\]"):
        tokenizer.encode(torch.zeros(1, 3, 8, 32, 48))
    with pytest.raises(SizeError, match="B, 1, 2, 4, 4"):
        tokenizer.decode(torch.zeros(1, 1, 4, 4, 2, dtype=torch.long))
