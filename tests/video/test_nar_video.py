"""Clips of neighbouring autoregression, from files as published."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

import mmgen
from mmgen.errors import OptionError, PromptError, SizeError
from mmgen.pipelines.nar_video import NeighbourVideoPipeline


@pytest.fixture(scope="module")
def files(goldens, tmp_path_factory):
    folder = tmp_path_factory.mktemp("nar")
    (folder / "larp").mkdir()
    shutil.copy(goldens / "nar/larp_tokenizer.pt", folder / "larp/tokenizer.pth")
    shutil.copy(goldens / "nar/larp_tokenizer_config.json", folder / "larp/tokenizer.json")
    shutil.copy(goldens / "nar/video_ar.pt", folder / "video.pt")
    return folder


@pytest.fixture(scope="module")
def pipe(files):
    pipe = mmgen.load(str(files / "video.pt"), tokenizer=str(files / "larp"), heads=4)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_greedy_clips_are_the_authors(pipe, goldens):
    golden = load_file(goldens / "nar/video_greedy_cfg1.safetensors")
    classes = [str(label) for label in golden["cond"].tolist()]
    greedy = {"seed": 0, "guidance": 1.0, "temperature": 0.0}
    output = pipe(classes, output_type="latent", **greedy)
    assert isinstance(pipe, NeighbourVideoPipeline)
    assert torch.equal(output.frames.flatten(1), golden["tokens"])
    assert [item.evaluations for item in output.statistics] == [8, 8]  # 2 + 4 + 4 - 2 planes
    assert output.statistics[0].size == (8, 32, 32) and output.frames_per_second == 25.0
    clips = pipe(classes, output_type="pt", **greedy).frames
    drawn = pipe.tokenizer.decode(output.frames) / 2 + 0.5
    assert (clips.transpose(1, 2) - drawn).abs().max() < 1e-5


def test_faster_decoders_draw_the_same(pipe):
    plain = pipe("2", seed=5, output_type="latent")
    fast = pipe("2", seed=5, decoder="jacobi", output_type="latent")
    assert torch.equal(plain.frames, fast.frames)
    assert torch.equal(pipe(["1", "2"], seed=[8, 5], output_type="latent").frames[1:], plain.frames)


def test_a_folder_draws_the_same(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "clips")
    again = mmgen.load(str(tmp_path / "clips"))
    assert again.config.sampling["guidance"] == 1.25
    drawn = [one("3", seed=1, output_type="latent").frames for one in (pipe, again)]
    assert torch.equal(*drawn)


def test_codes_without_places_are_seen_as_a_whole(pipe):
    steps = [pipe.render(drawing, "pt") for drawing in pipe.draw("1", seed=3)]
    assert len(steps) == 8 and not any((step == 0.5).all(2).any() for step in steps)
    assert torch.equal(steps[-1], pipe("1", seed=3, output_type="pt").frames)


def test_what_cannot_be_drawn(pipe, files):
    with pytest.raises(PromptError, match="from 0 to 4"):
        pipe.plan("5")
    with pytest.raises(OptionError, match="codes stand for whole clips"):
        pipe.plan("1", continue_from=torch.zeros(1, 3, 32, 32))
    with pytest.raises(SizeError, match="one of 8"):
        pipe.plan("1", frames=4)
    with pytest.raises(OptionError, match="folder of LARP"):
        mmgen.load(str(files / "video.pt"), heads=4)
