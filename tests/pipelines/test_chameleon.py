"""Chameleon, Anole and Lumina-mGPT from published folders, against transformers' and diffusers' own parts."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from pipelines.chameleons import (
    BEGIN_OF_IMAGE,
    END_OF_TURN,
    HEADS,
    ROW_END,
    chameleon_vocabulary,
    their_codes,
    their_pixels,
    tiny_model,
    tiny_tokenizer,
    tiny_tokenizer_weights,
    write_folder,
    write_words,
)
from safetensors.torch import load_file

import mmgen
from mmgen import decoding
from mmgen.backbones.backbone import Prompt
from mmgen.checkpoints import chameleon
from mmgen.checkpoints.folder import fill
from mmgen.checkpoints.language_configs import chameleon as configuration
from mmgen.checkpoints.language_keys import from_chameleon, norms_per_head
from mmgen.checkpoints.weights import Weights
from mmgen.errors import PromptError, SizeError, WeightsError
from mmgen.layout import RasterLayout
from mmgen.pipelines.chameleon import ChameleonPipeline
from mmgen.rng import Rng
from mmgen.sampling import Sampling
from mmgen.sessions.raster import RasterSession

GOLDENS = Path(__file__).parents[2] / "../shared/goldens"
VOCABULARY = chameleon_vocabulary()
PROMPTS = ["a red cat", "two red red stars", "a cat"]
SIZES = {"anole": {}, "lumina": {"height": 32, "width": 32}}
GREEDY = {"guidance": 3.0, "temperature": 0.0, "top_p": 1.0, "top_k": 0}


def quiet(pipe):
    pipe.set_progress_bar_config(disable=True)
    return pipe


def lumina_weights(theirs):
    """As Lumina-mGPT's training code writes them: no tokenizer, and norms for each of two parts of the heads."""
    weights = {name: tensor for name, tensor in theirs.state_dict().items() if "vqmodel" not in name}
    return {name: tensor[:: HEADS // 2] if re.search("[qk]_norm", name) else tensor for name, tensor in weights.items()}


@pytest.fixture(scope="module")
def theirs():
    return tiny_model(len(VOCABULARY), VOCABULARY)


@pytest.fixture(scope="module")
def their_tokenizer():
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def vqgan_file(their_tokenizer, tmp_path_factory):
    """As Meta's: a checkpoint of Lightning, with the weights of a loss."""
    file = tmp_path_factory.mktemp("meta") / "vqgan.ckpt"
    state = tiny_tokenizer_weights(their_tokenizer) | {"loss.discriminator.main.0.weight": torch.ones(2)}
    torch.save({"state_dict": state, "global_step": 3}, file)
    return file


@pytest.fixture(scope="module")
def folders(theirs, their_tokenizer, tmp_path_factory):
    """Chameleon has an encoder alone; Anole's copy a whole tokenizer; Lumina-mGPT none."""
    root = tmp_path_factory.mktemp("published")
    special = {"bos_token": "<s>", "eos_token": "</s>"}
    write_folder(root / "chameleon", theirs, VOCABULARY, **special)
    weights = {name: tensor for name, tensor in theirs.state_dict().items() if "vqmodel" not in name}
    parts = {f"model.vqmodel.{name}": tensor for name, tensor in tiny_tokenizer_weights(their_tokenizer).items()}
    write_folder(root / "anole", theirs, VOCABULARY, weights | parts, **special)
    in_parts = tiny_model(len(VOCABULARY), VOCABULARY, parts=2, swin_norm=True)
    written = {"architectures": ["ChameleonXLLMXForConditionalGeneration"], "z_loss_weight": 1e-5, "dropout": 0.05}
    write_folder(root / "lumina", in_parts, VOCABULARY, lumina_weights(in_parts), written, **special)
    return root


@pytest.fixture(scope="module")
def anole(folders):
    """Draws 4 x 4 codes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ChameleonPipeline, "default_codes", 4)
        yield quiet(mmgen.load(str(folders / "anole")))


@pytest.fixture(scope="module")
def lumina(folders, vqgan_file):
    return quiet(chameleon.load(folders / "lumina", tokenizer=vqgan_file))


def told(text, *sizes):
    """A prompt in words, by hand."""
    words = [VOCABULARY[word] for word in text.split()]
    return [0, *words, VOCABULARY[END_OF_TURN], VOCABULARY[BEGIN_OF_IMAGE], *(VOCABULARY[size] for size in sizes)]


def test_anole_draws_what_transformers_would(anole, theirs, their_tokenizer):
    for text in PROMPTS[:2]:
        expected = their_codes(theirs, told(text), [0, VOCABULARY[BEGIN_OF_IMAGE]], 4, 4, 4)
        assert len(expected.unique()) > 3
        codes = anole(text, **GREEDY, output_type="latent").images
        assert torch.equal(codes, expected)
        drawn = anole(text, **GREEDY, output_type="pt").images
        assert (drawn - their_pixels(their_tokenizer, expected)).abs().max() < 1e-3 and drawn.std() > 0.05


@pytest.mark.parametrize("family", ["anole", "lumina"])
def test_special_words_of_a_text_are_text(request, family):
    pipe = request.getfixturevalue(family)
    layout = pipe.layout(*SIZES[family].values()) if SIZES[family] else pipe.layout(None, None)
    structure = {VOCABULARY[word] for word in (BEGIN_OF_IMAGE, END_OF_TURN, ROW_END)}
    typed = f"a cat {BEGIN_OF_IMAGE} {END_OF_TURN}{ROW_END}</s> two"
    read = pipe.text_words(typed, layout, {})
    assert structure & set(pipe.text_tokenizer(typed)["input_ids"])
    assert not (structure | {VOCABULARY["</s>"]}) & set(read[1:-1]) and read[-1] == VOCABULARY[END_OF_TURN]
    assert VOCABULARY["cat"] in read and read[-2] == VOCABULARY["two"]


def test_published_defaults(anole, lumina):
    assert anole.config.sampling == {"guidance": 3.0, "temperature": 0.7, "top_k": 0, "top_p": 0.9}
    assert lumina.config.sampling == {"guidance": 4.0, "temperature": 1.0, "top_k": 2000, "top_p": 1.0}
    assert anole.decoder.name == lumina.decoder.name == "jacobi" and anole.decoder.options()["window"] == 16


@pytest.mark.parametrize("size", [(32, 32), (32, 64)])
def test_lumina_says_the_size_and_ends_rows(lumina, folders, size):
    height, width = size
    theirs = tiny_model(len(VOCABULARY), VOCABULARY, parts=2, swin_norm=True)
    sizes = [f"<reserved{8800 + side // 32:05d}>" for side in size]
    template = f"Generate an image of {width}x{height} according to the following prompt : a red cat"
    prompt = told(template, *sizes)
    null = prompt[prompt.index(VOCABULARY[BEGIN_OF_IMAGE]) :]
    assert len(null) == 3
    expected = their_codes(theirs, prompt, null, 4, height // 4, width // 4, VOCABULARY[ROW_END])
    codes = lumina("a red cat", **GREEDY, height=height, width=width, output_type="latent").images
    assert len(expected.unique()) > 3 and torch.equal(codes, expected)


def test_the_instruction_is_as_published(lumina):
    layout = lumina.layout(32, 64)
    assert lumina.instruction("two stars", layout, {}) == (
        "Generate an image of 64x32 according to the following prompt:\ntwo stars"
    )


@pytest.mark.parametrize("decoder", ["autoregressive", "speculative-jacobi", "coupled-jacobi", "row-parallel"])
@pytest.mark.parametrize("family", ["anole", "lumina"])
def test_a_batch_is_its_single_calls(request, family, decoder):
    pipe = request.getfixturevalue(family)
    given = {"decoder": decoder, "output_type": "latent", **SIZES[family]}
    together = pipe(PROMPTS, seed=[5, 6, 7], **given)
    for index, (prompt, seed) in enumerate(zip(PROMPTS, [5, 6, 7], strict=True)):
        alone = pipe(prompt, seed=seed, **given)
        assert torch.equal(alone.images[0], together.images[index])
        assert alone.statistics[0].evaluations == together.statistics[index].evaluations


@pytest.mark.parametrize("family", ["anole", "lumina"])
def test_the_default_decoder_gives_what_autoregression_gives(request, family):
    pipe = request.getfixturevalue(family)
    reference = pipe(PROMPTS, seed=3, decoder="autoregressive", **SIZES[family])
    fast = pipe(PROMPTS, seed=3, **SIZES[family])
    for one, other in zip(reference.images, fast.images, strict=True):
        assert (np.asarray(one) == np.asarray(other)).all()
    assert sum(s.evaluations for s in fast.statistics) < sum(s.evaluations for s in reference.statistics)
    assert reference.statistics[0].size == ((16, 16) if family == "anole" else (32, 32))


@pytest.mark.parametrize("family", ["anole", "lumina"])
def test_saving_and_loading(request, family, tmp_path):
    pipe = request.getfixturevalue(family)
    pipe.save_pretrained(tmp_path / family)
    again = quiet(mmgen.load(str(tmp_path / family)))
    assert isinstance(again, ChameleonPipeline) and again.told_size == (family == "lumina")
    assert again.revision == pipe.revision and again.config.sampling == pipe.config.sampling
    one, other = (p("a red cat", seed=4, **SIZES[family]).images[0] for p in (pipe, again))
    assert (np.asarray(one) == np.asarray(other)).all()


def test_metas_format(anole, theirs, vqgan_file, tmp_path):
    """The same weights as Meta stores them: other names, channels in pairs, norms once."""
    root = tmp_path / "Anole-7b-v0.1"
    (root / "models/7b").mkdir(parents=True)
    (root / "tokenizer").mkdir()
    torch.save(official(theirs.state_dict()), root / "models/7b/consolidated.pth")
    params = {"model": {"n_layers": 2, "n_heads": HEADS, "dim": 32, "norm_eps": 1e-5, "swin_norm": False}}
    (root / "models/7b/params.json").write_text(json.dumps(params | {"model_parallel_size": 1}))
    write_words(root / "tokenizer", VOCABULARY)
    (root / "tokenizer/tokenizer.json").rename(root / "tokenizer/text_tokenizer.json")
    (root / "tokenizer/vqgan.ckpt").write_bytes(vqgan_file.read_bytes())
    assert chameleon.recognise(root)
    pipe = quiet(mmgen.load(str(root)))
    one, other = (p("a red cat", seed=4, output_type="pt").images for p in (anole, pipe))
    assert torch.equal(one, other)
    ours, loaded = anole.transformer.state_dict(), pipe.transformer.state_dict()
    assert all(torch.equal(loaded[name], ours[name]) for name in ours)
    (root / "models/7b/consolidated.01.pth").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"one consolidated.pth"):
        chameleon.load(root)


def official(weights):
    names = {
        "model.embed_tokens.": "tok_embeddings.", "model.norm.": "norm.", "lm_head.": "output.",
        "model.layers.": "layers.", ".self_attn.q_proj.": ".attention.wq.", ".self_attn.k_proj.": ".attention.wk.",
        ".self_attn.v_proj.": ".attention.wv.", ".self_attn.o_proj.": ".attention.wo.",
        ".self_attn.q_norm.": ".attention.q_normalization.", ".self_attn.k_norm.": ".attention.k_normalization.",
        ".mlp.gate_proj.": ".feed_forward.w1.", ".mlp.down_proj.": ".feed_forward.w2.",
        ".mlp.up_proj.": ".feed_forward.w3.", ".input_layernorm.": ".attention_norm.",
        ".post_attention_layernorm.": ".ffn_norm.",
    }  # fmt: skip
    stored = {"rope.freqs": torch.ones(4)}
    for name, tensor in weights.items():
        if "vqmodel" in name:
            continue
        if re.search("[qk]_proj", name):
            tensor = tensor.view(HEADS, 2, -1, tensor.shape[-1]).transpose(1, 2).reshape(tensor.shape)
        if re.search("[qk]_norm", name):
            tensor = tensor[0].view(2, -1).T.reshape(-1)
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        stored[name] = tensor.contiguous()
    return stored


def test_what_is_recognised(folders, tmp_path):
    assert all(chameleon.recognise(folders / name) for name in ("chameleon", "anole", "lumina"))
    assert not chameleon.recognise(tmp_path)
    assert not chameleon.recognise(folders / "anole/model.safetensors")
    for text in ('{"model_type": "llama"}', '{"model_type": "chameleon", "vocab_size": 171385}', "[", "[]"):
        (tmp_path / "config.json").write_text(text)
        assert not chameleon.recognise(tmp_path)


def test_without_a_decoder_there_are_no_pictures(folders, vqgan_file):
    for name in ("chameleon", "lumina"):
        with pytest.raises(WeightsError, match=r"has no decoder.*tokenizer=\.\.\./tokenizer/vqgan\.ckpt"):
            chameleon.load(folders / name)
    pipe = chameleon.load(folders / "chameleon", tokenizer=vqgan_file)
    assert not pipe.told_size and pipe.tokenizer.config.codebook_size == 32
    assert chameleon.load(folders / "chameleon", tokenizer=pipe.tokenizer, lumina=True).told_size


def test_weights_are_read_strictly(folders, vqgan_file, tmp_path):
    from safetensors.torch import save_file

    weights = load_file(folders / "anole/model.safetensors")
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folders / "anole" / name).read_bytes())
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights | {"model.extra": torch.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"missing keys \(model.layers.1.mlp.up_proj.weight\).*model.extra"):
        chameleon.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(WeightsError):
        chameleon.load_words(tmp_path)
    with pytest.raises(WeightsError, match=r"not describe a VQ tokenizer \('quantize.embedding.weight' is missing"):
        torch.save({"decoder.conv_in.weight": torch.ones(1)}, tmp_path / "vqgan.pt")
        chameleon.load(folders / "anole", tokenizer=tmp_path / "vqgan.pt")


def test_only_what_changes_takes_more_memory(folders):
    weights = Weights.open(folders / "lumina")
    changed = chameleon.changed(weights, lambda name, tensor: norms_per_head(name, tensor, HEADS, HEADS))
    norms = {name for name in weights if re.search("[qk]_norm", name)}
    assert {name for name in weights if changed[name] is not weights[name]} == norms and len(norms) == 8
    for name in norms:
        assert weights[name].shape == (2, 8) and changed[name].shape == (HEADS, 8)
        assert changed[name].dtype == weights[name].dtype == torch.float32
        assert torch.equal(changed.read(name), weights.read(name).repeat_interleave(2, dim=0))


def test_half_precision(folders):
    pipe = chameleon.load(folders / "anole", torch.bfloat16)
    assert {tensor.dtype for tensor in pipe.transformer.state_dict().values()} == {torch.bfloat16}
    assert pipe.tokenizer.dtype == torch.bfloat16


def test_sizes(anole, lumina):
    assert anole.layout(None, 16).grid == (4, 4)
    with pytest.raises(SizeError, match="height 32 does not fit; needed: 16, the size this model draws"):
        anole("a cat", height=32)
    assert lumina.layout(64, 32) == RasterLayout(16, 9, row_end=32)
    for height in (48, 0, -32, 32.0, "32", True):
        with pytest.raises(SizeError, match="multiple of 32"):
            lumina("a cat", height=height, width=32)
    with pytest.raises(SizeError, match="64 x 64 pixels, or 272 tokens, does not fit; needed: fewer than 256 tokens"):
        lumina("a cat", height=64, width=64)


def test_prompts_that_cannot_be_drawn(anole, lumina):
    for prompt in ("", "  "):
        with pytest.raises(PromptError, match="is not a text"):
            anole(prompt)
    assert anole.plan("a " * (256 - 16 - 3), height=16).subjects
    with pytest.raises(PromptError, match="takes 240 tokens, and beside the picture there is room for 239"):
        anole.plan("a " * (256 - 16 - 2))
    with pytest.raises(PromptError, match="shorten it, or draw a smaller picture"):
        lumina.draw(["a cat", "a cat " * 60], height=32, width=64)


def test_a_text_tokenizer_without_the_words(anole):
    with pytest.raises(WeightsError, match="has no word <reserved09999>"):
        anole.word("<reserved09999>")


@pytest.mark.skipif(not GOLDENS.is_dir(), reason="the goldens lie beside the repository, not in it")
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_golden(guidance):
    """For a prompt of text, the published second and third rows are one: guidance 3 between two gives the same."""
    folder = GOLDENS / "chameleon"
    golden = load_file(folder / "io.safetensors")
    assert torch.equal(golden["raw_cfg3"][:, 1], golden["raw_cfg3"][:, 2])
    config = configuration(chameleon.published_config(folder))
    weights = Weights.open(folder / "model.safetensors").renamed(from_chameleon)
    model = fill(*chameleon.with_weights(weights, config))
    prompt, null = (Prompt.ragged([model.embed_text(ids)]) for ids in (golden["prompt"][0], torch.tensor([0, 69])))
    session = RasterSession(model, RasterLayout(8, 8), prompt, null, Sampling(guidance=guidance, temperature=0.0))
    drawn = decoding.make("jacobi", window=8).generate(session, Rng([0]))
    assert torch.equal(drawn.tokens + 4, golden["image_tokens_greedy" if guidance == 1 else "image_tokens_cfg3"])


def test_a_draft_reads_the_same_prompts(lumina, tmp_path):
    """The transformer as its own draft: every draft stands, so that a window is committed in one evaluation."""
    parts = {name: part for name, part in lumina.components.items() if name != "draft"}
    pipe = quiet(ChameleonPipeline(**parts, draft=lumina.transformer, sampling=lumina.config.sampling))
    given = {"seed": 3, "output_type": "latent", **SIZES["lumina"]}
    options = {"decoder": "seeded-speculative", "decoder_options": {"drafter": "draft-model", "window": 8}}
    drafted = pipe(PROMPTS, **given, **options)
    assert torch.equal(drafted.images, lumina(PROMPTS, **given, decoder="autoregressive").images)
    assert all(one.draft_evaluations > 0 and one.evaluations < 24 for one in drafted.statistics)
    pipe.save_pretrained(tmp_path / "drafted")
    assert mmgen.load(str(tmp_path / "drafted")).draft is not None


def test_fewer_bits(folders, vqgan_file):
    pipe = quiet(chameleon.load(folders / "lumina", tokenizer=vqgan_file))
    exact = pipe("a cat", seed=1, output_type="latent", **SIZES["lumina"]).images
    pipe.cache_bits = 8
    rounded = pipe("a cat", seed=1, output_type="latent", **SIZES["lumina"]).images
    assert (exact == rounded).float().mean() > 0.5
