"""Captions in, clips out, in raster order and plane by plane."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import mmgen
from mmgen import decoding
from mmgen.backbones.neighbour import NeighbourTransformer
from mmgen.backbones.raster import RasterTransformer
from mmgen.decoding import planes
from mmgen.errors import PromptError
from mmgen.pipelines.text_to_video import TextToVideoNeighbourPipeline, TextToVideoPipeline
from mmgen.scenes.motion_encoder import MovingSceneEncoder, StoryboardEncoder
from mmgen.scenes.motion_render import render_staged, stage
from mmgen.tokenizers.causal_patches import CausalPatchVQ
from mmgen.training import recipes, video
from mmgen.training.folders import write_model

CAPTIONS = ["a red ball bounces from left to right", "a cat moves up while a star moves down quickly"]


def tokenizer() -> CausalPatchVQ:
    made = CausalPatchVQ(16, 8, 4, (8,), size=16, layers=1, heads=2, hidden_size=16)
    made.codebook.data.uniform_(-1, 1, generator=torch.Generator().manual_seed(2))
    return made.eval()


def spread(model: torch.nn.Module) -> torch.nn.Module:
    """With weights whose laws are far from flat."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.data.normal_(0, 0.3, generator=generator)
    return model.eval().requires_grad_(False)


def pipeline(kind):
    codes = tokenizer()
    if kind is TextToVideoPipeline:
        encoder = spread(MovingSceneEncoder(size=32))
        transformer = RasterTransformer(16, 2, 2, encoder.length, 32, 2, 2, 48, frames=3)
        decoder = decoding.make("jacobi", window=8, drafter="frame-repeat")
    else:
        encoder = spread(StoryboardEncoder(size=32, sizes=(3, 2, 2)))
        transformer = NeighbourTransformer(16, (3, 2, 2), 32, 2, 2, 48, None, None, encoder.length, told=True)
        decoder = planes.make("plane-wise")
    pipe = kind(codes, encoder, spread(transformer), decoder, {"guidance": 1.5})
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module", params=[TextToVideoPipeline, TextToVideoNeighbourPipeline])
def pipe(request):
    return pipeline(request.param)


def test_a_call_returns_clips_and_statistics(pipe):
    out = pipe(CAPTIONS, seed=[1, 2])
    assert [len(clip) for clip in out.frames] == [9, 9] and out.frames[0][0].size == (16, 16)
    assert out.frames_per_second == 8
    for item, prompt in zip(out.statistics, CAPTIONS, strict=True):
        assert (item.prompt, item.law, item.tokens, item.size, item.complete) == (
            prompt,
            "exact",
            12,
            (9, 16, 16),
            True,
        )
    with pytest.raises(PromptError):
        pipe("a cat")


def test_planes_are_evaluations():
    assert pipeline(TextToVideoNeighbourPipeline)(CAPTIONS[0], seed=1).statistics[0].evaluations == 3 + 2 + 2 - 2


def test_a_clip_depends_on_its_caption_and_seed_alone(pipe):
    both = pipe(CAPTIONS, seed=[1, 5], output_type="latent").frames
    assert torch.equal(both[:1], pipe(CAPTIONS[0], seed=1, output_type="latent").frames)
    assert torch.equal(both, pipe(CAPTIONS, seed=[1, 5], batch_size=1, output_type="latent").frames)
    assert not torch.equal(both[:1], pipe(CAPTIONS[0], seed=2, output_type="latent").frames)
    assert not torch.equal(both[:1], pipe(CAPTIONS[1], seed=1, output_type="latent").frames)


def test_seeded_decoders_draw_the_same_clip(pipe):
    reference = pipe(CAPTIONS, seed=3, decoder=pipe.algorithms.REFERENCE, output_type="latent")
    fast = pipe(CAPTIONS, seed=3, decoder="jacobi", decoder_options={"window": 4}, output_type="latent")
    assert torch.equal(reference.frames, fast.frames)
    assert all(a.evaluations >= b.evaluations for a, b in zip(reference.statistics, fast.statistics, strict=True))


