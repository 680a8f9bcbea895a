"""Emu3 from published folders, against transformers' own Emu3."""

import base64
import itertools
import json
import random
import re
import unicodedata

import numpy as np
import pytest
import regex
import torch

import mmgen
from mmgen import decoding
from mmgen.checkpoints import emu3
from mmgen.checkpoints.text_tokenizers import from_tiktoken
from mmgen.errors import OptionError, PromptError, SizeError, WeightsError
from mmgen.pipelines.emu3 import NEGATIVE_PROMPT, QUALITY_SUFFIX, Emu3Pipeline

CODES = 48
SIZE = {"height": 12, "width": 8}
PROMPTS = ["a cat", "two {stars} above\na very long and winding road"]
VISION = ["<|image token|>", "<|image start|>", "<|image end|>", *(f"<|visual token {i:06d}|>" for i in range(CODES))]


def ranks():
    """Words of a byte-pair tokenizer in the order of their ranks: all bytes, and some joined of those before."""
    chosen = random.Random(0)
    words = [bytes([byte]) for byte in chosen.sample(range(256), 256)]
    while len(words) < 400:
        joined = b"".join(chosen.choices([word for word in words if word.isalpha() and word in b"abcdef" * 9], k=2))
        joined = chosen.choice([b"", b" ", b","]) + joined
        if joined not in words and len(joined) < 7:
            words.append(joined)
    return words


@pytest.fixture(scope="module")
def official_words(tmp_path_factory):
    """The files of the authors' text tokenizer."""
    folder = tmp_path_factory.mktemp("words")
    lines = [base64.b64encode(word) + b" %d" % rank for rank, word in enumerate(ranks())]
    (folder / "emu3.tiktoken").write_bytes(b"\n".join(lines) + b"\n")
    (folder / "emu3_vision_tokens.txt").write_text("\n".join(VISION) + "\n")
    return folder


@pytest.fixture(scope="module")
def text_tokenizer(official_words):
    return from_tiktoken(official_words / "emu3.tiktoken", emu3._PIECES, (*emu3._SPECIAL, *VISION))


