"""Recipes run, resume, and write what can be loaded."""

import dataclasses

import pytest
import torch

import mmgen
from mmgen.checkpoints.folder import load_model
from mmgen.errors import UnknownNameError
from mmgen.tokenizers.patch_vq import PatchVQ
from mmgen.training import recipes
from mmgen.training.loop import Budget
from mmgen.training.optimizer import Muon, orthogonalize


@pytest.fixture
def small_recipes(monkeypatch):
    tokenizer, pipeline = recipes.RECIPES["emoji-patches"], recipes.RECIPES["emoji-64"]
    small = {
        "emoji-patches": dataclasses.replace(
            tokenizer,
            config=tokenizer.config | {"codebook_size": 64, "size": 16, "layers": 1, "heads": 2, "hidden_size": 32},
            budget=Budget(steps=4, log_steps=2),
            pictures=100,
            batch=2,
        ),
        "emoji-64": dataclasses.replace(
            pipeline,
            transformer={"size": 32, "layers": 1, "heads": 2, "hidden_size": 32},
            budget=Budget(steps=4, log_steps=1),
            batch=4,
        ),
    }
    monkeypatch.setattr(recipes, "RECIPES", small)


def test_the_tokenizer_recipe(small_recipes, tmp_path):
    lines = []
    folder = recipes.train("emoji-patches", tmp_path / "tokenizer", tmp_path / "runs", log=lines.append)
    assert (folder / "config.json").exists() and '"psnr"' in lines[-1]
    tokenizer = load_model(PatchVQ, folder)
    assert tokenizer.codebook.unique(dim=0).shape[0] == 64


def test_the_pipeline_recipe_resumes_to_the_same_weights(small_recipes, tmp_path):
    losses = []
    whole = recipes.train("emoji-64", tmp_path / "whole", tmp_path / "a", log=losses.append)
    assert len(losses) == 4
    recipe = recipes.RECIPES["emoji-64"]
    # The schedule belongs to the whole budget, so the first part stops by an error in the middle.
    seen = []

    def stop_after_two(line):
        seen.append(line)
        if len(seen) == 2:
            raise KeyboardInterrupt

    recipes.RECIPES["emoji-64"] = dataclasses.replace(recipe, budget=dataclasses.replace(recipe.budget, save_seconds=0))
    with pytest.raises(KeyboardInterrupt):
        recipes.train("emoji-64", tmp_path / "parts", tmp_path / "b", log=stop_after_two)
    assert not (tmp_path / "parts").exists()
    parts = recipes.train("emoji-64", tmp_path / "parts", tmp_path / "b", log=seen.append)
    assert seen[2] == "resumed at step 1"
    left, right = mmgen.load(str(whole)), mmgen.load(str(parts))
    for key, tensor in left.transformer.state_dict().items():
        torch.testing.assert_close(tensor, right.transformer.state_dict()[key], rtol=1e-4, atol=1e-5)


def test_unknown_recipe():
    with pytest.raises(UnknownNameError, match="emoji-64"):
        recipes.train("emoji")


def test_the_schedule_ends_at_zero_however_time_passes():
    budget = Budget(steps=100, minutes=1.0, learning_rate=1.0, decay_from=0.5)
    assert budget.progress(10, 0.0) == 0.1 and budget.progress(10, 30.0) == 0.5 and budget.progress(200, 0) == 1
    rates = [budget.rate(step / 100) for step in range(101)]
    assert max(rates) == 1 and rates[100] == 0 and rates[75] == 0.5 and rates[0] < 0.02


def test_orthogonal_updates():
    matrices = torch.randn(2, 24, 16, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalize(matrices))
    assert values.min() > 0.6 and values.max() < 1.3
    weight = torch.nn.Parameter(torch.zeros(12, 4))
    weight.grad = torch.randn(12, 4, generator=torch.Generator().manual_seed(1))
    Muon([("blocks.0.qkv.weight", weight)], lr=1.0, weight_decay=0.0).step()
    for part in weight.detach().split(4):  # queries, keys and values are orthogonalised apart
        assert torch.linalg.svdvals(part / (0.2 * 4**0.5)).sub(1).abs().max() < 0.4
