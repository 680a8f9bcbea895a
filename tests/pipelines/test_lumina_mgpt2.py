"""Lumina-mGPT 2.0 from a published folder, against transformers' transformer and diffusers' tokenizer."""

import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from pipelines.chameleons import (
    BEGIN_OF_IMAGE,
    END_OF_TURN,
    TEXT,
    their_codes,
    their_pixels,
    tiny_model,
    tiny_tokenizer,
    tiny_tokenizer_weights,
    write_folder,
)

import mmgen
from mmgen.checkpoints import chameleon, lumina_mgpt2
from mmgen.errors import OptionError, PromptError, SizeError, WeightsError
from mmgen.pipelines.lumina_mgpt2 import PAIRS, SOURCES, LuminaMGPT2Pipeline, fit

FIRST, CODES, ROW_END, WORDS = 155000, 16384, 151670, 171385
VOCABULARY = {name: number for number, name in enumerate(["<unk>", "<|endoftext|>", "<|im_end|>", *TEXT])} | {
    BEGIN_OF_IMAGE: 151665, END_OF_TURN: 151660, "<reserved08801>": 151672, "<reserved08802>": 151673,
}  # fmt: skip
GREEDY = {"guidance": 3.0, "temperature": 0.0, "top_k": 0}
PANEL, PAIR = {"height": 32, "width": 32}, {"height": 64, "width": 32}


@pytest.fixture(scope="module")
def theirs():
    return tiny_model(WORDS, VOCABULARY | {"<image>": 3})


@pytest.fixture(scope="module")
def their_tokenizer():
    return tiny_tokenizer(CODES, channels=4, spatial_norm=True, latents=4)


