"""VAR's published files become pipelines and folders of ours; what is none of them is refused."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from next_scale.official import SIZES_256, SIZES_512, tables
from safetensors.torch import save_file

import mmgen
from mmgen.checkpoints import published, var, var_tokenizer
from mmgen.checkpoints.weights import Weights
from mmgen.errors import OptionError, WeightsError


def load_state(path):
    return torch.load(path, weights_only=True)


def test_everything_is_read_from_the_tensors(shared_files, pair_files):
    config = var.configuration(Weights.open(shared_files / "var_d2.pth"))
    sizes = {"vocabulary_size": 64, "code_channels": 8, "sizes": (1, 2, 3, 4, 6), "size": 128, "layers": 2, "heads": 2}
    assert config == sizes | {"hidden_size": 512, "classes": 10, "shared_modulation": True, "normalised": True}
    config = var.configuration(Weights.open(pair_files / "drafter_8.pth"))
    assert (config["sizes"], config["heads"], config["shared_modulation"]) == (SIZES_256, 3, False)
    config = var_tokenizer.tokenizer_configuration(Weights.open(shared_files / f"{var_tokenizer.TOKENIZER}.pth"))
    sizes = {"codebook_size": 64, "codebook_channels": 8, "channels": 32, "multipliers": [1, 1, 2, 2, 4], "blocks": 2}
    assert config == sizes


def test_every_number_arrives(shared_files, shared_pipeline):
    """In both directions: ours holds each published number, and nothing but those and the keys' bias."""
    state = load_state(shared_files / "var_d2.pth")
    ours = shared_pipeline.transformer.state_dict()
    for name, parts in var.arrangement(shared_pipeline.transformer.config).items():
        assert torch.equal(ours.pop(name), torch.cat([state.pop(part) for part in parts]))
    assert not ours and set(state) == set(tables((1, 2)))
    state = load_state(shared_files / f"{var_tokenizer.TOKENIZER}.pth")
    ours = shared_pipeline.tokenizer.state_dict()
    attention = ours["decoder.levels.0.attentions.2.key.weight"]
    assert torch.equal(attention, state["decoder.up.4.attn.2.qkv.weight"].chunk(3)[1])
    assert torch.equal(ours["encoder.levels.0.resample.weight"], state["encoder.down.0.downsample.conv.weight"])
    del state["quantize.ema_vocab_hit_SV"]
    assert sum(tensor.numel() for tensor in ours.values()) == sum(tensor.numel() for tensor in state.values())


@pytest.mark.parametrize("change", ["other sizes", "without levels", "unnormalised", "safetensors"])
def test_other_transformers(shared_files, tmp_path, change):
    state = load_state(shared_files / "var_d2.pth")
    expected = {"sizes": (1, 2, 3, 4, 6), "normalised": True}
    if change == "other sizes":
        expected["sizes"] = (1, 4, 7)  # as many tokens as (1, 2, 3, 4, 6)
        state |= tables((1, 4, 7))
        state["lvl_embed.weight"] = state["lvl_embed.weight"][:3].clone()
    elif change == "without levels":
        expected["sizes"] = SIZES_512
        del state["lvl_1L"]
        state["pos_1LC"] = torch.zeros(1, 2240, 128)
        state["lvl_embed.weight"] = torch.zeros(10, 128)
    elif change == "unnormalised":
        expected["normalised"] = False
        state = {name: tensor for name, tensor in state.items() if "scale_mul" not in name}
    path = tmp_path / ("var_d2.safetensors" if change == "safetensors" else "var_d2.pth")
    save_file(state, path) if change == "safetensors" else torch.save(state, path)
    config = var.load_transformer(path).config
    assert {name: config[name] for name in expected} == expected


def test_a_file_becomes_a_pipeline_and_a_folder(shared_files, tmp_path):
    pipe = mmgen.load(str(shared_files / "var_d2.pth"))
    assert type(pipe).__name__ == "VARPipeline" and published.recognise(shared_files / "var_d2.pth") is var
    pipe.decoder = mmgen.decoding.scales.make("scale-wise", unguided=2)
    pipe.save_pretrained(tmp_path / "folder")
    again = mmgen.load(str(tmp_path / "folder"))
    assert again.revision == pipe.revision and again.decoder == pipe.decoder
    assert again.config.sampling == pipe.config.sampling
    left, right = (p(3, seed=5).images[0].tobytes() for p in (pipe, again))
    assert left == right
    about = json.loads((tmp_path / "folder" / "mmgen.json").read_text())
    assert about == {"medium": "image", "family": "next-scale"}
    path = tmp_path / "folder" / "decoder" / "decoder_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"_class_name": "Popen"}))
    with pytest.raises(mmgen.errors.UnknownNameError, match="Popen"):
        mmgen.load(str(tmp_path / "folder"))