@pytest.fixture(scope="module")
def theirs(text_tokenizer):
    """A tiny Emu3 of transformers, whose laws are far from flat."""
    from transformers import Emu3Config, Emu3ForConditionalGeneration

    text = {
        "vocab_size": text_tokenizer.get_vocab_size(),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 320,
        "pad_token_id": text_tokenizer.token_to_id("<|endoftext|>"),
        "bos_token_id": text_tokenizer.token_to_id("<|extra_203|>"),
        "eos_token_id": text_tokenizer.token_to_id("<|extra_204|>"),
    }
    vq = {
        "codebook_size": CODES,
        "base_channels": 32,
        "channel_multiplier": [1, 2],
        "num_res_blocks": 1,
        "attn_resolutions": [1],
        "hidden_size": 64,
    }
    words = text_tokenizer.get_vocab() | {"<image>": text_tokenizer.token_to_id("<|extra_0|>")}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Emu3ForConditionalGeneration(Emu3Config(text_config=text, vq_config=vq, vocabulary_map=words))
        for name, weight in model.named_parameters():
            if weight.ndim == 2 and "vqmodel" not in name:
                weight.data.normal_(0, 0.3)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm3d):
                module.running_mean.normal_(0, 0.5)
                module.running_var.uniform_(0.5, 2)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def published(theirs, text_tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("transformers") / "Emu3"
    theirs.save_pretrained(folder)
    text_tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def pipe(published):
    return quiet(mmgen.load(str(published)))


def quiet(pipe):
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(pipe, prompt, **settings):
    return pipe(prompt, output_type="latent", **(SIZE | settings)).images


def words(text_tokenizer, text):
    line = f"<|extra_203|>{text}<|image start|>6*4<|image token|>"
    return torch.tensor([text_tokenizer.encode(line, add_special_tokens=False).ids])


def test_a_prompt_ends_in_the_size_of_the_picture(pipe, text_tokenizer):
    layout = pipe.layout(12, 8)
    assert layout.grid == (6, 4) and layout.width == 5 and layout.row_end == CODES
    assert (pipe.words("a {cat}", layout) == words(text_tokenizer, "a {cat}")[0]).all()
    given, nothing = pipe.prompts(pipe.transformer, PROMPTS, layout, "ugly", ", nice")
    row = pipe.transformer.embed_text(words(text_tokenizer, f"{PROMPTS[1]}, nice"))[0]
    assert (given.embeddings[1] == row).all() and given.prefix[1] == len(row) - 1
    assert (nothing.embeddings == pipe.transformer.embed_text(words(text_tokenizer, "ugly"))).all()
    assert pipe.condition_defaults == {"negative_prompt": NEGATIVE_PROMPT, "quality_suffix": QUALITY_SUFFIX}


def test_special_words_of_a_text_are_text(pipe, text_tokenizer):
    layout = pipe.layout(12, 8)
    typed = "a<|image token|>b<|visual token 000003|><|extra_200|>"
    spelled = [text_tokenizer.encode(letter).ids[0] for letter in typed]
    read = pipe.words(typed, layout).tolist()
    assert text_tokenizer.decode(read[1:-5], skip_special_tokens=False) == typed and len(spelled) > 40
    special = set(range(len(ranks()), text_tokenizer.get_vocab_size()))
    assert not special & set(read[1:-5]) and [read[0], *read[-5:]] == words(text_tokenizer, "").flatten().tolist()


@pytest.mark.parametrize("prompt", PROMPTS)
def test_codes_and_pixels_are_those_of_transformers(theirs, pipe, text_tokenizer, prompt):
    given = words(text_tokenizer, prompt + QUALITY_SUFFIX)
    nothing = words(text_tokenizer, NEGATIVE_PROMPT)
    first, end, *after = (
        text_tokenizer.token_to_id(word) for word in (VISION[3], "<|extra_200|>", *["<|extra_201|>"] * 3)
    )

    def allowed(row, line):
        written = len(line) - given.shape[1]
        if written >= 30:
            return [after]
        return [end] if written % 5 == 4 else list(range(first, first + CODES))

    line = theirs.generate(
        given,
        attention_mask=torch.ones_like(given),
        do_sample=False,
        max_new_tokens=33,
        guidance_scale=3.0,
        negative_prompt_ids=nothing,
        negative_prompt_attention_mask=torch.ones_like(nothing),
        prefix_allowed_tokens_fn=allowed,
    )[:, given.shape[1] :]
    codes = line[:, :30].view(1, 1, 6, 5)[..., :4] - first
    assert len(codes.unique()) > 4
    assert (draw(pipe, prompt, temperature=0) == codes).all()
    pixels = theirs.decode_image_tokens(image_tokens=line, height=6, width=4).clamp(-1, 1) / 2 + 0.5
    drawn = pipe(prompt, temperature=0, output_type="pt", **SIZE).images
    assert drawn.shape == (1, 3, 12, 8) and (drawn - pixels.view(1, 3, 12, 8)).abs().max() < 1e-3


def test_the_published_defaults(pipe):
    assert dict(pipe.config.sampling) == {"guidance": 3.0, "temperature": 1.0, "top_k": 2048, "top_p": 1.0}
    assert pipe.decoder.name == "jacobi" and pipe.decoder.window == 16


@pytest.mark.parametrize("decoder", decoding.decoders())
def test_a_batch_is_its_single_calls(pipe, decoder):
    together = draw(pipe, PROMPTS, seed=[3, 4], decoder=decoder)
    assert together.max() < CODES
    for index, prompt in enumerate(PROMPTS):
        assert (draw(pipe, prompt, seed=3 + index, decoder=decoder) == together[index]).all()
    if decoding.decoders()[decoder].seeded:
        assert (draw(pipe, PROMPTS, seed=[3, 4], decoder="autoregressive") == together).all()


def test_what_a_call_says_changes_the_picture(pipe):
    calls = [{}, {"seed": 2}, {"negative_prompt": "a dog"}, {"quality_suffix": ""}, {"height": 8, "width": 12}]
    pictures = [draw(pipe, "a cat", **({"seed": 1} | call)) for call in calls]
    assert len({tuple(picture.flatten().tolist()) for picture in pictures}) == len(calls)
    assert pictures[-1].shape == (1, 1, 4, 6)
    assert (draw(pipe, "a cat", seed=1, negative_prompt=NEGATIVE_PROMPT) == pictures[0]).all()


def test_row_ends_cost_no_token(pipe):
    output = pipe("a cat", seed=1, output_type="latent", decoder="autoregressive", **SIZE)
    assert output.statistics[0].tokens == 24


def test_what_is_saved_draws_the_same(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "saved")
    again = quiet(mmgen.load(str(tmp_path / "saved")))
    assert type(again) is Emu3Pipeline and again.revision == pipe.revision
    pictures = [np.asarray(each(PROMPTS, seed=7, **SIZE).images) for each in (pipe, again)]
    assert (pictures[0] == pictures[1]).all()


def test_half_precision(published):
    half = quiet(mmgen.load(str(published), dtype=torch.bfloat16))
    assert half.transformer.dtype == half.tokenizer.dtype == torch.bfloat16
    assert half("a cat", seed=1, output_type="pt", **SIZE).images.shape == (1, 3, 12, 8)


def official_name(name):
    """The authors' name of a weight of transformers'; the tokenizer's begin with "vq."."""
    for pattern, replacement in (
        (r"^model\.text_model\.", "model."),
        (r"^model\.vqmodel\.", "vq."),
        (r"\.(?:down|up)_block\.", "."),
        (r"\.middle_block\.attn_norm\.", ".mid.attn_1.norm."),
        (r"\.middle_block\.", ".mid."),
        (r"\.attn_norms\.(\d+)\.", r".attn.\1.norm."),
        (r"^(vq\..*\.[qkv])_proj\.", r"\1."),
        (r"^(vq\..*)\.out_proj\.", r"\1.proj_out."),
    ):
        name = re.sub(pattern, replacement, name)
    return name


@pytest.fixture(scope="module")
def official(theirs, official_words, tmp_path_factory):
    """The same model as BAAI publishes it: two folders."""
    from safetensors.torch import save_file

    state = {official_name(name): weight.clone() for name, weight in theirs.state_dict().items()}
    for name, weight in state.items():
        if re.search(r"^vq\..*\.(q|k|v|proj_out)\.weight$", name):
            state[name] = weight[..., None, None]
    assert "vq.decoder.up.1.attn.0.norm.conv_y.weight" in state and "vq.encoder.mid.attn_1.q.weight" in state
    model, vision = tmp_path_factory.mktemp("Emu3-Gen"), tmp_path_factory.mktemp("Emu3-VisionTokenizer")
    parts = {False: model, True: vision}
    for of_tokenizer, folder in parts.items():
        part = {n.removeprefix("vq."): weight for n, weight in state.items() if n.startswith("vq.") == of_tokenizer}
        save_file(part, folder / "model.safetensors")
    for file in official_words.iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    text = theirs.config.text_config
    kept = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    kept += ("num_key_value_heads", "max_position_embeddings")
    config = {name: getattr(text, name) for name in kept}
    config |= {"model_type": "Emu3", "rope_theta": 1000000.0, "eol_token_id": text_id("<|extra_200|>")}
    (model / "config.json").write_text(json.dumps(config))
    sizes = {"codebook_size": CODES, "ch": 32, "ch_mult": [1, 2], "num_res_blocks": 1, "attn_resolutions": [1]}
    (vision / "config.json").write_text(json.dumps({"model_type": "Emu3VisionVQ"} | sizes))
    return model, vision


def text_id(word):
    return len(ranks()) + (*emu3._SPECIAL, *VISION).index(word)


def test_the_authors_files_are_the_same_model(pipe, official):
    model, vision = official
    again = quiet(mmgen.load(str(model), tokenizer=vision))
    assert again.revision == pipe.revision
    assert (draw(again, PROMPTS, seed=7) == draw(pipe, PROMPTS, seed=7)).all()
    codes = torch.arange(CODES).view(1, 1, 6, 8)
    assert (again.tokenizer.decode(codes) == pipe.tokenizer.decode(codes)).all()


def test_the_first_files_of_transformers_format(pipe, published, tmp_path):
    """Before transformers 4.52 the names began otherwise; BAAI/Emu3-Gen-hf still has those."""
    from safetensors.torch import load_file, save_file

    def first_name(name):
        name = re.sub(r"^model\.text_model\.", "text_model.model.", name)
        return re.sub(r"^model\.vqmodel\.", "vqmodel.", re.sub(r"^lm_head\.", "text_model.lm_head.", name))

    for file in published.glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    state = load_file(published / "model.safetensors")
    save_file({first_name(name): weight for name, weight in state.items()}, tmp_path / "model.safetensors")
    assert mmgen.load(str(tmp_path)).revision == pipe.revision


def test_a_text_is_cut_as_tiktoken_cuts_it(text_tokenizer):
    known = {word: rank for rank, word in enumerate(ranks())}

    def join(piece):
        parts = [piece[i : i + 1] for i in range(len(piece))]
        while len(parts) > 1:
            joined = [known.get(a + b, len(known)) for a, b in itertools.pairwise(parts)]
            least = min(joined)
            if least == len(known):
                break
            at = joined.index(least)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        return [known[part] for part in parts]

    chosen = random.Random(1)
    texts = ["".join(chosen.choices("abcdef ,.90\n'é日", k=60)) for _ in range(200)] + ["It's 90*68:  ok\r\n e\u0301"]
    for text in texts:
        pieces = regex.findall(emu3._PIECES, unicodedata.normalize("NFC", text))
        expected = [token for piece in pieces for token in join(piece.encode())]
        assert text_tokenizer.encode(text, add_special_tokens=False).ids == expected
    assert text_tokenizer.decode(expected) == unicodedata.normalize("NFC", texts[-1])
    assert text_tokenizer.token_to_id("<|extra_200|>") == text_id("<|extra_200|>")


def test_sizes(pipe):
    assert pipe.layout(None, None).grid == (90, 90)
    assert pipe.layout(68 * 2, 120 * 2).grid == (68, 120)
    for size, needed in (((13, 8), "height 13 .* multiple of 2"), ((12, -8), "width -8"), ((12, 8.0), "width 8.0")):
        with pytest.raises(SizeError, match=needed):
            pipe("a cat", height=size[0], width=size[1])
    with pytest.raises(SizeError, match=r"182 x 182 pixels .* at most 32768 in all"):
        pipe("a cat", height=182, width=182)


def test_what_cannot_be_drawn(pipe):
    for prompt in ("", "  ", 7):
        with pytest.raises(PromptError, match=r"not a text"):
            pipe(prompt)
    with pytest.raises(PromptError, match=r"takes \d+ tokens with its template; use at most 290, or draw a smaller"):
        pipe("x" * 300, **SIZE)
    with pytest.raises(PromptError, match=r"use at most 290"):
        pipe("a cat", negative_prompt="y" * 300, **SIZE)
    with pytest.raises(OptionError, match=r"quality_suffix=7: needed is a text"):
        pipe("a cat", quality_suffix=7, **SIZE)


def test_other_folders_are_not_emu3(published, official, tmp_path):
    model, vision = official
    assert emu3.recognise(published) and emu3.recognise(model)
    assert not emu3.recognise(vision) and not emu3.recognise(tmp_path) and not emu3.recognise(model / "config.json")


def test_what_is_missing_is_said(official, tmp_path):
    model, vision = official
    with pytest.raises(OptionError, match=r"tokenizer=None: needed is the folder of BAAI/Emu3-VisionTokenizer"):
        mmgen.load(str(model))
    with pytest.raises(WeightsError, match=r"is not Emu3's tokenizer of pictures"):
        mmgen.load(str(model), tokenizer=model)
    for file in model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "emu3_vision_tokens.txt").write_text("<|image token|>\n")
    with pytest.raises(WeightsError, match=r"has no word '<\|image start\|>'"):
        mmgen.load(str(tmp_path), tokenizer=vision)
    (tmp_path / "emu3_vision_tokens.txt").unlink()
    with pytest.raises(WeightsError, match=r"emu3_vision_tokens.txt: cannot be read"):
        mmgen.load(str(tmp_path), tokenizer=vision)
    (tmp_path / "emu3_vision_tokens.txt").write_text("\n".join(VISION))
    (tmp_path / "emu3.tiktoken").write_text("not base 64")
    with pytest.raises(WeightsError, match=r"emu3.tiktoken: is no file of tiktoken"):
        mmgen.load(str(tmp_path), tokenizer=vision)
