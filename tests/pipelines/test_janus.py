"""Janus from published folders, against transformers' own Janus."""

import json
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

import mmgen
from mmgen import decoding
from mmgen.checkpoints import janus
from mmgen.errors import OptionError, PromptError, SizeError, UnknownNameError, WeightsError
from mmgen.pipelines.janus import BEGIN_OF_IMAGE, BEGIN_OF_TEXT, PADDING, TEMPLATES, JanusPipeline
from tokenizers import AddedToken, Tokenizer, decoders

PUBLISHED_GRID, GRID = JanusPipeline.grid, (4, 4)
WORDS = [BEGIN_OF_TEXT, PADDING, BEGIN_OF_IMAGE, "<|User|>", "<|Assistant|>"]
PROMPTS = ["a cat", "two {stars} above\na very long and winding road"]


@pytest.fixture(scope="module")
def theirs():
    """A tiny Janus of transformers, whose laws are far from flat."""
    from transformers import (
        JanusConfig,
        JanusForConditionalGeneration,
        JanusVisionConfig,
        JanusVQVAEConfig,
        LlamaConfig,
    )

    text = LlamaConfig(
        vocab_size=272,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=160,
    )
    sizes = {"projection_dim": 32, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = JanusVisionConfig(**sizes, image_size=8, patch_size=2, num_image_tokens=16)
    vq = JanusVQVAEConfig(
        num_embeddings=48,
        base_channels=32,
        channel_multiplier=[1, 2],
        latent_channels=32,
        projection_dim=32,
        image_token_embed_dim=32,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = JanusForConditionalGeneration(JanusConfig(text_config=text, vision_config=vision, vq_config=vq))
        for name, weight in model.named_parameters():
            if weight.ndim == 2 and "vqmodel" not in name:
                weight.data.normal_(0, 0.3)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def published(theirs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("transformers") / "Janus"
    theirs.save_pretrained(folder)
    text_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def pipe(published):
    """The pipeline of the published folder, drawing 4 x 4 codes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JanusPipeline, "grid", GRID)
        pipe = mmgen.load(str(published))
        pipe.set_progress_bar_config(disable=True)
        yield pipe


def text_tokenizer(words=WORDS):
    tokenizer = Tokenizer(BPE({letter: i for i, letter in enumerate(sorted(ByteLevel.alphabet()))}, []))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in words])
    return tokenizer


def draw(pipe, prompt, **settings):
    return pipe(prompt, output_type="latent", **settings).images


def test_a_prompt_is_the_talk_the_model_was_trained_on(pipe):
    def text(words):
        return text_tokenizer().decode(words.tolist(), skip_special_tokens=False)

    words = pipe.words("a {cat}", "janus-pro")
    assert text(words) == f"{BEGIN_OF_TEXT}<|User|>: a {{cat}}\n\n<|Assistant|>:{BEGIN_OF_IMAGE}"
    assert text(pipe.words("a cat", "janus")) == f"{BEGIN_OF_TEXT}User: a cat\n\nAssistant:{BEGIN_OF_IMAGE}"
    given, nothing = pipe.prompts(pipe.transformer, ["a {cat}", "owl"], pipe.layout(None, None))
    assert (given.prefix == nothing.prefix).all() and given.prefix[0] == len(words) - 1 and given.prefix[1] < len(words)
    first, pad, last = text_tokenizer().encode(BEGIN_OF_TEXT + PADDING + BEGIN_OF_IMAGE).ids
    expected = pipe.transformer.embed_text(torch.tensor([first, *[pad] * (len(words) - 2), last]))
    assert (nothing.embeddings[0] == expected).all()


@pytest.mark.parametrize("template", ["janus-pro", "janus"])
def test_special_words_of_a_text_are_text(pipe, template):
    """Of a line, those of the template alone are special; other texts are read as the whole line is."""
    talk = TEMPLATES[template]
    for text in PROMPTS:
        line = BEGIN_OF_TEXT + talk.replace("{text}", text) + BEGIN_OF_IMAGE
        assert pipe.words(text, template).tolist() == text_tokenizer().encode(line, add_special_tokens=False).ids
    typed = "a<|User|>" + BEGIN_OF_IMAGE + PADDING + BEGIN_OF_TEXT
    letters = text_tokenizer([]).encode(typed).ids
    words, without = pipe.words(typed, template).tolist(), pipe.words("#", template).tolist()
    place = without.index(text_tokenizer([]).encode("#").ids[0])
    assert words == without[:place] + letters + without[place + 1 :]


def test_words_are_special_though_the_file_does_not_say_so(published, tmp_path):
    for file in published.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    about = json.loads((tmp_path / "tokenizer.json").read_text())
    for word in about["added_tokens"]:
        word["special"] = False
    (tmp_path / "tokenizer.json").write_text(json.dumps(about))
    pipe = mmgen.load(str(tmp_path))
    letters = text_tokenizer([]).encode(BEGIN_OF_IMAGE).ids
    assert len(pipe.words(BEGIN_OF_IMAGE)) == len(pipe.words("#")) - 1 + len(letters)
    pipe.save_pretrained(tmp_path / "saved")
    assert torch.equal(mmgen.load(str(tmp_path / "saved")).words(BEGIN_OF_IMAGE), pipe.words(BEGIN_OF_IMAGE))


@pytest.mark.parametrize("prompt", PROMPTS)
def test_codes_and_pixels_are_those_of_transformers(theirs, pipe, prompt):
    from transformers import GenerationConfig

    first, pad, last = text_tokenizer().encode(BEGIN_OF_TEXT + PADDING + BEGIN_OF_IMAGE).ids
    words = pipe.words(prompt)[None]
    generation = GenerationConfig(
        do_sample=False,
        guidance_scale=5,
        bos_token_id=first,
        pad_token_id=pad,
        max_length=160,
        generation_kwargs={"boi_token_id": last},
    )
    given = {"attention_mask": torch.ones_like(words), "generation_config": generation}
    codes = theirs.generate(words, generation_mode="image", **given)
    assert len(codes.unique()) > 4
    assert (draw(pipe, prompt, temperature=0).flatten(1) == codes).all()
    pixels = theirs.decode_image_tokens(codes).permute(0, 3, 1, 2)
    drawn = pipe(prompt, temperature=0, output_type="pt").images
    assert (drawn - (pixels.clamp(-1, 1) / 2 + 0.5)).abs().max() < 1e-3


def test_the_published_defaults(pipe):
    assert dict(pipe.config.sampling) == {"guidance": 5.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    assert pipe.decoder.name == "jacobi" and pipe.decoder.window == 16
    assert draw(pipe, "a cat", seed=1).shape == (1, 1, *GRID)


@pytest.mark.parametrize("decoder", decoding.decoders())
def test_a_batch_is_its_single_calls(pipe, decoder):
    together = draw(pipe, PROMPTS, seed=[3, 4], decoder=decoder)
    for index, prompt in enumerate(PROMPTS):
        assert (draw(pipe, prompt, seed=3 + index, decoder=decoder) == together[index]).all()
    if decoding.decoders()[decoder].seeded:
        assert (draw(pipe, PROMPTS, seed=[3, 4], decoder="autoregressive") == together).all()


def test_seeds_prompts_and_templates_change_the_picture(pipe):
    pictures = [draw(pipe, "a cat", seed=1), draw(pipe, "a cat", seed=2), draw(pipe, "an owl", seed=1)]
    pictures.append(draw(pipe, "a cat", seed=1, template="janus"))
    assert len({tuple(picture.flatten().tolist()) for picture in pictures}) == 4


def test_what_is_saved_draws_the_same(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "saved")
    again = mmgen.load(str(tmp_path / "saved"))
    again.set_progress_bar_config(disable=True)
    assert type(again) is JanusPipeline and again.revision == pipe.revision
    pictures = [np.asarray(each(PROMPTS, seed=7).images) for each in (pipe, again)]
    assert (pictures[0] == pictures[1]).all()


def test_a_smaller_transformer_may_draft(pipe, published):
    draft = mmgen.load(str(published)).transformer
    drafted = JanusPipeline(pipe.tokenizer, pipe.transformer, pipe.decoder, pipe.text_tokenizer, draft=draft)
    drafted.set_progress_bar_config(disable=True)
    settings = {"seed": 5, "guidance": 5.0, "decoder": "seeded-speculative", "decoder_options": {"window": 4}}
    settings["decoder_options"]["drafter"] = "draft-model"
    output = drafted("a cat", output_type="latent", **settings)
    assert (output.images == draw(pipe, "a cat", seed=5, decoder="autoregressive")).all()
    assert output.statistics[0].evaluations <= 6  # the draft is the model: nearly all is kept


def test_half_precision(published, pipe):
    half = mmgen.load(str(published), dtype=torch.bfloat16)
    half.set_progress_bar_config(disable=True)
    assert half.transformer.dtype == half.tokenizer.dtype == torch.bfloat16
    assert half("a cat", seed=1, output_type="pt").images.shape == (1, 3, 8, 8)


def official_name(name):
    """The authors' name of a weight of transformers'."""
    for pattern, replacement in (
        (r"^lm_head\.", "language_model.lm_head."),
        (r"^model\.language_model\.", "language_model.model."),
        (r"^model\.generation_embeddings\.", "gen_embed."),
        (r"^model\.generation_aligner\.fc1\.", "gen_aligner.layers.0."),
        (r"^model\.generation_aligner\.hidden_layers\.0\.", "gen_aligner.layers.2."),
        (r"^model\.generation_head\.proj_out\.", "gen_head.output_mlp_projector."),
        (r"^model\.generation_head\.", "gen_head."),
        (r"^model\.vqmodel\.", "gen_vision_model."),
        (r"^(gen_vision_model\..*)\.(?:down|up)\.(\d+)\.block\.", r"\1.conv_blocks.\2.res."),
        (r"^(gen_vision_model\..*)\.(?:down|up)\.", r"\1.conv_blocks."),
        (r"\.mid\.block_1\.", ".mid.0."),
        (r"\.mid\.attn_1\.", ".mid.1."),
        (r"\.mid\.block_2\.", ".mid.2."),
        (r"^model\.", ""),
    ):
        name = re.sub(pattern, replacement, name)
    return name


def official_config(theirs):
    text = theirs.config.text_config
    kept = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    kept += ("num_key_value_heads", "max_position_embeddings")
    return {
        "model_type": "multi_modality",
        "language_config": {"model_type": "llama"} | {name: getattr(text, name) for name in kept},
        "gen_vision_config": {"cls": "VQ-16", "params": {"image_token_size": 48, "n_embed": 8}},
        "gen_aligner_config": {"cls": "MlpProjector", "params": {"depth": 2, "input_dim": 8, "n_embed": 32}},
    }


@pytest.fixture(params=["safetensors", "bin", "shards"])
def official(request, theirs, tmp_path):
    """The same model as DeepSeek publishes it: Janus-1.3B, Janus-Pro-1B, and Janus-Pro-7B in shards."""
    state = {official_name(name): weight.clone() for name, weight in theirs.state_dict().items()}
    state["gen_vision_model.quantize.codebook_used"] = torch.zeros(1024)
    state["vision_model.vision_tower.attn_pool.latent"] = torch.zeros(1, 1, 16)
    assert "gen_vision_model.decoder.conv_blocks.0.res.0.conv1.weight" in state
    if request.param == "safetensors":
        save_file(state, tmp_path / "model.safetensors")
    elif request.param == "bin":
        torch.save(state, tmp_path / "pytorch_model.bin")
    else:
        names = sorted(state)
        files = {name: f"pytorch_model-0000{1 + (i % 2)}-of-00002.bin" for i, name in enumerate(names)}
        for file in set(files.values()):
            torch.save({name: state[name] for name in names if files[name] == file}, tmp_path / file)
        (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    (tmp_path / "config.json").write_text(json.dumps(official_config(theirs)))
    text_tokenizer().save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_the_authors_files_are_the_same_model(pipe, official):
    again = mmgen.load(str(official))
    assert again.revision == pipe.revision
    again.set_progress_bar_config(disable=True)
    assert (draw(again, PROMPTS, seed=7) == draw(pipe, PROMPTS, seed=7)).all()


def test_what_cannot_be_drawn(pipe):
    for prompt in ("", "  ", 7):
        with pytest.raises(PromptError, match=r"not a text"):
            pipe(prompt)
    with pytest.raises(PromptError, match=r"takes 151 tokens with its template; use at most 144"):
        pipe("a" * 142)
    with pytest.raises(SizeError, match=r"height 16 does not fit; needed: 8"):
        pipe("a cat", height=16)
    with pytest.raises(OptionError, match=r"template='mine': needed is one of janus-pro, janus"):
        pipe("a cat", template="mine")
    with pytest.raises(UnknownNameError, match=r"'negative_prompt'; choose from .*template"):
        pipe("a cat", negative_prompt="a dog")


def test_the_published_size(pipe, monkeypatch):
    monkeypatch.setattr(JanusPipeline, "grid", PUBLISHED_GRID)
    assert pipe.layout(None, 48).grid == (24, 24) and pipe.layout(48, None).length == 576


def test_other_folders_are_not_janus(published, tmp_path):
    assert janus.recognise(published)
    assert not janus.recognise(tmp_path) and not janus.recognise(published / "config.json")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "multi_modality", "vision_gen_enc_config": {}}))
    assert not janus.recognise(tmp_path), "JanusFlow"


def test_a_damaged_folder(published, tmp_path):
    for file in published.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    text_tokenizer([PADDING, BEGIN_OF_IMAGE]).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(WeightsError, match=r"tokenizer.json: has no word '<｜begin▁of▁sentence｜>'"):
        mmgen.load(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"tokenizer.json: is no text tokenizer"):
        mmgen.load(str(tmp_path))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"text_config": {}}))
    with pytest.raises(WeightsError, match=r"missing"):
        mmgen.load(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "janus"}))
    with pytest.raises(WeightsError, match=r"config.json: does not describe a Janus \('vq_config' is missing"):
        mmgen.load(str(tmp_path))
