"""LlamaGen's published files: every kind and size is read, and says what the authors' code says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

import mmgen
from mmgen import decoding
from mmgen.backbones.backbone import Prompt
from mmgen.backbones.llamagen import LlamaGenTransformer
from mmgen.checkpoints import llamagen
from mmgen.checkpoints.folder import Weightless
from mmgen.checkpoints.weights import Weights
from mmgen.cli import main
from mmgen.errors import OptionError, WeightsError
from mmgen.rng import Rng
from mmgen.sampling import Sampling
from mmgen.sessions.raster import RasterSession

CASES = {
    "c2i_greedy_cfg1": Sampling(temperature=0),
    "c2i_greedy_cfg4": Sampling(temperature=0, guidance=4.0),
    "c2i_sample_cfg4_topk20": Sampling(guidance=4.0, top_k=20),
    "t2i_greedy_cfg7.5_left": Sampling(temperature=0, guidance=7.5),
    "t2i_greedy_cfg7.5_right": Sampling(temperature=0, guidance=7.5),
}


@pytest.fixture(scope="module")
def folder(goldens: Path) -> Path:
    return goldens / "llamagen"


def transformer(path: Path) -> LlamaGenTransformer:
    weights = llamagen.published(path)
    config = llamagen.configuration(weights, heads=4)
    with Weightless():
        model = LlamaGenTransformer(**config, height=4, width=4)
    return llamagen.fill(model, weights.arranged(llamagen.arrangement(config)))


def prompts(model: LlamaGenTransformer, case: dict[str, Tensor]) -> tuple[Prompt, Prompt]:
    if "emb_masks" in case:
        mask = case["emb_masks"].bool()
        return model.caption_prompt(case["cond"], mask), model.null_caption_prompt(len(mask), mask)
    null = torch.full_like(case["cond"], model.config.classes)
    return model.class_prompt(case["cond"]), model.class_prompt(null)


def open_case(folder: Path, name: str) -> tuple[RasterSession, dict[str, Tensor]]:
    model = transformer(folder / f"{name[:3]}.safetensors")
    case = load_file(folder / f"{name}.safetensors")
    return RasterSession(model, model.layout, *prompts(model, case), CASES[name]), case


@pytest.mark.parametrize("name", CASES)
def test_logits_are_the_authors(folder: Path, name: str) -> None:
    session, case = open_case(folder, name)
    session.open(16)
    begin = torch.full_like(case["tokens"][:, :1], session.begin_token)
    probs = session.score(torch.cat((begin, case["tokens"][:, :-1].long()), dim=1))
    backbone = session.backbone
    logits = backbone.head(backbone.norm(session._streams[-1]))
    torch.testing.assert_close(logits.transpose(0, 1), case["raw_logits"], rtol=0, atol=1e-4)
    if CASES[name].temperature:
        torch.testing.assert_close(probs.transpose(0, 1), case["probs"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("decoder", ["autoregressive", "jacobi", "seeded-speculative"])
@pytest.mark.parametrize("name", [name for name, sampling in CASES.items() if not sampling.temperature])
def test_greedy_tokens_are_the_authors(folder: Path, name: str, decoder: str) -> None:
    session, case = open_case(folder, name)
    generation = decoding.make(decoder).generate(session, Rng([0, 1]))
    assert torch.equal(generation.tokens, case["tokens"])


def test_drawn_tokens_are_the_authors_with_their_noise(folder: Path) -> None:
    name = "c2i_sample_cfg4_topk20"
    session, case = open_case(folder, name)
    seed = json.loads((folder / "meta.json").read_text())["cases"][name]["seed"]
    session.open(1)
    noise, tokens = torch.Generator().manual_seed(seed), torch.full((2, 1), session.begin_token)
    for position in range(session.length):
        session.rewind(torch.full((2,), position))
        tokens = torch.multinomial(session.score(tokens)[:, 0], 1, generator=noise)
        assert torch.equal(tokens[:, 0], case["tokens"][:, position]), position


def test_teacher_forced_logits_are_the_authors(folder: Path) -> None:
    model, case = transformer(folder / "c2i.safetensors"), load_file(folder / "c2i_train.safetensors")
    session = RasterSession(model, model.layout, *prompts(model, case), Sampling())
    session.open(16)
    session.score(torch.cat((torch.full((2, 1), session.begin_token), case["z"][:, :-1]), dim=1))
    logits = model.head(model.norm(session._streams[-1]))
    torch.testing.assert_close(logits, case["logits"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["c2i_ddp.pt", "c2i_fsdp.pt", "deepspeed", "lightning"])
def test_every_published_kind_of_file_is_read(folder: Path, tmp_path: Path, name: str) -> None:
    reference, path = load_file(folder / "c2i.safetensors"), folder / name
    if not path.suffix:
        path = tmp_path / f"{name}.pt"
        torch.save({{"deepspeed": "module", "lightning": "state_dict"}[name]: reference}, path)
    state, reference = transformer(path).state_dict(), transformer(folder / "c2i.safetensors").state_dict()
    assert state.keys() == reference.keys() and all(torch.equal(state[key], reference[key]) for key in state)


def test_what_sampling_leaves_in_a_file_is_dropped(folder: Path, tmp_path: Path) -> None:
    state = load_file(folder / "c2i.safetensors")
    for name in ("freqs_cis", "layers.0.attention.kv_cache.k_cache", "layers.2.attention.kv_cache.v_cache"):
        state[name] = torch.zeros(3)
    torch.save({"model": state}, tmp_path / "c2i_B_256.pt")
    assert transformer(tmp_path / "c2i_B_256.pt").blocks[2].down.weight.shape == (64, 256)
    state["medusa_output.weight"] = torch.zeros(3)
    torch.save({"model": state}, tmp_path / "c2i_B_256.pt")
    with pytest.raises(WeightsError, match="medusa_output"):
        transformer(tmp_path / "c2i_B_256.pt")


def published_shapes(size: str, kind: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes in a published file."""
    layers, channels, _ = llamagen.SIZES[size]
    hidden = -(-(8 * channels // 3) // 256) * 256
    if kind == "c2i":
        shapes = {"cls_embedding.embedding_table.weight": (1001, channels)}
    else:
        shapes = {"cls_embedding.uncond_embedding": (120, 2048)}
        shapes["cls_embedding.cap_proj.fc1.weight"] = (channels, 2048)
        shapes["cls_embedding.cap_proj.fc2.weight"] = (channels, channels)
    shapes |= {name: (16384, channels) for name in ("tok_embeddings.weight", "output.weight")}
    for layer in range(layers):
        for name, shape in (
            ("attention_norm.weight", (channels,)),
            ("attention.wqkv.weight", (3 * channels, channels)),
            ("attention.wo.weight", (channels, channels)),
            ("ffn_norm.weight", (channels,)),
            ("feed_forward.w1.weight", (hidden, channels)),
            ("feed_forward.w3.weight", (hidden, channels)),
            ("feed_forward.w2.weight", (channels, hidden)),
        ):
            shapes[f"layers.{layer}.{name}"] = shape
    return shapes | {"norm.weight": (channels,)}


@pytest.mark.parametrize("size", llamagen.SIZES)
@pytest.mark.parametrize("kind", ["c2i", "t2i"])
def test_published_sizes_have_our_shapes(folder: Path, size: str, kind: str) -> None:
    about = json.loads((folder / "published_shapes.json").read_text())[f"GPT-{size}/{kind}"]
    shapes = published_shapes(size, kind)
    if about["keys"] is not None:
        assert shapes == {name: tuple(shape) for name, shape in about["keys"].items()}
    assert len(shapes) == about.get("n_keys", len(shapes))
    layers, channels, heads = llamagen.SIZES[size]
    assert channels // heads == about["head_dim"]
    with Weightless():
        weights = Weights(Path(size), {name: torch.empty(shape) for name, shape in shapes.items()})  # type: ignore[arg-type]
        config = llamagen.configuration(weights)
        model = LlamaGenTransformer(**config)
    assert (config["layers"], config["heads"], config["hidden_size"]) == (layers, heads, about["ffn"])
    ours = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    arrangement = llamagen.arrangement(config)
    assert {name for names in arrangement.values() for name in names} == set(shapes)
    for name, parts in arrangement.items():
        first, *rest = (shapes[part] for part in parts)
        assert ours.pop(name) == (first[0] + sum(shape[0] for shape in rest), *first[1:])
    assert not ours
    assert sum(p.numel() for p in model.parameters()) == about["params"]


def test_a_file_becomes_a_pipeline_and_a_folder(folder: Path, tmp_path: Path) -> None:
    given = {"tokenizer": folder / "vq16.pt", "image_size": 64, "heads": 4}
    pipe = mmgen.load(str(folder / "c2i_ddp.pt"), **given)
    case = load_file(folder / "c2i_greedy_cfg4.safetensors")
    out = pipe([str(label) for label in case["cond"].tolist()], seed=0, temperature=0, top_k=0, output_type="latent")
    assert torch.equal(out.images.flatten(1), case["tokens"].long())
    pipe.save_pretrained(tmp_path)
    again = mmgen.load(str(tmp_path))
    assert again.revision == pipe.revision
    left, right = (p(3, seed=5).images[0].tobytes() for p in (pipe, again))
    assert left == right


def test_what_the_file_does_not_say_is_asked_for(folder: Path, tmp_path: Path) -> None:
    file, tokenizer = str(folder / "c2i.safetensors"), folder / "vq16.pt"
    with pytest.raises(OptionError, match="attention heads"):
        mmgen.load(file, tokenizer=tokenizer, image_size=64)
    with pytest.raises(OptionError, match="256, 384 or 512"):
        mmgen.load(file, tokenizer=tokenizer, heads=4)
    with pytest.raises(OptionError, match="multiple of the tokenizer's stride 16"):
        mmgen.load(file, tokenizer=tokenizer, heads=4, image_size=72)
    with pytest.raises(OptionError, match="text_encoder"):
        mmgen.load(str(folder / "t2i.safetensors"), tokenizer=tokenizer, heads=4, image_size=64)
    with pytest.raises(OptionError, match="one of tokenizer, text_encoder, image_size, heads"):
        mmgen.load(file, tokeniser=tokenizer)
    save_file(load_file(file), tmp_path / "c2i_B_256.safetensors")
    with pytest.raises(WeightsError, match="vq_ds16_c2i"):
        mmgen.load(str(tmp_path / "c2i_B_256.safetensors"), heads=4)
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="no checkpoint that mmgen knows"):
        mmgen.load(str(tmp_path / "other.safetensors"))


def test_slips_of_the_keyboard_are_refused(folder: Path, tmp_path: Path) -> None:
    file, given = str(folder / "c2i.safetensors"), {"tokenizer": folder / "vq16.pt", "image_size": 64, "heads": 4}
    for heads in (-4, 0, 3, 32):
        with pytest.raises(OptionError, match="shared by them in fours"):
            mmgen.load(file, **(given | {"heads": heads}))
    with pytest.raises(OptionError, match="up to 4096"):
        mmgen.load(file, **(given | {"image_size": 1_600_000}))
    for name in ("c2i_B_256.safetensors", "vq_ds16_c2i.safetensors"):
        save_file(load_file(file), tmp_path / name)
    with pytest.raises(WeightsError, match="give the transformer's: c2i_B_256"):
        mmgen.load(str(tmp_path))


def test_convert_writes_a_whole_folder_or_none(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = ["--tokenizer", str(folder / "vq16.pt"), "--image-size", "64", "--heads", "4"]
    convert = ["convert", str(folder / "c2i.safetensors")]
    (tmp_path / ".new.tmp").mkdir()
    assert main([*convert, str(tmp_path / "new"), *given]) == 0
    assert mmgen.load(str(tmp_path / "new"))("3", seed=1).images
    assert sorted(path.name for path in tmp_path.iterdir()) == [".new.tmp", "new"]
    assert main([*convert, str(tmp_path / "new"), *given]) == 1
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert main([*convert, ".", *given]) == 0 and (tmp_path / "empty" / "model_index.json").is_file()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert main([*convert, str(tmp_path / "link"), *given]) == 1

    def fail(pipe: object, place: Path) -> None:
        (Path(place) / "half").write_text("of it")
        raise SafetensorError("File too large")

    monkeypatch.setattr("mmgen.pipelines.pipeline.Pipeline.save_pretrained", fail)
    assert main([*convert, str(tmp_path / "other"), *given]) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [".new.tmp", "empty", "link", "new"]
