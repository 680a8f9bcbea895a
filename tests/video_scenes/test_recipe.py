"""The recipe of the video tokenizer, and what it made."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch

import mmgen
from mmgen.checkpoints.folder import load_model
from mmgen.scenes.grammar import BACKGROUNDS
from mmgen.scenes.motion import MOVING_OBJECTS, SPEEDS, VERBS, MotionGrammar
from mmgen.tokenizers.causal_patches import CausalPatchVQ
from mmgen.training import recipes
from mmgen.training.causal_patches import measure_clip_tokenizer
from mmgen.training.k_means import centres_of, distinct
from mmgen.training.loop import Budget

PAGE = Path(__file__).parents[2] / "docs" / "moving-scenes.md"


def test_the_recipe_resumes_and_writes_what_can_be_loaded(tmp_path, monkeypatch):
    recipe = recipes.RECIPES["moving-patches"]
    small = recipe.config | {"codebook_size": 64, "size": 16, "layers": 1, "heads": 2, "hidden_size": 32}
    budget = Budget(steps=4, log_steps=1, save_seconds=0)
    small_recipe = dataclasses.replace(recipe, config=small, budget=budget, clips=20, batch=2, measured=2)
    monkeypatch.setitem(recipes.RECIPES, "moving-patches", small_recipe)
    whole = recipes.train("moving-patches", tmp_path / "whole", tmp_path / "a", log=lambda line: None)
    seen = []

    def stop(line):
        seen.append(line)
        if len(seen) == 4:  # behind the line about the codebook, and three steps
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recipes.train("moving-patches", tmp_path / "parts", tmp_path / "b", log=stop)
    parts = recipes.train("moving-patches", tmp_path / "parts", tmp_path / "b", log=seen.append)
    assert "resumed at step 2" in seen
    report = json.loads(seen[-1])
    assert report["judge"]["correct"]["of"] == 2 and report["psnr"] > 0
    one, other = (load_model(CausalPatchVQ, folder).state_dict() for folder in (whole, parts))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert one["codebook"].unique(dim=0).shape[0] == 64


def test_the_shipped_tokenizer_keeps_what_clips_show():
    tokenizer = mmgen.load("moving-patches")
    report = measure_clip_tokenizer(tokenizer, MOVING_OBJECTS, 40)
    assert report["psnr"] > 28 and report["codes_used"] > 0.4
    assert report["judge"]["correct"]["right"] >= 39
    codes = tokenizer.encode(torch.zeros(1, 3, 17, 48, 64))
    assert codes.shape == (1, 1, 5, 6, 8) and tokenizer.decode(codes).shape == (1, 3, 17, 48, 64)


def test_the_page_names_everything_and_its_captions_are_understood():
    text = PAGE.read_text()
    page = " ".join(text.split())
    for word in (*MOVING_OBJECTS, *BACKGROUNDS, *SPEEDS, *VERBS):
        assert word in page, word
    captions = re.findall(r"^\| (an? .*?) \|", text, re.MULTILINE)
    assert len(captions) == 5
    for caption in captions:
        MotionGrammar().parse(caption)


def test_centres_of_few_points_are_the_points():
    points, counts = distinct([torch.tensor([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]]), torch.tensor([[3.0, 4.0]])])
    assert points.tolist() == [[1, 2], [3, 4]] and counts.tolist() == [2, 2]
    assert centres_of(points, counts, 3, 5, torch.Generator()).tolist() == [[1, 2], [3, 4], [1, 2]]


def test_centres_of_clouds_are_their_means():
    generator = torch.Generator().manual_seed(0)
    middles = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    points = (middles[:, None] + torch.rand(3, 40, 2, generator=generator)).flatten(0, 1)
    weights = torch.rand(120, generator=generator) + 0.1
    centres = centres_of(points, weights, 3, 20, generator)
    for cloud, weight in zip(points.split(40), weights.split(40), strict=True):
        mean = (cloud * weight[:, None]).sum(0) / weight.sum()
        assert (centres - mean).abs().sum(-1).min() < 1e-4
