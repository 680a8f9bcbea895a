"""The recipes of sound: the same steps whenever they stop, and what they write can be loaded."""

import dataclasses
import json
from concurrent.futures import Future

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import mmgen
from mmgen.backbones.sound import MaskedSoundTransformer, SoundTransformer
from mmgen.checkpoints.folder import load_model
from mmgen.evaluation.spectra import spectral_distance
from mmgen.pipelines import loading
from mmgen.scenes.score import SECONDS
from mmgen.tokenizers.sound_vq import SoundVQ
from mmgen.training import recipes, sounds
from mmgen.training.hearing import blemished
from mmgen.training.loop import Budget
from mmgen.training.sound import CodePool, disturbed, next_step_loss, planes_of
from mmgen.training.sounds import SoundShards

SMALL = {"codebook_size": 16, "code_size": 8}


def noise(scenes, seed):
    """In place of music: quick, and the same for the same scenes and seed."""
    generator = np.random.default_rng(seed)
    return (0.1 * generator.standard_normal((len(scenes), SECONDS * 16_000))).astype(np.float32)


@pytest.fixture(autouse=True)
def quick_sounds(monkeypatch):
    def rendering(scenes, seed):
        future = Future()
        future.set_result(noise(scenes, seed))
        return future

    monkeypatch.setattr(sounds, "rendering", rendering)
    monkeypatch.setattr(sounds, "render_sounds", noise)
    monkeypatch.setattr(sounds, "SHARD", 8)
    monkeypatch.setattr(SoundShards.__init__, "__defaults__", (0.3, 8, False))


@pytest.fixture
def small(monkeypatch):
    """The recipes of codec and judge with next to nothing to do."""
    budget = Budget(steps=4, log_steps=1, save_seconds=0)
    codec = dataclasses.replace(recipes.RECIPES["sound-codes"], config=SMALL, budget=budget, fitted=4, measured=4)
    hearing = dataclasses.replace(recipes.RECIPES["sound-hearing"], budget=budget, batch=2, measured=8)
    monkeypatch.setattr(recipes, "RECIPES", {"sound-codes": codec, "sound-hearing": hearing})


def test_the_codec_is_fitted_and_can_be_loaded(tmp_path, small):
    lines = []
    made = recipes.train("sound-codes", tmp_path / "made", tmp_path / "a", log=lines.append)
    report = json.loads(lines[-1])
    assert report["judge"]["correct"]["of"] == 4 and all(0 < share <= 1 for share in report["codes_used"])
    codec = load_model(SoundVQ, made)
    torch.testing.assert_close(codec.basis @ codec.basis.T, torch.eye(8), rtol=0, atol=5e-3)  # from 16 bits
    assert not codec.encode(torch.zeros(1, 1, 3200)).any()  # the first code of each codebook is kept for silence
    again = recipes.train("sound-codes", tmp_path / "again", tmp_path / "b", log=lines.append)
    assert torch.equal(load_model(SoundVQ, again).vectors, codec.vectors)


def test_the_shipped_codec_keeps_silence_silent():
    codec = mmgen.load("sound-codes")
    codes = codec.encode(torch.zeros(1, 1, 48_000))
    assert codes.shape == (1, 4, 150)
    assert codec.decode(codes).abs().max() < 1e-3


