"""LlamaGen as a pipeline: captions through T5 with the authors' padding, classes, a draft model, every decoder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

import mmgen
from mmgen import decoding
from mmgen.backbones.llamagen import LlamaGenTransformer
from mmgen.cli import main
from mmgen.errors import MissingDependencyError, OptionError, PromptError, UnknownNameError, WeightsError
from mmgen.pipelines.llamagen import LlamaGenPipeline, cleaned, move_to_end
from mmgen.tokenizers.vqgan import VQGAN
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = ["<pad>", "</s>", "<unk>", "a", "red", "apple", "two", "cats"]


def random_model(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        if weight.ndim > 1:
            weight.data.normal_(0, 0.25, generator=generator)
    return model.eval().requires_grad_(False)


def transformer(seed: int, size: int, layers: int, **condition: object) -> LlamaGenTransformer:
    model = LlamaGenTransformer(64, 4, 4, size, layers, 4, 2 * size, **condition)
    for name, buffer in model.named_buffers():
        buffer.copy_(torch.randn(buffer.shape, generator=torch.Generator().manual_seed(len(name))))
    return random_model(model, seed)


def vqgan() -> VQGAN:
    return random_model(VQGAN(codebook_size=64, latent_channels=32, channels=32, multipliers=(1, 1), blocks=1), 3)


@pytest.fixture(scope="module")
def by_class() -> LlamaGenPipeline:
    models_ = [transformer(1, 32, 3, classes=10), transformer(2, 16, 1, classes=10)]
    pipe = LlamaGenPipeline(vqgan(), models_[0], decoding.make("jacobi", window=6), {"guidance": 2.0}, draft=models_[1])
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def by_caption() -> LlamaGenPipeline:
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    config = T5Config(vocab_size=len(WORDS), d_model=24, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    condition = {"classes": None, "caption_size": 24, "condition_length": 8}
    pipe = LlamaGenPipeline(
        vqgan(),
        transformer(4, 32, 2, **condition),
        decoding.make("autoregressive"),
        {"guidance": 3.0},
        random_model(T5EncoderModel(config), 5),
        fast,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_captions_are_moved_to_the_end_as_the_authors_do(goldens: Path) -> None:
    case = load_file(goldens / "llamagen" / "t2i_inputs.safetensors")
    features, mask = move_to_end(case["t5_emb"], case["t5_mask"].bool())
    assert torch.equal(mask, case["mask_left"].bool())
    assert torch.equal(features * mask[..., None], case["c_left"])


@pytest.mark.parametrize("decoder", decoding.decoders())
def test_a_batch_is_its_single_calls(by_class: LlamaGenPipeline, by_caption: LlamaGenPipeline, decoder: str) -> None:
    for pipe, prompts in ((by_class, ["3", "7", "0"]), (by_caption, ["a red apple", "two cats", "a"])):
        together = pipe(prompts, seed=[5, 6, 7], decoder=decoder, output_type="latent")
        for index, (prompt, seed) in enumerate(zip(prompts, (5, 6, 7), strict=True)):
            alone = pipe(prompt, seed=seed, decoder=decoder, output_type="latent")
            assert torch.equal(alone.images[0], together.images[index])
            assert alone.statistics[0].evaluations == together.statistics[index].evaluations


def test_padding_is_a_condition_that_changes_the_picture(by_caption: LlamaGenPipeline) -> None:
    left, right = (
        by_caption("a red apple", seed=1, padding=padding, output_type="latent") for padding in ("left", "right")
    )
    assert not torch.equal(left.images, right.images)
    assert left.statistics[0].conditions == {} and right.statistics[0].conditions == {"padding": "right"}
    with pytest.raises(OptionError, match="left, right"):
        by_caption("a red apple", padding="middle")
    with pytest.raises(UnknownNameError, match="negative_prompt"):
        by_caption("a red apple", negative_prompt="a")


def test_captions_are_cleaned_as_in_training(by_caption: LlamaGenPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cleaned("A &quot;Red&quot; Apple  at https://a.com/b") == 'a "red" apple at'
    shouted, quiet = (by_caption(text, seed=1, output_type="latent").images for text in ("A  RED Apple", "a red apple"))
    assert torch.equal(shouted, quiet)
    for given in (False, "false"):
        plain = by_caption("A red apple", seed=1, clean_caption=given, output_type="latent")
        assert torch.equal(plain.images, quiet) and plain.statistics[0].conditions == {"clean_caption": "False"}
    with pytest.raises(OptionError, match="true or false"):
        by_caption("a", clean_caption="maybe")
    monkeypatch.setattr("mmgen.pipelines.llamagen.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"mmgen\[captions\]"):
        by_caption("a", seed=1)


def test_what_pads_a_caption_does_not_matter(by_caption: LlamaGenPipeline) -> None:
    """Left padding: neither the features nor the number of padded rows are seen by the picture."""
    model = by_caption.transformer
    features, mask = by_caption.caption_features(["a red apple"])
    noisy = torch.where(mask[..., None], features, torch.randn(features.shape))
    lines = []
    for given in (features, noisy):
        prompts = model.caption_prompt(given, mask), model.null_caption_prompt(1, mask)
        session = by_caption.session(by_caption.plan("a", seed=1))
        session._prompt = prompts[0] + prompts[1]
        session._begin = session._prompt.begin
        session.open(4)
        lines.append(session.score(torch.tensor([[session.begin_token, 3, 5, 7]])))
    torch.testing.assert_close(*lines)


def test_a_small_transformer_drafts_for_a_large_one(by_class: LlamaGenPipeline) -> None:
    plain = by_class("4", seed=2, decoder="autoregressive", output_type="latent")
    options = {"drafter": "draft-model", "window": 4}
    drafted = by_class("4", seed=2, decoder="seeded-speculative", decoder_options=options, output_type="latent")
    assert torch.equal(plain.images, drafted.images)
    assert drafted.statistics[0].draft_evaluations > 0


def test_prompts_are_checked(by_class: LlamaGenPipeline, by_caption: LlamaGenPipeline) -> None:
    for prompt in ("10", "-1", "cat", "", "1.0", 10, -1, "²"):
        with pytest.raises(PromptError, match="0 to 9"):
            by_class(prompt)
    for prompt in ("", " ", 3):
        with pytest.raises(PromptError, match="caption"):
            by_caption(prompt)


def test_saved_and_loaded(by_class: LlamaGenPipeline, by_caption: LlamaGenPipeline, tmp_path: Path) -> None:
    for pipe, prompt, name in ((by_class, "3", "class"), (by_caption, "two cats", "caption")):
        pipe.save_pretrained(tmp_path / name)
        again = mmgen.load(str(tmp_path / name))
        assert again.revision == pipe.revision
        assert pipe(prompt, seed=1).images[0].tobytes() == again(prompt, seed=1).images[0].tobytes()
        assert (again.draft is None) == (pipe.draft is None)


def test_captions_that_cleaning_empties_are_refused_by_their_line(
    by_caption: LlamaGenPipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by_caption.save_pretrained(tmp_path / "pipe")
    (tmp_path / "prompts.txt").write_text("a red apple\n一只猫\n", encoding="utf-8")
    words = ["generate", "--pipeline", str(tmp_path / "pipe"), "--prompts", str(tmp_path / "prompts.txt")]
    assert main([*words, "--out", str(tmp_path / "out")]) == 1
    assert "line 2" in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert main([*words, "--out", str(tmp_path / "out"), "--condition", "clean_caption=false"]) == 0


def test_an_incomplete_text_encoder_is_refused(by_caption: LlamaGenPipeline, tmp_path: Path) -> None:
    by_caption.save_pretrained(tmp_path)
    file = tmp_path / "text_encoder" / "model.safetensors"
    state = load_file(file)
    whole = mmgen.load(str(tmp_path))
    assert whole.text_encoder.encoder.embed_tokens.weight is whole.text_encoder.shared.weight
    missing = next(name for name in state if "relative_attention_bias" in name)
    save_file({name: tensor for name, tensor in state.items() if name != missing}, file, {"format": "pt"})
    with pytest.raises(WeightsError, match="relative_attention_bias"):
        mmgen.load(str(tmp_path))
    save_file(state | {missing: torch.zeros(2, 2)}, file, {"format": "pt"})
    with pytest.raises(WeightsError, match="has shape"):
        mmgen.load(str(tmp_path))


def test_parts_that_do_not_belong_together_are_refused(by_class: LlamaGenPipeline, tmp_path: Path) -> None:
    other = VQGAN(codebook_size=32, latent_channels=32, channels=32, multipliers=(1, 1), blocks=1)
    with pytest.raises(OptionError, match="a model of 64 codes"):
        LlamaGenPipeline(other, by_class.transformer, by_class.decoder)
    by_class.save_pretrained(tmp_path)
    for given, words in (({"image_size": 64}, "image_size"), ({"tokenizer": "vq.pt"}, "VQGAN")):
        with pytest.raises(OptionError, match=words):
            mmgen.load(str(tmp_path), **given)
