"""Neighbouring autoregression as a pipeline: classes, captions, previews, files, commands and the benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from planes.conftest import random_transformer
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

import mmgen
from mmgen.cli import main
from mmgen.decoding import planes
from mmgen.errors import OptionError, PromptError, SizeError, UnknownNameError
from mmgen.evaluation import bench
from mmgen.pipelines.neighbour import NeighbourPipeline
from mmgen.tokenizers.vqgan import VQGAN
from tokenizers import Tokenizer, models, pre_tokenizers

WORDS = ["<pad>", "</s>", "<unk>", "a", "red", "apple", "two", "cats"]


def vqgan() -> VQGAN:
    model = VQGAN(codebook_size=11, latent_channels=32, channels=32, multipliers=(1, 1), blocks=1)
    generator = torch.Generator().manual_seed(3)
    for weight in model.parameters():
        if weight.ndim > 1:
            weight.data.normal_(0, 0.25, generator=generator)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def by_class() -> NeighbourPipeline:
    pipe = NeighbourPipeline(vqgan(), random_transformer(), planes.make("jacobi", window=3), {"guidance": 2.0})
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def by_caption() -> NeighbourPipeline:
    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    config = T5Config(vocab_size=len(WORDS), d_model=24, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    torch.manual_seed(5)
    encoder = T5EncoderModel(config).eval().requires_grad_(False)
    model = random_transformer(4, classes=None, caption_size=24, condition_length=8)
    model.null_caption.normal_(generator=torch.Generator().manual_seed(6))
    pipe = NeighbourPipeline(vqgan(), model, planes.make("plane-wise"), {"guidance": 3.0}, encoder, fast)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize("decoder", planes.decoders())
def test_a_batch_is_its_single_calls(by_class, by_caption, decoder: str) -> None:
    for pipe, prompts in ((by_class, ["3", "4", "0"]), (by_caption, ["a red apple", "two cats", "a"])):
        together = pipe(prompts, seed=[5, 6, 7], decoder=decoder, output_type="latent")
        assert together.images.shape == (3, 1, 3, 4)
        for index, (prompt, seed) in enumerate(zip(prompts, (5, 6, 7), strict=True)):
            alone = pipe(prompt, seed=seed, decoder=decoder, output_type="latent")
            assert torch.equal(alone.images[0], together.images[index])
            assert alone.statistics[0].evaluations == together.statistics[index].evaluations


def test_a_picture_takes_as_many_evaluations_as_it_has_planes(by_class) -> None:
    plain, fast = (by_class("3", seed=1, decoder=name) for name in ("plane-wise", "jacobi"))
    about = plain.statistics[0]
    assert about.evaluations == 6 and about.tokens == 12 and about.law == "exact" and about.complete
    assert plain.images[0].tobytes() == fast.images[0].tobytes()
    assert plain.images[0].size == (8, 6)


def test_padding_is_a_condition_that_changes_the_picture(by_caption) -> None:
    left, right = (by_caption("a red apple", seed=1, padding=side, output_type="latent") for side in ("left", "right"))
    assert not torch.equal(left.images, right.images)


def test_previews_show_what_is_drawn(by_class) -> None:
    gray = []
    for drawing in by_class.draw("3", seed=2, decoder="plane-wise"):
        codes = by_class.render(drawing, "latent")[0, 0]
        gray.append(int((codes < 0).sum()))
        image = by_class.render(drawing, "np")[0]
        assert bool(np.all(image[np.repeat(np.repeat(codes.numpy() < 0, 2, 0), 2, 1)] == 0.5))
    assert gray == [11, 9, 6, 3, 1, 0]


def test_given_codes_stay(by_class) -> None:
    known = torch.full((1, 1, 3, 4), -1)
    known[..., :2] = 5
    out = by_class(["3", "4"], seed=1, known=known, output_type="latent")
    assert bool((out.images[..., :2] == 5).all()) and out.statistics[0].tokens == 6
    with pytest.raises(SizeError, match="known codes"):
        by_class("3", known=known[..., :2])


def test_prompts_and_decoders_are_checked(by_class, by_caption) -> None:
    with pytest.raises(PromptError, match="0 to 4"):
        by_class("5")
    with pytest.raises(PromptError, match="caption"):
        by_caption("")
    with pytest.raises(UnknownNameError, match="plane-wise"):
        by_class("3", decoder="autoregressive")
    with pytest.raises(OptionError, match="axis"):
        by_class("3", decoder="jacobi", decoder_options={"axis": 4})


def test_saved_and_loaded(by_class, by_caption, tmp_path: Path) -> None:
    for pipe, prompt, name in ((by_class, "3", "class"), (by_caption, "two cats", "caption")):
        pipe.save_pretrained(tmp_path / name)
        again = mmgen.load(str(tmp_path / name))
        assert again.revision == pipe.revision and again.decoder.options() == pipe.decoder.options()
        assert pipe(prompt, seed=1).images[0].tobytes() == again(prompt, seed=1).images[0].tobytes()


def test_published_files_become_a_folder_and_a_picture(goldens: Path, tmp_path: Path, capsys) -> None:
    file = goldens / "nar" / "image_c2i.pt"
    given = ["--tokenizer", str(goldens / "llamagen" / "vq16.pt"), "--image-size", "64", "--heads", "4"]
    assert main(["convert", str(file), str(tmp_path / "nar"), *given]) == 0
    words = ["generate", "3", "--pipeline", str(tmp_path / "nar"), "--seed", "1", "--out", str(tmp_path / "out")]
    assert main([*words, "--decoder", "jacobi"]) == 0, capsys.readouterr().err
    pipe = mmgen.load(str(tmp_path / "nar"))
    pipe.set_progress_bar_config(disable=True)
    case = load_file(goldens / "nar" / "image_c2i_greedy_cfg2.safetensors")
    prompts = [str(label) for label in case["cond"].tolist()]
    out = pipe(prompts, seed=0, guidance=2.0, temperature=0, top_k=0, output_type="latent")
    assert torch.equal(out.images.flatten(1), case["tokens"])


def test_the_size_of_pictures_is_told_by_name_or_kind(goldens: Path) -> None:
    given = {"tokenizer": goldens / "llamagen" / "vq16.pt", "heads": 4}
    pipe = mmgen.load(str(goldens / "nar" / "image_c2i.pt"), **given)
    assert pipe.transformer.layout.sizes == (16, 16)
    with pytest.raises(OptionError, match="multiple of the tokenizer's stride 16"):
        mmgen.load(str(goldens / "nar" / "image_c2i.pt"), **given, image_size=72)


def test_the_benchmark_knows_its_decoders(by_class) -> None:
    rows = bench.run(by_class, "jacobi:window=3,coupled-jacobi", prompts=1, repeats=1, captions=["3"], baseline=False)
    assert [row.decoder for row in rows] == ["plane-wise", "jacobi", "coupled-jacobi"]
    assert rows[0].evaluations == 6 and rows[1].same_pictures


def test_half_precision_and_8_bits_draw(by_class) -> None:
    pipe = NeighbourPipeline(vqgan(), random_transformer().bfloat16(), planes.make("jacobi"), {"guidance": 2.0})
    pipe.set_progress_bar_config(disable=True)
    pipe.cache_bits = 8
    assert pipe("3", seed=1, output_type="latent").images.shape == (1, 1, 3, 4)
