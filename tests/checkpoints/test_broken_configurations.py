"""Configurations that describe no model: one line with a cure, at once, and before anything large is built."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tokenizers.models import WordLevel

import mmgen
from mmgen.backbones.chameleon import ChameleonTransformer
from mmgen.backbones.emu3 import Emu3Transformer
from mmgen.backbones.raster import RasterTransformer
from mmgen.catalog import read_json
from mmgen.checkpoints import chameleon, emu3, janus, lumina_mgpt2
from mmgen.checkpoints.folder import load_model
from mmgen.errors import WeightsError
from tokenizers import Tokenizer

TEXT = {
    "vocab_size": 64, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 2,
}  # fmt: skip
VQ = {"channel_multiplier": [1], "num_res_blocks": 1, "base_channels": 32}
WORDS = ("<|extra_203|>", "<|image start|>", "<|image token|>", "<|visual token 000000|>", "<|extra_200|>")
OFFICIAL = {
    "model_type": "multi_modality",
    "language_config": TEXT,
    "gen_vision_config": {"params": {"image_token_size": 16, "n_embed": 8}},
    "gen_aligner_config": {"params": {"depth": 2}},
}
FAMILIES: dict[str, dict[str, Any]] = {
    "janus": {"model_type": "janus", "text_config": TEXT, "vq_config": VQ | {"num_embeddings": 16}},
    "official janus": OFFICIAL,
    "emu3": {"model_type": "emu3", "text_config": TEXT, "vq_config": VQ | {"codebook_size": 16}},
    "chameleon": {"model_type": "chameleon", "vocabulary_map": {"IMGIMGAZ": 4, "IMGIMGBZ": 5}} | TEXT,
    "lumina_mgpt2": {"model_type": "chameleon"} | TEXT | {"vocab_size": 171385},
}
PARTS = {"janus": "text_config", "official janus": "language_config", "emu3": "text_config"}


def write(folder, config: Any) -> None:
    """A folder of a configuration, a text tokenizer, and a few weights that fit nothing."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    words = Tokenizer(WordLevel({word: number for number, word in enumerate(("<unk>", *WORDS))}, unk_token="<unk>"))
    words.save(str(folder / "tokenizer.json"))
    save_file({"model.odd": torch.zeros(1)}, folder / "model.safetensors")


