"""Captions in, clips out, frame by frame; and the recipe that makes such a pipeline."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from frames.tiny import spread

import mmgen
from mmgen.backbones.masked_frames import MaskedFrameTransformer
from mmgen.decoding import frames
from mmgen.errors import UnknownNameError
from mmgen.pipelines.text_to_video_frames import TextToVideoFramesPipeline
from mmgen.scenes.motion_encoder import MovingSceneEncoder
from mmgen.tokenizers.causal_patches import CausalPatchVQ
from mmgen.training import recipes
from mmgen.training.folders import write_model
from mmgen.training.frames import draw_hidden, hidden_token_loss
from mmgen.training.loop import Budget
from mmgen.training.video import train_video

CAPTIONS = ["a red ball bounces from left to right", "a cat moves up while a star moves down quickly"]


def tokenizer() -> CausalPatchVQ:
    made = CausalPatchVQ(16, 8, 4, (8,), size=16, layers=1, heads=2, hidden_size=16)
    made.codebook.data.uniform_(-1, 1, generator=torch.Generator().manual_seed(2))
    return made.eval()


@pytest.fixture(scope="module")
def pipe() -> TextToVideoFramesPipeline:
    encoder = spread(MovingSceneEncoder(size=32))
    transformer = spread(MaskedFrameTransformer(16, 3, 2, 2, encoder.length, 32, 2, 2, 48))
    decoder = frames.make("masked-refinement", passes=3)
    made = TextToVideoFramesPipeline(tokenizer(), encoder, transformer, decoder, {"guidance": 1.5})
    made.set_progress_bar_config(disable=True)
    return made


def test_a_call_returns_clips_and_statistics(pipe):
    out = pipe(CAPTIONS, seed=[1, 2])
    assert [len(clip) for clip in out.frames] == [9, 9] and out.frames[0][0].size == (16, 16)
    for item, prompt in zip(out.statistics, CAPTIONS, strict=True):
        assert (item.prompt, item.law, item.tokens, item.evaluations) == (prompt, "heuristic", 12, 9)
        assert (item.size, item.complete) == ((9, 16, 16), True)
    with pytest.raises(UnknownNameError):
        pipe(CAPTIONS[0], decoder="jacobi")


def test_a_clip_depends_on_its_caption_and_seed_alone(pipe):
    both = pipe(CAPTIONS, seed=[1, 5], output_type="latent").frames
    assert torch.equal(both[:1], pipe(CAPTIONS[0], seed=1, output_type="latent").frames)
    assert torch.equal(both, pipe(CAPTIONS, seed=[1, 5], batch_size=1, output_type="latent").frames)
    assert not torch.equal(both[:1], pipe(CAPTIONS[0], seed=2, output_type="latent").frames)
    assert not torch.equal(both[:1], pipe(CAPTIONS[1], seed=1, output_type="latent").frames)


def test_a_shorter_clip_is_the_beginning_of_a_longer_one(pipe):
    whole = pipe(CAPTIONS[0], seed=1, output_type="latent").frames
    short = pipe(CAPTIONS[0], seed=1, frames=5, output_type="latent")
    assert torch.equal(short.frames, whole[:, :, :2]) and short.statistics[0].size == (5, 16, 16)


def test_a_clip_goes_on_from_another(pipe):
    begun = pipe(CAPTIONS[0], seed=4, output_type="np").frames[0][-1:]
    out = pipe(CAPTIONS[0], seed=9, continue_from=begun, output_type="latent")
    codes = pipe.tokenizer.encode(torch.from_numpy(begun).permute(3, 0, 1, 2)[None] * 2 - 1)
    assert torch.equal(out.frames[:, :, :1], codes[:, :, :1])
    assert (out.statistics[0].tokens, out.statistics[0].evaluations) == (8, 6)


def test_previews_grow_frame_by_frame(pipe):
    steps = [pipe.render(drawing, "latent") for drawing in pipe.draw(CAPTIONS[0], seed=1)]
    drawn = [int((codes >= 0).flatten(3).all(-1).sum()) for codes in steps]
    assert drawn == [0, 0, 1, 1, 1, 2, 2, 2, 3]
    assert [int((codes >= 0).sum()) for codes in steps] == [4 * count for count in drawn]


def test_a_folder_draws_the_same_clips(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    again = mmgen.load(str(tmp_path))
    again.set_progress_bar_config(disable=True)
    assert (type(again), again.family, again.decoder.passes) == (type(pipe), "frames", 3)
    one, other = (made(CAPTIONS[0], seed=1, output_type="np").frames for made in (pipe, again))
    assert np.array_equal(one, other)


def test_tubes_hide_the_same_places_and_other_clips_have_whole_frames():
    hidden = draw_hidden(400, 5, 64, torch.Generator().manual_seed(0))
    shares = hidden.float().mean(-1)
    tubes = (hidden == hidden[:, :1]).all((1, 2))
    assert 0.4 < tubes.float().mean() < 0.6
    assert shares[tubes].min() > 0.45 and 0.8 < shares[tubes].mean() < 0.9
    others = shares[~tubes]
    assert 0.4 < (others[:, :-1] == 0).float().mean() < 0.6
    assert 0.55 < others[:, -1].mean() < 0.72  # 2 / pi


def test_the_recipe_makes_a_pipeline_and_resumes(tmp_path, monkeypatch):
    name = "moving-64-frames"
    write_model(tokenizer(), tmp_path / "tokenizer")
    small = {"size": 32, "layers": 1, "heads": 2, "hidden_size": 32}
    recipe = dataclasses.replace(recipes.RECIPES[name], tokenizer="tiny", transformer=small, batch=2)
    monkeypatch.setattr("mmgen.pipelines.loading.load", lambda name: tokenizer())
    monkeypatch.setitem(recipes.RECIPES, name, recipe)
    lines: list[str] = []
    for steps in (2, 4):
        recipes.train(name, tmp_path / "out", tmp_path / "work", steps=steps, log=lines.append)
    assert lines == ["resumed at step 2"]
    monkeypatch.setattr("mmgen.catalog.tokenizers", lambda: {"tiny": tmp_path / "tokenizer"})
    pipe = TextToVideoFramesPipeline.from_pretrained(tmp_path / "out")
    out = pipe(CAPTIONS[0], seed=1, decoder_options={"passes": 1})
    assert len(out.frames[0]) == 17 and out.frames[0][0].size == (64, 64) and out.statistics[0].evaluations == 5


def test_training_lowers_the_loss_of_hidden_tokens(tmp_path):
    codes, encoder, losses = tokenizer(), MovingSceneEncoder(size=32), []
    transformer = MaskedFrameTransformer(16, 5, 8, 8, encoder.length, 32, 1, 2, 32)

    def log(line: str) -> None:
        losses.append(float(line.split("loss ")[1].split()[0]))

    budget = Budget(steps=12, learning_rate=3e-3, log_steps=4)
    train_video(transformer, encoder, codes, budget, tmp_path / "state.pt", 4, log=log, loss=hidden_token_loss)
    assert losses[-1] < losses[0] - 0.1
