"""Best of N: who is drawn, scored, chosen and counted."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import mmgen
from mmgen.errors import OptionError, WeightsError
from mmgen.pipelines.best_of import ClipScorer, best_of

PROMPTS = ["a cat", "two stars"]


def brightness(images, prompts):
    assert len(images) == len(prompts)
    return [float(np.asarray(image).mean()) for image in images]


def pixels(image):
    return np.asarray(image)


def test_the_best_of_each_prompt_is_kept(tiny_pipeline):
    out = best_of(tiny_pipeline, PROMPTS, 4, brightness, seed=[3, 50])
    candidates = tiny_pipeline(PROMPTS, seed=[3, 50], num_images_per_prompt=4)
    scores = brightness(candidates.images, [""] * 8)
    assert out.scores == scores and len(set(scores)) > 4
    assert out.chosen == [int(np.argmax(scores[:4])), 4 + int(np.argmax(scores[4:]))]
    assert len(out.images) == 2
    for image, index, prompt in zip(out.images, out.chosen, PROMPTS, strict=True):
        one = out.statistics[index]
        assert one.prompt == prompt and (pixels(image) == pixels(candidates.images[index])).all()
        assert (pixels(tiny_pipeline(prompt, seed=one.seed).images[0]) == pixels(image)).all()


def test_every_candidate_is_counted(tiny_pipeline):
    out = best_of(tiny_pipeline, "a cat", 3, brightness, seed=1, decoder="autoregressive")
    assert [one.seed for one in out.statistics] == [1, 2, 3]
    assert out.evaluations == 3 * 16 == sum(one.evaluations for one in out.statistics)
    assert len(best_of(tiny_pipeline, "a cat", 1, brightness).statistics) == 1


def test_prompts_reach_the_scorer_and_the_first_of_equals_is_kept(tiny_pipeline):
    heard = []

    def indifferent(images, prompts):
        heard.extend(prompts)
        return [0] * len(images)

    assert best_of(tiny_pipeline, PROMPTS, 2, indifferent).chosen == [0, 2]
    assert heard == ["a cat", "a cat", "two stars", "two stars"]


def test_worse_scores_are_not_better(tiny_pipeline):
    def darkness(images, prompts):
        return [-value for value in brightness(images, prompts)]

    best, worst = (best_of(tiny_pipeline, "a cat", 6, scorer, seed=9) for scorer in (brightness, darkness))
    assert best.scores == [-score for score in worst.scores]
    assert pixels(best.images[0]).mean() > pixels(worst.images[0]).mean()


@pytest.mark.parametrize("scores", [[], [1.0], [1.0, float("nan")], [1.0, 2.0, 3.0]])
def test_scores_that_choose_nothing(tiny_pipeline, scores):
    with pytest.raises(OptionError, match="2 numbers, one for each picture"):
        best_of(tiny_pipeline, "a cat", 2, lambda images, prompts: scores)


def test_settings_that_are_decided_already(tiny_pipeline):
    for count in (0, 257, 2.0, True):
        with pytest.raises(OptionError, match="a whole number from 1 to 256"):
            best_of(tiny_pipeline, "a cat", count, brightness)
    for name, value in (("num_images_per_prompt", 2), ("output_type", "pt"), ("return_dict", False)):
        with pytest.raises(OptionError, match=f"{name}=.*left out"):
            best_of(tiny_pipeline, "a cat", 2, brightness, **{name: value})


def test_a_shipped_pipeline():
    pipe = mmgen.load("emoji-64")
    pipe.set_progress_bar_config(disable=True)

    def redness(images, prompts):
        return [float(pixels(image)[..., 0].mean() - pixels(image)[..., 1].mean()) for image in images]

    prompt = "two stars"
    out = best_of(pipe, prompt, 4, redness, seed=7, temperature=2.0)
    assert max(out.scores) > min(out.scores) and out.scores[out.chosen[0]] == max(out.scores)
    assert redness(out.images, [prompt]) == [max(out.scores)]
    assert out.evaluations == sum(one.evaluations for one in out.statistics) >= 4


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A tiny CLIP of random weights, in transformers' format."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    folder = tmp_path_factory.mktemp("clip")
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    letters = ["<|startoftext|>", "<|endoftext|>", *"abcdefghijklmnopqrstuvwxyz"]
    vocabulary = letters + [f"{letter}</w>" for letter in letters[2:]]
    text = sizes | {"vocab_size": len(vocabulary), "max_position_embeddings": 12, "bos_token_id": 0, "eos_token_id": 1}
    vision = sizes | {"image_size": 16, "patch_size": 8}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return folder


@torch.no_grad()
def test_clip_scores_pairs(clip):
    from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

    noise = np.random.default_rng(1).integers(0, 256, (5, 20, 24, 3), dtype=np.uint8)
    images, prompts = [Image.fromarray(each) for each in noise], ["a cat", "dog", "a cat", "the sea", "x " * 40]
    scores = ClipScorer(clip, batch=2)(images, prompts)
    model = CLIPModel.from_pretrained(clip).eval()
    for image, prompt, score in zip(images, prompts, scores, strict=True):
        pixel_values = CLIPImageProcessor.from_pretrained(clip)(images=image, return_tensors="pt")["pixel_values"]
        ids = CLIPTokenizer.from_pretrained(clip)(prompt, return_tensors="pt", truncation=True, max_length=12)
        expected = model(input_ids=ids["input_ids"], pixel_values=pixel_values).logits_per_image
        assert score == pytest.approx(float(expected / model.logit_scale.exp()), abs=1e-5)
    assert len(set(scores)) == 5


def test_clip_chooses(clip, tiny_pipeline):
    out = best_of(tiny_pipeline, PROMPTS, 3, ClipScorer(clip), seed=2)
    assert len(out.scores) == 6 and all(-1 <= score <= 1 for score in out.scores)


def test_a_folder_without_clip(tmp_path):
    with pytest.raises(WeightsError, match="does not hold CLIP"):
        ClipScorer(tmp_path)