def test_the_judge_resumes_and_writes_its_weights(tmp_path, small):
    recipes.train("sound-hearing", tmp_path / "whole", tmp_path / "a", log=lambda line: None)
    seen = []

    def stop(line):
        seen.append(line)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recipes.train("sound-hearing", tmp_path / "parts", tmp_path / "b", log=stop)
    recipes.train("sound-hearing", tmp_path / "parts", tmp_path / "b", log=seen.append)
    assert "resumed at step 2" in seen and set(json.loads(seen[-1])) == {"instrument", "voice", "word"}
    one, other = (load_file(tmp_path / name / "hearing.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(
    ("name", "family", "model", "steps"),
    [("sound-16k", "codebooks", SoundTransformer, 153), ("sound-16k-masked", "spans", MaskedSoundTransformer, 153)],
)
def test_the_pipeline_is_trained_on_codes_and_loads(tmp_path, monkeypatch, name, family, model, steps):
    codec = SoundVQ(**SMALL)
    torch.nn.init.normal_(codec.vectors)
    load = loading.load
    monkeypatch.setattr(loading, "load", lambda name, *more: codec if name == "tiny" else load(name, *more))
    transformer = {"size": 16, "layers": 1, "heads": 2, "hidden_size": 16}
    recipe = dataclasses.replace(
        recipes.RECIPES[name], tokenizer="tiny", start_from=None, transformer=transformer, batch=4,
        budget=Budget(steps=3, log_steps=1),
    )  # fmt: skip
    monkeypatch.setitem(recipes.RECIPES, name, recipe)
    lines = []
    folder = recipes.train(name, tmp_path / "made", tmp_path / "work", log=lines.append)
    assert len(lines) == 3
    about = json.loads((folder / "mmgen.json").read_text())
    assert about == {"medium": "audio", "family": family, "shared": {"tokenizer": "tiny"}}
    written = load_model(model, folder / "transformer")
    assert written.vocabulary_size == 16 and written.step_embedding.num_embeddings == steps


def test_shards_are_used_round_after_round_and_do_not_hang_on_the_steps_before():
    shards = SoundShards(seed=1)
    seen = [shards.batch(step, 4) for step in range(10)]
    scenes, waveforms = SoundShards(seed=1).batch(9, 4)
    assert scenes == seen[9][0] and torch.equal(waveforms, seen[9][1])
    everything = shards.shard(0)
    for rounds in range(4):  # each round of two steps has all eight, in an order of its own
        pair = torch.cat([seen[2 * rounds + half][1] for half in (0, 1)])
        assert torch.equal(pair.flatten(1).sort(0).values, everything[1].flatten(1).sort(0).values)
    assert not torch.equal(seen[0][1], seen[2][1])
    assert not torch.equal(seen[8][1][0], seen[0][1][0])  # of the next shard


def test_a_pool_grows_and_is_the_same_from_its_files(tmp_path, monkeypatch):
    codec = SoundVQ(**SMALL)
    torch.nn.init.normal_(codec.vectors)
    pool = CodePool(SoundShards(seed=1), codec, tmp_path)
    seen = [pool.batch(step, 4) for step in range(17)]
    assert len(list(tmp_path.iterdir())) == 5  # 64 recordings are two uses of four shards of eight
    first = SoundShards(seed=1).shard(0)
    for scenes, codes in seen[:4]:
        rows = [first[0].index(scene) for scene in scenes]
        assert len(set(rows)) == 4 and torch.equal(codes, codec.encode(first[1][rows]))
    monkeypatch.setattr(sounds, "rendering", None)
    again = CodePool(SoundShards(seed=1), codec, tmp_path)
    for step in (16, 3):
        scenes, codes = again.batch(step, 4)
        assert scenes == seen[step][0] and torch.equal(codes, seen[step][1])


def test_some_codes_are_read_wrongly():
    codes = torch.arange(4)[:, None, None].expand(4, 3, 500)
    read = disturbed(codes, torch.Generator().manual_seed(0))
    shares = (read != codes).float().mean((1, 2))
    assert shares.max() < 0.62 and shares.mean() > 0.03
    assert ((read == codes) | (read == codes.roll(1, 0))).all()


@torch.no_grad()
def test_the_loss_is_that_of_the_steps_a_session_scores(monkeypatch):
    transformer = SoundTransformer(16, 3, 20, size=16, layers=2, heads=2, hidden_size=16)
    generator = torch.Generator().manual_seed(0)
    for parameter in transformer.parameters():
        parameter.data.normal_(0, 0.3, generator=generator)
    codes = torch.randint(16, (2, 3, 6), generator=generator)
    features = torch.randn(2, 7, 16, generator=generator)
    memory = transformer.remember(features, torch.ones(2, 7, dtype=torch.bool))
    monkeypatch.setattr("mmgen.training.sound._WRONG", 0)
    loss = next_step_loss(transformer.features_of_lines, transformer, codes, memory, step=0)
    layout, nothing = transformer.layout(6), transformer.nothing
    planes, cache = planes_of(layout, codes), transformer.new_cache(2, 12)
    said, shown = [], torch.full((2, 1, 3), nothing)
    for step in range(layout.count):
        probs = transformer.logits(transformer.features(shown, memory, cache)).softmax(-1)
        shown = planes[:, step : step + 1]
        there = shown >= 0
        said.append(probs.gather(-1, shown.clamp(min=0)[..., None])[..., 0][there])
        shown = torch.where(there, shown, nothing)
    torch.testing.assert_close(loss, -torch.cat(said).log().mean())


def test_spectra_say_how_far_sounds_are_apart():
    time = torch.arange(8000) / 16_000
    sound = 0.1 * torch.sin(2 * torch.pi * 440 * time)[None]
    assert spectral_distance(sound, sound) == 0
    near, far = sound + 0.001 * torch.randn(1, 8000), sound + 0.03 * torch.randn(1, 8000)
    assert 0 < spectral_distance(near, sound) < spectral_distance(far, sound)


def test_blemishes_stay_within_what_spectra_are():
    spectra = -torch.rand(4, 30, 64)
    worse = blemished(spectra, 3)
    assert worse.shape == spectra.shape and worse.min() >= -1 and not torch.equal(worse, spectra)
    assert torch.equal(worse, blemished(spectra, 3)) and not torch.equal(worse, blemished(spectra, 4))
