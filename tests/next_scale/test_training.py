"""Recipes of scales run, resume, and write what can be loaded."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch
from next_scale.scenes import captioned, pyramid
from torch.nn.functional import cross_entropy

import mmgen
from mmgen import catalog
from mmgen.backbones.captioned_scales import CaptionedScaleTransformer
from mmgen.checkpoints.folder import load_model
from mmgen.errors import OptionError
from mmgen.pipelines import loading
from mmgen.scenes.encoder import SceneEncoder
from mmgen.training import recipes
from mmgen.training.loop import Budget
from mmgen.training.scales import disturb, hide, losses_of_scales, shape, token_losses, train_scales

SHAPE = {"size": 16, "layers": 1, "heads": 2, "hidden_size": 24}


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The recipes, small enough for a test, on the folders that they make in `tmp_path`."""
    shipped, load = catalog.tokenizers(), loading.load
    monkeypatch.setattr(catalog, "tokenizers", lambda: shipped | {"emoji-scales": tmp_path / "emoji-scales"})

    def load_made(name, *dtype, **given):
        return load(str(tmp_path / name) if name == "emoji-64-scales" else name, *dtype, **given)

    monkeypatch.setattr(loading, "load", load_made)
    budget = Budget(steps=3, log_steps=1, save_seconds=0)
    changed = {
        "emoji-scales": {"pictures": 20, "measured": 4, "colours": 16, "sizes": (1, 2, 16), "budget": Budget(steps=2)},
        "emoji-64-scales": {"transformer": SHAPE, "batch": 2, "pictures": 2, "budget": budget},
        "emoji-64-scales-small": {"transformer": SHAPE | {"size": 8}, "batch": 2, "pictures": 2, "budget": budget},
    }
    replaced = {name: dataclasses.replace(recipes.RECIPES[name], **changes) for name, changes in changed.items()}
    monkeypatch.setattr(recipes, "RECIPES", replaced)


def test_the_recipes_make_a_pipeline_one_after_the_other(small, tmp_path):
    logs = []
    recipes.train("emoji-scales", tmp_path / "emoji-scales", tmp_path / "runs", log=logs.append)
    measured = json.loads(logs[-1])
    assert max(measured["psnr"][:2]) < 22 < 30 < measured["psnr"][2]
    assert len(mmgen.load("emoji-scales").palette.unique(dim=0)) == 16

    folder = recipes.train("emoji-64-scales", tmp_path / "emoji-64-scales", tmp_path / "runs", log=logs.append)
    recipes.train("emoji-64-scales-small", folder / "draft", tmp_path / "runs", log=logs.append)
    assert all(len(json.loads(line)["losses"]) == 3 for line in (logs[4], logs[8]))
    assert not (folder / "tokenizer").exists()  # it is shared
    pipe = mmgen.load(str(folder))
    pipe.set_progress_bar_config(disable=True)
    assert pipe.draft.config.condition_size == 16 and pipe.decoder.passes == 3
    output = pipe("a cat", seed=1, decoder_options={"handover": 1})
    assert output.images[0].size == (64, 64) and output.statistics[0].draft_evaluations > 1


def test_a_training_starts_from_other_weights_and_refuses_those_of_another_shape(small, tmp_path, monkeypatch):
    recipes.train("emoji-scales", tmp_path / "emoji-scales", tmp_path / "runs", log=lambda line: None)
    first = recipes.train("emoji-64-scales", tmp_path / "first", tmp_path / "a", log=lambda line: None)
    loaded = {}

    def keep(model, *rest, **given):
        loaded.update({key: value.clone() for key, value in model.state_dict().items()})

    monkeypatch.setattr("mmgen.training.scales.train_scales", keep)
    recipes.train("emoji-64-scales", tmp_path / "second", tmp_path / "b", log=lambda line: None, start_from=str(first))
    weights = mmgen.load(str(first)).transformer.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in loaded.items())
    with pytest.raises(OptionError, match="shape of the recipe"):
        recipes.train("emoji-64-scales", tmp_path / "c", tmp_path / "c", start_from="emoji-64")
    with pytest.raises(OptionError, match="can start from"):
        recipes.train("emoji-scales", tmp_path / "c", tmp_path / "c", start_from=str(first))