def test_a_clip_goes_on_from_another(pipe):
    first = pipe(CAPTIONS[0], seed=4, output_type="np")
    begun = first.frames[0][-1:]
    out = pipe(CAPTIONS[0], seed=9, continue_from=begun, output_type="latent")
    codes = pipe.tokenizer.encode(torch.from_numpy(begun).permute(3, 0, 1, 2)[None] * 2 - 1)
    assert torch.equal(out.frames[:, :, :1], codes[:, :, :1])


def test_previews_show_what_is_drawn(pipe):
    steps = [pipe.render(drawing, "np") for drawing in pipe.draw(CAPTIONS[0], seed=1)]
    assert all(step.shape == (1, 9, 16, 16, 3) for step in steps)
    assert (steps[0] == 0.5).all(-1).mean() > (steps[-1] == 0.5).all(-1).mean() == 0


def test_a_folder_draws_the_same_clips(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    again = mmgen.load(str(tmp_path))
    again.set_progress_bar_config(disable=True)
    assert (again.medium, type(again)) == ("video", type(pipe))
    assert np.array_equal(
        again(CAPTIONS[0], seed=1, output_type="np").frames, pipe(CAPTIONS[0], seed=1, output_type="np").frames
    )


def test_where_things_start_is_drawn_from_the_seed():
    pipe = pipeline(TextToVideoNeighbourPipeline)
    one, other = (pipe.staged(pipe.plan([CAPTIONS[0]] * 20, seed=seed)) for seed in (list(range(20)), 3))
    assert one[3] == other[0] and len({staged.starts for staged in one}) > 1


def test_where_frames_are_given_things_start_as_those_show():
    pipe, rng = mmgen.load("moving-64-neighbour"), np.random.default_rng(2)
    for caption in ("a cat moves down", "a star stays on a blue background", "a rocket moves up while a dog stays"):
        shown = stage(pipe.read(caption), rng)
        clip = render_staged(shown)[:5] / np.float32(255)
        (staged,) = pipe.staged(pipe.plan(caption, seed=1, continue_from=clip))
        assert staged == shown


@pytest.mark.parametrize("name", ["moving-64", "moving-64-neighbour"])
def test_the_recipe_makes_a_pipeline_and_resumes(name, tmp_path, monkeypatch):
    write_model(tokenizer(), tmp_path / "tokenizer")
    recipe = recipes.RECIPES[name]
    small = {"size": 32, "layers": 1, "heads": 2, "hidden_size": 32}
    recipe = dataclasses.replace(recipe, tokenizer="tiny", transformer=small, batch=2)
    monkeypatch.setattr("mmgen.pipelines.loading.load", lambda name: tokenizer())
    monkeypatch.setitem(recipes.RECIPES, name, recipe)
    lines: list[str] = []
    for steps in (2, 4):
        recipes.train(name, tmp_path / "out", tmp_path / "work", steps=steps, log=lines.append)
    assert lines == ["resumed at step 2"]
    monkeypatch.setattr("mmgen.catalog.tokenizers", lambda: {"tiny": tmp_path / "tokenizer"})
    pipe = type(pipeline(recipe.pipeline)).from_pretrained(tmp_path / "out")
    out = pipe(CAPTIONS[0], seed=1)
    assert len(out.frames[0]) == 17 and out.frames[0][0].size == (64, 64)


def test_training_lowers_the_loss(tmp_path):
    codes, encoder = tokenizer(), MovingSceneEncoder(size=32)
    losses: list[float] = []
    transformer = RasterTransformer(16, 8, 8, encoder.length, 32, 1, 2, 32, frames=5)

    def log(line: str) -> None:
        losses.append(float(line.split("loss ")[1].split()[0]))

    budget = video.Budget(steps=12, learning_rate=3e-3, log_steps=4)
    video.train_video(transformer, encoder, codes, budget, tmp_path / "state.pt", 4, log=log)
    assert losses[-1] < losses[0] - 0.1