def test_a_pair_hands_over_as_it_was_trained(pair_pipeline, pair_files, tmp_path):
    assert pair_pipeline.decoder.handover == 8 and pair_pipeline.draft.config.layers == 2
    assert pair_pipeline.config.sampling["top_k"] == 600
    given = {"tokenizer": pair_files / f"{var_tokenizer.TOKENIZER}.pth"}
    shutil.copy(pair_files / "drafter_8.pth", tmp_path / "var_d3.pth")
    alone = mmgen.load(str(tmp_path / "var_d3.pth"), **given)
    assert alone.draft is None and alone.decoder.handover == 0
    pair = mmgen.load(str(tmp_path / "var_d3.pth"), draft=pair_files / "refiner_8.pth", **given)
    assert pair.draft.config.layers == 2 and pair.decoder.handover == 0
    with pytest.raises(OptionError, match="one of tokenizer, draft"):
        mmgen.load(str(tmp_path / "var_d3.pth"), tokeniser=given["tokenizer"])


def test_training_checkpoints(shared_files, tmp_path):
    state = load_state(shared_files / "var_d2.pth")
    vae = load_state(shared_files / f"{var_tokenizer.TOKENIZER}.pth")
    optimizer = {"optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-4}]}}
    trainer = {"config": {"patch_nums": (1, 2, 3, 4, 6)}, "var_wo_ddp": state, "vae_local": vae, "var_opt": optimizer}
    content = {"epoch": 3, "iter": 0, "trainer": trainer, "args": {"depth": 2, "pn": "1_2_3_4_6"}}
    torch.save(content, tmp_path / "ar-ckpt-best.pth")
    trained = mmgen.load(str(tmp_path / "ar-ckpt-best.pth"), tokenizer=shared_files / f"{var_tokenizer.TOKENIZER}.pth")
    published_state = var.load_transformer(shared_files / "var_d2.pth").state_dict()
    ours = trained.transformer.state_dict()
    assert ours.keys() == published_state.keys()
    assert all(torch.equal(ours[name], tensor) for name, tensor in published_state.items())


def test_weights_arrive_in_their_type(shared_files):
    pipe = mmgen.load(str(shared_files / "var_d2.pth"), dtype=torch.bfloat16)
    assert {weight.dtype for weight in pipe.transformer.parameters()} == {torch.bfloat16}
    assert pipe(3, seed=1, output_type="pt").images.isfinite().all()


@pytest.mark.parametrize(
    "name, words",
    [
        ("n_d_embed.weight", "1 unexpected keys .n_d_embed.weight"),
        ("blocks.1.ffn.fc2.bias", "1 missing keys .blocks.1.ffn.fc2.bias"),
        ("blocks.0.attn.zero_k_bias", "1 missing keys .blocks.0.attn.zero_k_bias"),
        ("word_embed.weight", "lacks 'word_embed.weight'"),
        ("lvl_1L", "66 tokens and no lvl_1L"),
        ("pos_start", r"begin has shape \[1, 3, 128\], the configuration needs \[1, 1, 128\]"),
    ],
)
def test_damaged_files(shared_files, tmp_path, name, words):
    state = load_state(shared_files / "var_d2.pth")
    if name == "n_d_embed.weight":
        state[name] = torch.zeros(2)
    elif name == "pos_start":
        state[name] = torch.zeros(1, 3, 128)
    else:
        del state[name]
    torch.save(state, tmp_path / "var_d2.pth")
    with pytest.raises(WeightsError, match=words) as caught:
        mmgen.load(str(tmp_path / "var_d2.pth"), tokenizer=shared_files / f"{var_tokenizer.TOKENIZER}.pth")
    assert "\n" not in str(caught.value)


def test_what_is_missing_is_asked_for(shared_files, tmp_path):
    shutil.copy(shared_files / "var_d2.pth", tmp_path / "var_d2.pth")
    with pytest.raises(WeightsError, match=r"tokenizer=.*vae_ch160v4096z32\.pth"):
        mmgen.load(str(tmp_path / "var_d2.pth"))
    with pytest.raises(WeightsError, match="give the tokenizer of VAR"):
        mmgen.load(str(tmp_path / "var_d2.pth"), tokenizer=tmp_path / "var_d2.pth")
    with pytest.raises(WeightsError, match="no checkpoint that mmgen knows"):
        mmgen.load(str(shared_files / f"{var_tokenizer.TOKENIZER}.pth"))