def test_disturbed_tokens_are_those_of_twins_or_near_colours_in_coarse_scales_alone():
    tokenizer = pyramid()
    generator = torch.Generator().manual_seed(1)
    tokens, twins = (tokenizer.encode(torch.rand(64, 3, 16, 16, generator=generator) * 2 - 1) for _ in range(2))
    disturbed = disturb(tokens, twins, tokenizer, torch.Generator().manual_seed(2))
    coarse = tokenizer.layout.span(range(len(tokenizer.layout.sizes) - 1))
    changed = disturbed != tokens
    assert not changed[:, coarse.stop :].any()
    assert 0.1 < changed[:, coarse].any(1).float().mean() < 0.6  # half of the pictures are left as they are
    distances = torch.cdist(tokenizer.palette, tokenizer.palette).argsort().argsort()
    colours = len(tokenizer.palette) - 1
    near = distances[tokens.clamp(max=colours), disturbed.clamp(max=colours)] <= 6
    assert ((disturbed == twins) | near)[changed].all()
    assert torch.equal(disturb(tokens, twins, tokenizer, torch.Generator().manual_seed(2)), disturbed)


def test_an_interrupted_training_resumes_to_the_same_weights(small, tmp_path):
    recipes.train("emoji-scales", tmp_path / "emoji-scales", tmp_path / "runs", log=lambda line: None)
    whole = recipes.train("emoji-64-scales", tmp_path / "whole", tmp_path / "a", log=lambda line: None)
    with pytest.raises(KeyboardInterrupt):
        recipes.train("emoji-64-scales", tmp_path / "parts", tmp_path / "b", log=Stop(2))
    log = Stop(9)
    parts = recipes.train("emoji-64-scales", tmp_path / "parts", tmp_path / "b", log=log)
    assert log.lines[0] == "resumed at step 1"
    left, right = (load_model(CaptionedScaleTransformer, folder / "transformer") for folder in (whole, parts))
    for name, tensor in left.state_dict().items():
        torch.testing.assert_close(tensor, right.state_dict()[name], rtol=1e-4, atol=1e-5)


class Stop:
    """A log that stops the training at a line."""

    def __init__(self, at: int) -> None:
        self.at, self.lines = at, []

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        if len(self.lines) == self.at:
            raise KeyboardInterrupt


def test_training_lowers_the_loss_of_every_scale_and_spares_a_frozen_encoder(tmp_path):
    torch.manual_seed(0)
    tokenizer = pyramid((1, 2, 16))
    text_encoder = SceneEncoder(size=32).requires_grad_(False)
    before = text_encoder.embedding.weight.clone()
    model = CaptionedScaleTransformer(**shape(tokenizer), **SHAPE, condition_size=32)
    start = losses_of_scales(model, text_encoder, tokenizer, 32)
    assert start == pytest.approx([math.log(12), math.log(12), math.log(20)], abs=1e-4)
    budget = Budget(steps=40, learning_rate=1e-2, log_steps=10)
    train_scales(model, text_encoder, tokenizer, budget, tmp_path / "model.pt", batch=4, log=lambda line: None)
    end = losses_of_scales(model, text_encoder, tokenizer, 32)
    assert torch.equal(text_encoder.embedding.weight, before)
    assert all(last < first - 0.3 for first, last in zip(start, end, strict=True)), end


def test_losses_are_among_the_codes_of_the_scale():
    tokenizer, model = pyramid(), captioned(1)
    line = torch.cat((torch.arange(5)[None], torch.arange(12, 28)[None]), dim=1)
    logits = model.teacher_forced(torch.randn(1, 7, 32), tokenizer.next_inputs(line))
    losses = token_losses(logits, line, tokenizer)
    assert losses[0, 3] == pytest.approx(cross_entropy(logits[0, 3, :12], line[0, 3]).item(), abs=1e-5)
    assert losses[0, 7] == pytest.approx(cross_entropy(logits[0, 7, 12:], line[0, 7] - 12).item(), abs=1e-5)


def test_half_of_the_coarse_scales_are_shown_in_part():
    tokenizer = pyramid((1, 2, 4))
    line = torch.arange(21).repeat(4000, 1)
    shown = hide(line, tokenizer, torch.Generator().manual_seed(0))
    assert bool(((shown == line) | (shown == -1)).all()) and bool((shown[:, 5:] == -1).all())
    second = (shown[:, 1:5] >= 0).sum(1)
    counts = torch.bincount(second, minlength=5) / 4000
    assert counts[0] == pytest.approx(0.5 + 0.5 / 5, abs=0.03)  # none shown, or a share that came to none
    assert counts[1:].tolist() == pytest.approx([0.1] * 4, abs=0.03)  # shares are uniform
