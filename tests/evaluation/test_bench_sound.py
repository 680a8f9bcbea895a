"""The benchmark of sound: how much of it an evaluation writes, and how quick transformers is with the same weights."""

from __future__ import annotations

import json

import pytest
import torch
from audio.musicgens import write_musicgen

import mmgen
from mmgen.backbones.musicgen import MusicGenTransformer
from mmgen.errors import OptionError, UnknownNameError
from mmgen.evaluation import bench, musicgen_reference
from mmgen.evaluation.rows import BASELINE, table
from mmgen.sampling import Sampling

TEXTS = ["a slow sad song with piano", "happy"]


@pytest.fixture(scope="module", params=[1, 2], ids=["mono", "stereo"])
def pipe(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("musicgen")
    write_musicgen(folder, request.param)
    return mmgen.load(str(folder))


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("musicgen")
    write_musicgen(folder)
    decoders = "jacobi:window=3,speculative-jacobi:acceptance=alike/tolerance=9.0"
    return bench.run(
        str(folder), decoders, prompts=2, repeats=2, batches=(1, 2), captions=TEXTS, size={"duration": 0.16}
    )


def test_rows_say_how_much_sound_an_evaluation_writes(rows):
    labels = ["plane-wise", "jacobi:window=3", "speculative-jacobi:acceptance=alike/tolerance=9.0"]
    assert [(row.label, row.batch) for row in rows] == [(name, size) for size in (1, 2) for name in labels] + [
        (BASELINE, 1)
    ]
    for row in rows[:6]:
        assert row.frames_per_evaluation == pytest.approx(16 / row.evaluations)
        assert row.tokens_per_evaluation == pytest.approx(2 * row.frames_per_evaluation)
        assert row.real_time_factor == pytest.approx(0.16 * row.images_per_second)
        assert row.memory > 1000
    reference, faster = rows[0], rows[1]
    assert reference.evaluations == 17 and faster.evaluations < 17
    assert faster.same_pictures is True and rows[2].law == "heuristic"
    assert json.loads(json.dumps([row.to_dict() for row in rows]))[0]["real_time_factor"] > 0


def test_transformers_takes_part_with_the_same_weights(rows):
    reference = rows[-1]
    assert reference.evaluations == 17 and reference.frames_per_evaluation == pytest.approx(16 / 17)
    assert reference.real_time_factor == pytest.approx(0.16 / reference.seconds)
    assert "no codec in either" in reference.note


def test_the_table_shows_what_sound_has(rows):
    text = table(rows)
    for column in ("frames_per_evaluation", "real_time_factor", "memory", BASELINE):
        assert column in text
    assert "adherence" not in text


def test_both_write_the_same_codes(pipe):
    transformer, words = pipe.transformer, pipe._words(TEXTS[0])
    before = [weight.clone() for weight in (*transformer.parameters(), *pipe.text_encoder.parameters())]
    for guidance in (1.0, 3.0):
        contest = musicgen_reference.contest_of(
            transformer, pipe.text_encoder, words, 9, Sampling(guidance=guidance, top_k=9)
        )
        codes = contest.ours(0.0, 0)
        assert codes.shape == (1, pipe.tokenizer.codebooks, 9) and len(codes.unique()) > 2
        sides = [codes[:, side :: transformer.channels] for side in range(transformer.channels)]
        assert torch.equal(contest.theirs(0.0, 0), torch.cat(sides, dim=1))
        assert not torch.equal(contest.theirs(1.0, 1), contest.theirs(1.0, 2))
        assert contest.parameters[0] == contest.parameters[1] and contest.length == codes.numel()
    after = (*transformer.parameters(), *pipe.text_encoder.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_comparison_of_a_shape_counts_what_it_ran():
    models = musicgen_reference.random_model("tiny")
    said: list[str] = []
    result = musicgen_reference.compare(*models, [3, 4, 1], 5, repeats=2, log=said.append)
    assert len(said) == 2 and result.tokens == 20 and result.dtype == "float32"
    assert result.ratio.low <= result.ratio.median <= result.ratio.high
    with pytest.raises(OptionError, match="4 or more"):
        musicgen_reference.compare(*models, [3], 3)
    with pytest.raises(UnknownNameError, match="did you mean"):
        musicgen_reference.random_model("smal")


def test_the_shape_named_small_is_the_published_one():
    shape = dict(musicgen_reference.SIZES["small"])
    with torch.device("meta"):
        own, default = (MusicGenTransformer(config) for config in (shape, {}))
    sizes = [{name: weight.shape for name, weight in model.state_dict().items()} for model in (own, default)]
    assert sizes[0] == sizes[1]