@pytest.fixture(scope="module")
def folder(theirs, their_tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published") / "Lumina-mGPT-2.0"
    weights = {name: tensor for name, tensor in theirs.state_dict().items() if "vqmodel" not in name}
    write_folder(folder, theirs, VOCABULARY, weights, eos_token="<|endoftext|>")
    torch.save(tiny_tokenizer_weights(their_tokenizer), folder / "movqgan_270M.ckpt")
    return folder


@pytest.fixture(scope="module")
def pipe(folder):
    pipe = mmgen.load(str(folder))
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def picture():
    """Twice as wide as high, so that both sides must be cut."""
    noise = np.random.default_rng(3).integers(0, 256, (6, 12, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((96, 48), Image.Resampling.BICUBIC)


def told(text, height, width):
    """A prompt in words, by hand; its text begins with the word that ends texts, as there is none of its own."""
    words = [1, *(VOCABULARY[word] for word in text.split()), VOCABULARY[END_OF_TURN], VOCABULARY[BEGIN_OF_IMAGE]]
    return words + [VOCABULARY[f"<reserved{8800 + side // 32:05d}>"] for side in (height, width)]


def nothing(prompt):
    return prompt[prompt.index(VOCABULARY[BEGIN_OF_IMAGE]) :]


def test_a_text(pipe, theirs, their_tokenizer):
    prompt = told("Generate an image of 64x32 according to the following prompt : two stars", 32, 64)
    expected = their_codes(theirs, prompt, nothing(prompt), FIRST, 8, 16, ROW_END, CODES)
    assert len(expected.unique()) > 10
    assert torch.equal(pipe("two stars", height=32, width=64, **GREEDY, output_type="latent").images, expected)
    drawn = pipe("two stars", height=32, width=64, **GREEDY, output_type="pt").images
    assert (drawn - their_pixels(their_tokenizer, expected)).abs().max() < 1e-3 and drawn.std() > 0.05


DUAL = "Generate a dual - panel image of 32x64 where the < {} half > displays a < depth map >, while the < {} half > "
DUAL += "retains the original image for direct visual comparison : a red cat"


def test_a_pair_is_drawn_in_one_picture(pipe, theirs):
    prompt = told(DUAL.format("lower", "upper"), 64, 32)
    expected = their_codes(theirs, prompt, nothing(prompt), FIRST, 16, 8, ROW_END, CODES)
    out = pipe("a red cat", task="depth-pair", **PAIR, **GREEDY, output_type="latent")
    assert torch.equal(out.images, expected)
    assert out.statistics[0].size == (64, 32) and out.statistics[0].conditions["task"] == "depth-pair"


@torch.no_grad()
def test_the_upper_half_is_read_and_the_lower_drawn(pipe, theirs, their_tokenizer, picture, tmp_path):
    upper = torch.from_numpy(np.array(fit(picture, 32, 32))).permute(2, 0, 1)[None] / 127.5 - 1
    codes = their_tokenizer.quantize(their_tokenizer.encode(upper).latents)[2][2].view(8, 8)
    words = torch.cat((codes + FIRST, torch.full((8, 1), ROW_END)), dim=1).flatten().tolist()
    prompt = told(DUAL.format("upper", "lower"), 64, 32) + words
    expected = their_codes(theirs, prompt, nothing(prompt), FIRST, 8, 8, ROW_END, CODES)
    out = pipe("a red cat", task="depth-to-image", image=picture, **PANEL, **GREEDY, output_type="latent")
    assert torch.equal(out.images, expected)
    assert out.statistics[0].tokens == 64 and out.statistics[0].size == (32, 32)
    assert out.statistics[0].conditions == {"task": "depth-to-image", "image": "<Image>"}
    picture.save(tmp_path / "depth.png")
    again = pipe("a red cat", task="depth-to-image", image=str(tmp_path / "depth.png"), **PANEL, **GREEDY)
    assert again.statistics[0].conditions["image"] == str(tmp_path / "depth.png")
    pixels = pipe.tokenizer.decode(expected)[0].permute(1, 2, 0) * 127.5 + 127.5
    assert (torch.from_numpy(np.array(again.images[0])) - pixels).abs().max() <= 1
    other = pipe("a red cat", task="canny-to-image", image=picture.rotate(180), **PANEL, **GREEDY, output_type="latent")
    assert not torch.equal(other.images, expected)


def test_pictures_of_a_batch(pipe, picture):
    given = {"task": "canny-to-image", **PANEL, "output_type": "latent", "num_images_per_prompt": 2}
    given |= {"guidance": 1.0, "top_k": 0, "temperature": 0.5}
    pictures, prompts = [picture, picture.rotate(180)], ["a red cat", "two stars"]
    together = pipe(prompts, image=pictures, seed=[4, 8], **given).images
    for index, (prompt, seed) in enumerate(zip(prompts, (4, 8), strict=True)):
        alone = pipe(prompt, image=pictures[index], seed=seed, **given).images
        assert torch.equal(alone, together[2 * index : 2 * index + 2])
    one = pipe(prompts, image=picture, seed=[4, 8], **given).images
    assert torch.equal(one[:2], together[:2]) and not torch.equal(one[2:], together[2:])
    tensors = torch.stack([torch.from_numpy(np.array(each)).permute(2, 0, 1) / 255 for each in pictures])
    assert torch.equal(pipe(prompts, image=tensors, seed=[4, 8], **given).images, together)


@pytest.mark.parametrize("decoder", ["jacobi", "speculative-jacobi"])
def test_decoders(pipe, decoder):
    prompts = ["a red cat", "two red red stars"]
    given = {"decoder": decoder, **PANEL, "top_k": 0, "temperature": 0.5, "output_type": "latent"}
    together = pipe(prompts, seed=[1, 2], **given).images
    for index, prompt in enumerate(prompts):
        assert torch.equal(pipe(prompt, seed=index + 1, **given).images[0], together[index])
    if decoder == "jacobi":
        assert torch.equal(pipe(prompts, seed=[1, 2], **given | {"decoder": "autoregressive"}).images, together)


def test_instructions(pipe):
    assert pipe.condition_choices["task"] == ("text-to-image", *PAIRS, *SOURCES)
    plans = {"text-to-image": pipe.plan("stars", **PANEL), "pose-pair": pipe.plan("stars", task="pose-pair", **PAIR)}
    said = {task: pipe.instruction("stars", plan.layout, plan.conditions) for task, plan in plans.items()}
    assert said["text-to-image"] == "Generate an image of 32x32 according to the following prompt:\nstars"
    assert said["pose-pair"] == (
        "Generate a dual-panel image of 32x64 where the <lower half> displays a <pose estimation map>, while the "
        "<upper half> retains the original image for direct visual comparison:\nstars"
    )
    plan = pipe.plan("stars", task="subject-to-image", image=Image.new("RGB", (9, 9)), **PANEL)
    assert pipe.instruction("stars", plan.layout, plan.conditions) == (
        "Generate a dual-panel image of 32x64 where the <upper half> displays a <Bubbly and effervescent with a "
        "sparkling allure.>, while the <lower half> retains the original image for direct visual comparison:\nstars"
    )


def test_sizes(pipe, monkeypatch):
    assert (LuminaMGPT2Pipeline.default_codes * 8, LuminaMGPT2Pipeline.panel_codes * 8) == (768, 512)
    monkeypatch.setattr(LuminaMGPT2Pipeline, "default_codes", 16)
    monkeypatch.setattr(LuminaMGPT2Pipeline, "panel_codes", 8)
    assert pipe.plan("stars", width=32).layout.grid == (16, 8)
    assert pipe.plan("stars", task="hed-pair").layout.grid == (16, 8)
    assert pipe.plan("stars", task="depth-to-image", image=Image.new("L", (9, 9))).layout.grid == (8, 8)
    for height in (0, "64", 33):
        with pytest.raises(SizeError, match="multiple of 32"):
            pipe.plan("stars", task="hed-pair", height=height)
    with pytest.raises(SizeError, match="height 32 does not fit; needed: a multiple of 64 pixels, for two panels"):
        pipe.plan("stars", task="hed-pair", **PANEL)
    long = "a " * 100
    assert pipe.plan(long, task="text-to-image", **PANEL)
    with pytest.raises(PromptError, match=r"takes 1\d\d tokens, and beside the picture there is room for"):
        pipe.plan(long, task="depth-to-image", image=Image.new("RGB", (9, 9)), **PANEL)


def test_pictures_that_are_not_wanted_or_missing(pipe, picture):
    for given in ({"task": "depth-to-image"}, {"image": picture}, {"task": "depth-pair", "image": picture}):
        with pytest.raises(OptionError, match="a picture for each of the tasks depth-to-image, canny-to-image"):
            pipe("stars", **PANEL, **given)
    for prompt, images in (("stars", [picture] * 2), (["stars"] * 3, [picture] * 2)):
        with pytest.raises(OptionError, match="'2 pictures': needed is one, or"):
            pipe(prompt, task="depth-to-image", image=images, **PANEL)
    for image in ([3], [torch.zeros(4, 8, 8)]):
        with pytest.raises(OptionError, match="a PIL picture, a tensor"):
            pipe("stars", task="depth-to-image", image=image, **PANEL)
    with pytest.raises(OptionError, match="one of text-to-image, depth-pair"):
        pipe("stars", task="depth", **PANEL)


def test_pictures_that_cannot_be_read(pipe, picture, tmp_path):
    """They are refused when a call is checked, before anything is drawn."""
    whole, cut, bomb, words = (tmp_path / f"{name}.png" for name in ("whole", "cut", "bomb", "words"))
    picture.save(whole)
    content = whole.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    header = b"IHDR" + (60000).to_bytes(4, "big") * 2 + content[24:29]
    bomb.write_bytes(content[:12] + header + zlib.crc32(header).to_bytes(4, "big") + content[33:])
    words.write_text("a red cat")
    given = {"task": "depth-to-image", **PANEL}
    reasons = {cut: "truncated", bomb: "3600000000 pixels", words: "cannot identify"}
    reasons[tmp_path / "a.png"] = "no such file"
    for path, reason in reasons.items():
        with pytest.raises(OptionError, match=rf"image='{path}': needed is .*{reason}"):
            pipe.plan("stars", image=str(path), **given)
    for image in (Image.open(cut), Image.new("F", (8, 8)), Image.new("I", (8, 8))):
        with pytest.raises(OptionError, match=r"truncated|of 8 or 16 bits; convert this one, of mode [FI]"):
            pipe.plan("stars", image=[image], **given)


def test_maps_of_16_bits_keep_their_shades(pipe, tmp_path):
    ramp = np.arange(32 * 32).reshape(32, 32) * 64
    Image.fromarray(ramp.astype(np.uint16)).save(tmp_path / "depth.png")
    image = Image.open(tmp_path / "depth.png")
    assert image.mode == "I;16"
    expected = (ramp / 257).round().astype(np.uint8)
    assert (np.asarray(fit(image, 32, 32)) == expected[..., None]).all()
    narrow = Image.fromarray(expected)
    given = {"task": "depth-to-image", **PANEL, "seed": 1, "output_type": "latent"}
    drawn = pipe("a red cat", image=str(tmp_path / "depth.png"), **given).images
    assert torch.equal(drawn, pipe("a red cat", image=narrow, **given).images)


def test_pictures_are_cut_around_their_middle_and_shown_on_white():
    image = Image.new("RGBA", (80, 40), "red")
    image.paste((0, 0, 255, 255), (16, 0, 64, 40))
    assert set(fit(image, 16, 16).get_flattened_data()) == {(0, 0, 255)}
    assert set(fit(Image.new("RGBA", (3, 3), (0, 0, 0, 0)), 5, 7).get_flattened_data()) == {(255, 255, 255)}
    assert fit(torch.full((3, 4, 4), 2.0), 2, 6).size == (6, 2)


def test_saving_and_loading(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "lumina")
    again = mmgen.load(str(tmp_path / "lumina"))
    again.set_progress_bar_config(disable=True)
    assert isinstance(again, LuminaMGPT2Pipeline) and again.revision == pipe.revision
    assert again.config.sampling == {"guidance": 4.0, "temperature": 1.0, "top_k": 4096, "top_p": 1.0}
    one, other = (p("a red cat", seed=4, **PANEL, output_type="pt").images for p in (pipe, again))
    assert torch.equal(one, other)


def test_what_is_recognised_and_what_is_missing(folder, tmp_path):
    assert lumina_mgpt2.recognise(folder) and not chameleon.recognise(folder)
    assert not lumina_mgpt2.recognise(tmp_path) and not lumina_mgpt2.recognise(folder / "model.safetensors")
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).symlink_to(folder / name)
    with pytest.raises(WeightsError, match=r"movqgan_270M\.ckpt"):
        lumina_mgpt2.load(tmp_path)
    pipe = lumina_mgpt2.load(tmp_path, tokenizer=folder / "movqgan_270M.ckpt")
    assert pipe.tokenizer.config.spatial_norm and pipe.transformer.config.first_code == FIRST
