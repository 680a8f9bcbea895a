"""Recipes run, resume, and write what can be loaded."""

import dataclasses
import json

import pytest
import torch

import mmgen
from mmgen.backbones.heads import TokenHeads
from mmgen.backbones.raster import RasterTransformer
from mmgen.checkpoints.folder import load_model
from mmgen.errors import UnknownNameError
from mmgen.tokenizers.patch_vq import PatchVQ
from mmgen.training import recipes
from mmgen.training.acceptance import measure_draft, measure_heads, overlap
from mmgen.training.backbone import first_blocks, train_backbone
from mmgen.training.heads import train_heads
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


def stop_after(count, seen):
    """A log that keeps its lines in `seen`, and stops the training at line `count`."""

    def log(line):
        seen.append(line)
        if len(seen) == count:
            raise KeyboardInterrupt

    return log


def state_of(pipe):
    models = (pipe.transformer, pipe.text_encoder, pipe.tokenizer)
    return {(i, key): tensor.clone() for i, model in enumerate(models) for key, tensor in model.state_dict().items()}


def assert_same(left, right):
    assert left.keys() == right.keys() and all(torch.equal(tensor, right[key]) for key, tensor in left.items())


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
    recipes.RECIPES["emoji-64"] = dataclasses.replace(recipe, budget=dataclasses.replace(recipe.budget, save_seconds=0))
    with pytest.raises(KeyboardInterrupt):
        recipes.train("emoji-64", tmp_path / "parts", tmp_path / "b", log=stop_after(2, seen := []))
    assert not (tmp_path / "parts").exists()
    parts = recipes.train("emoji-64", tmp_path / "parts", tmp_path / "b", log=seen.append)
    assert seen[2] == "resumed at step 1"
    left, right = mmgen.load(str(whole)), mmgen.load(str(parts))
    for key, tensor in left.transformer.state_dict().items():
        torch.testing.assert_close(tensor, right.transformer.state_dict()[key], rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def small_pipeline():
    """The shipped pipeline with a backbone of random weights, small enough to train in a test."""
    pipe = mmgen.load("emoji-64", draft=None, heads=None)
    torch.manual_seed(0)
    pipe.transformer = RasterTransformer(size=32, layers=2, heads=2, hidden_size=48, condition_size=320)
    for weight in pipe.transformer.parameters():
        if weight.ndim == 2:
            weight.data.normal_(0, 0.2)
    pipe.transformer.eval().requires_grad_(False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def companions(small_pipeline, monkeypatch):
    """Small recipes of the companions of `small_pipeline`."""
    budget, companions = Budget(steps=4, log_steps=1, save_seconds=0), {}
    for name in ("emoji-64-draft", "emoji-64-heads"):
        recipe = recipes.RECIPES[name]
        companions[name] = dataclasses.replace(recipe, budget=budget, batch=2, pictures=1)
    monkeypatch.setattr(recipes, "RECIPES", companions)
    monkeypatch.setattr("mmgen.pipelines.loading.load", lambda name, **components: {"emoji-64": small_pipeline}[name])


@pytest.mark.parametrize("name, kind", [("emoji-64-draft", RasterTransformer), ("emoji-64-heads", TokenHeads)])
def test_recipes_of_companions(name, kind, companions, small_pipeline, tmp_path):
    before = state_of(small_pipeline)
    lines = []
    whole = recipes.train(name, tmp_path / "whole", tmp_path / "a", log=lines.append)
    assert len(lines) == 5 and "acceptance" in json.loads(lines[-1])
    assert_same(state_of(small_pipeline), before)

    with pytest.raises(KeyboardInterrupt):
        recipes.train(name, tmp_path / "parts", tmp_path / "b", log=stop_after(2, seen := []))
    parts = recipes.train(name, tmp_path / "parts", tmp_path / "b", log=seen.append)
    assert seen[2] == "resumed at step 1"
    left, right = load_model(kind, whole).state_dict(), load_model(kind, parts).state_dict()
    for key, tensor in left.items():  # stored in float16
        torch.testing.assert_close(tensor, right[key], rtol=1e-3, atol=1e-4)
    assert any(tensor.abs().max() > 0 for tensor in left.values())


def test_training_lowers_the_loss(small_pipeline, tmp_path):
    pipe, budget = small_pipeline, Budget(steps=40, log_steps=10, learning_rate=1e-2)
    before, losses = state_of(pipe), []
    draft = first_blocks(pipe.transformer, 1)
    arguments = (pipe.text_encoder, pipe.tokenizer, budget)
    train_backbone(draft, *arguments, tmp_path / "draft.pt", batch=2, log=losses.append)
    torch.manual_seed(0)
    heads = TokenHeads(size=32, hidden_size=24, depths=2)
    train_heads(heads, pipe.transformer, *arguments, tmp_path / "heads.pt", batch=2, log=losses.append)
    losses = [float(line.split()[3]) for line in losses]
    assert losses[3] < 0.8 * losses[0] and losses[7] < losses[4] - 0.3, losses
    assert_same(state_of(pipe), before)


def test_a_draft_starts_as_the_first_blocks(small_pipeline):
    backbone = small_pipeline.transformer
    condition, tokens = torch.randn(1, 7, 320), torch.randint(1024, (1, 256))
    with torch.no_grad():
        draft = first_blocks(backbone, 1)
        whole, part = (model.teacher_forced(condition, tokens) for model in (first_blocks(backbone, 2), draft))
        torch.testing.assert_close(whole, backbone.teacher_forced(condition, tokens))
        draft.token_embedding.weight.zero_()
    assert len(draft.blocks) == 1 and part.shape == whole.shape and not torch.allclose(part, whole, atol=0.1)
    assert all(weight.requires_grad for weight in draft.parameters())
    assert backbone.token_embedding.weight.any()  # a copy, not a view


def test_overlap_is_the_share_of_drafts_kept():
    p, q = torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]]), torch.tensor([[0.0, 0.25, 0.75], [0.2, 0.3, 0.5]])
    torch.testing.assert_close(overlap(p, q), torch.tensor([0.25, 1.0]))


def test_measures_of_companions(small_pipeline):
    pipe = small_pipeline
    assert measure_draft(pipe.transformer, pipe, 2) == pytest.approx(1.0, abs=1e-4)
    other = first_blocks(pipe.transformer, 1)
    assert 0 < measure_draft(other, pipe, 2) < 0.999
    # A head that has learnt nothing repeats the law of the place before: wrong wherever the law changes.
    kept = measure_heads(TokenHeads(size=32, hidden_size=24, depths=2), pipe, 2)
    assert len(kept) == 2 and all(0 < share < 0.999 for share in kept)


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