def broken(family: str, changes: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a family, with changes to what it says of the language model."""
    config, part = FAMILIES[family], PARTS.get(family)
    return config | changes if part is None else config | {part: config[part] | changes}


def refusal(folder) -> str:
    with pytest.raises(WeightsError) as caught:
        mmgen.load(str(folder))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    return str(caught.value).removeprefix(f"{folder}/")


@pytest.mark.parametrize("family", FAMILIES)
def test_without_a_fault_it_is_the_weights_that_do_not_fit(tmp_path, family):
    write(tmp_path, FAMILIES[family])
    assert "config.json" not in refusal(tmp_path).split(";")[0]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"vocab_size": "x"}, ""),
        ({"hidden_size": "x"}, "expected int, got str"),
        ({"num_attention_heads": 0}, ""),
        ({"hidden_act": "mine"}, "mine.* is missing or unknown"),
        ({"rope_parameters": {"rope_type": "mine", "rope_theta": 1e4}}, "'mine' is missing or unknown"),
        ({"rope_parameters": [1]}, ""),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers=1000000: needed is at most 64, for . tensors"),
        ({"hidden_size": 10**9}, "hidden_size=1000000000: needed is at most 1048576"),
        ({"max_position_embeddings": 2**40}, "needed is at most 2147483648"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_said_of_the_language_model(tmp_path, family, changes, reason):
    write(tmp_path, broken(family, changes))
    message = refusal(tmp_path)
    assert message.startswith("config.json: does not describe a") and message.endswith("; fetch it again")
    assert re.search(reason, message), message


@pytest.mark.parametrize(
    "family, changes, reason",
    [
        ("janus", {"text_config": None}, ""),
        ("janus", {"vq_config": None}, ""),
        ("janus", {"vq_config": {"num_res_blocks": 10**9}}, "blocks=1000000000: needed is at most 64"),
        ("janus", {"vq_config": {"channel_multiplier": [1] * 10**4}}, "10000 numbers"),
        ("official janus", {"language_config": None}, ""),
        ("official janus", {"gen_vision_config": [1]}, ""),
        ("official janus", {"gen_aligner_config": {"params": {"depth": 10**7}}}, "aligner_layers=10000000"),
        ("emu3", {"text_config": None}, ""),
        ("emu3", {"vq_config": [1]}, ""),
        ("emu3", {"vq_config": {"channel_multiplier": []}}, "list index out of range"),
        ("emu3", {"vq_config": {"base_channels": 10**9}}, "base_channels=1000000000"),
        ("emu3", {"vocabulary_map": [1]}, ""),
        ("chameleon", {"vocabulary_map": [1]}, ""),
        ("chameleon", {"vocabulary_map": {"IMGIMGxyz": 4}}, "invalid literal"),
        ("chameleon", {"vocabulary_map": {"IMGIMGAZ": 4, "IMGIMGBZ": "x"}}, ""),
        ("chameleon", {"vocabulary_map": {"IMGIMGAZ": 4, "IMGIMGBZ": 10**9}}, "order=1000000000|within the 64 words"),
        ("chameleon", {"vocab_size": 5}, "keeps 2 codes .* within the 5 words"),
        ("chameleon", {"architectures": 3}, ""),
        ("lumina_mgpt2", {"vocab_size": 160000}, "keeps 16384 codes .* within the 160000 words"),
    ],
)
def test_what_is_said_of_the_rest(tmp_path, family, changes, reason):
    write(tmp_path, FAMILIES[family] | changes)
    message = refusal(tmp_path)
    assert message.startswith("config.json: does not describe a") and message.endswith("; fetch it again")
    assert re.search(reason, message), message


@pytest.mark.parametrize("family", [chameleon, emu3, janus, lumina_mgpt2])
def test_recognising_never_raises(tmp_path, family):
    configs: list[Any] = ["[" * 200_000, "{", "[]", {"model_type": ["x"]}, {"model_type": {"x": 1}}]
    configs += [{"model_type": "chameleon", "vocab_size": size} for size in ("x", None, [1], {}, 1e400)]
    for config in configs:
        write(tmp_path, config)
        assert isinstance(family.recognise(tmp_path), bool)


def test_a_nest_is_no_configuration(tmp_path):
    (tmp_path / "config.json").write_text("[" * 200_000)
    with pytest.raises(WeightsError, match=r"config.json: cannot be read .*recursion"):
        read_json(tmp_path / "config.json")


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"layers": 10**6}, "layers=1000000: needed is at most 64, for"),
        ({"size": 2**40}, "size=1099511627776: needed is at most 2147483648"),
        ({"heads": 0}, "zero"),
        ({"hidden_size": "x"}, ""),
        ({"height": None}, ""),
    ],
)
def test_folders_of_ours(tmp_path, changes, reason):
    RasterTransformer(32, 4, 4, 3, size=16, layers=1, heads=2, hidden_size=32).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["heads"] == 2 and load_model(RasterTransformer, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(WeightsError, match=rf"does not describe a RasterTransformer \(.*{reason}.*fetch the folder"):
        load_model(RasterTransformer, tmp_path)


def ours(**changes: Any) -> dict[str, Any]:
    return {"_class_name": "x", "text_config": TEXT, "first_code": 4, "codes": 16} | changes


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({}, ""),
        ({"text_config": TEXT | {"hidden_size": "x"}}, "expected int, got str"),
        ({"text_config": TEXT | {"num_hidden_layers": 10**6}}, "num_hidden_layers=1000000"),
        ({"text_config": TEXT | {"vocab_size": 2**30}, "codes": 10**9}, "vocab_size=1073741824"),
        ({"codes": 10**9}, "keeps 1000000000 codes and the word that ends rows within the 64 words there are"),
        ({"first_code": -1}, "first_code=-1"),
        ({"codes": 61}, "keeps 61 codes .* within the 64 words"),
        ({"row_end": 64}, "first_code=4"),
    ],
)
@pytest.mark.parametrize("kind", [ChameleonTransformer, Emu3Transformer])
def test_language_models_of_ours(tmp_path, kind, changes, reason):
    write(tmp_path, ours(row_end=None) | changes)
    told = rf"does not describe a {kind.__name__} \(.*{reason}" if changes else "missing keys"
    with pytest.raises(WeightsError, match=told):
        load_model(kind, tmp_path)


@pytest.mark.parametrize("changes", [{"ch_mult": []}, {"ch_mult": 3}, {"ch": "x"}, {"num_res_blocks": 10**9}])
def test_the_tokenizer_of_emu3s_authors(tmp_path, changes):
    write(tmp_path, FAMILIES["emu3"])
    write(tmp_path / "vision", {"model_type": "Emu3VisionVQ", "ch": 32, "ch_mult": [1, 2]} | changes)
    with pytest.raises(WeightsError, match=r"vision/config.json: does not describe Emu3's tokenizer of pictures"):
        mmgen.load(str(tmp_path), tokenizer=tmp_path / "vision")


@pytest.mark.parametrize("changes", [{"n_heads": 0}, {"n_layers": 10**6}, {"n_layers": "x"}, {"model": [1]}])
def test_metas_parameters(tmp_path, changes):
    model, words = tmp_path / "models/7b", tmp_path / "tokenizer"
    model.mkdir(parents=True)
    write(words, {})
    (words / "tokenizer.json").rename(words / "text_tokenizer.json")
    state = {"tok_embeddings.weight": torch.zeros(64, 8), "layers.0.feed_forward.w1.weight": torch.zeros(8, 8)}
    torch.save(state, model / "consolidated.pth")
    params = {"n_layers": 1, "n_heads": 2, "norm_eps": 1e-5, "swin_norm": False}
    (model / "params.json").write_text(json.dumps(params | changes))
    assert refusal(tmp_path).startswith("models/7b/params.json: does not describe a Chameleon")


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"encoder.down.0.block.1000000000.conv2.weight": (8, 8)}, "blocks=1000000001"),
        ({"encoder.conv_in.weight": (0, 3)}, "zero"),
        ({"encoder.conv_in.weight": ()}, "out of range"),
        ({"quantize.embedding.weight": (4,)}, "not enough values"),
    ],
)
def test_names_and_shapes_of_a_tokenizer(tmp_path, changes, reason):
    shapes = {
        "quantize.embedding.weight": (4, 8), "encoder.conv_in.weight": (32, 3), "encoder.conv_out.weight": (8, 32),
        "encoder.down.0.block.0.conv2.weight": (32, 32), "decoder.conv_in.weight": (32, 8),
    }  # fmt: skip
    torch.save({name: torch.zeros(shape) for name, shape in (shapes | changes).items()}, tmp_path / "vqgan.ckpt")
    with pytest.raises(WeightsError, match=rf"vqgan.ckpt: does not describe a VQ tokenizer \(.*{reason}"):
        chameleon.load_tokenizer(tmp_path / "vqgan.ckpt")
