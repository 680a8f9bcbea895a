"""Pictures and clips have judges of their own, found by what a pipeline's captions say."""

import numpy as np
import pytest

from mmgen.errors import OptionError
from mmgen.evaluation import bench, judges, quality
from mmgen.evaluation.rows import table
from mmgen.scenes.grammar import Grammar
from mmgen.scenes.motion import MotionGrammar
from mmgen.scenes.motion_render import render_clip


class Filmmaker:
    """A pipeline that draws the clips it is asked for."""

    def __init__(self, grammar):
        self.text_encoder = type("Encoder", (), {"grammar": grammar})

    def __call__(self, prompts, seed, decoder):
        scenes = [self.text_encoder.grammar.parse(prompt) for prompt in prompts]
        clips = [list(render_clip(scene, np.random.default_rng(own))) for scene, own in zip(scenes, seed, strict=True)]
        return type("Output", (), {"frames": clips})


def test_a_perfect_filmmaker_is_right_on_everything():
    lines = []
    report = judges.evaluate(Filmmaker(MotionGrammar()), 5, seed=2, batch=2, log=lines.append)
    assert (report.correct.right, report.correct.of, len(lines)) == (5, 5, 3)
    assert report.direction.share == report.smooth.share == 1


def test_the_judge_follows_the_captions():
    assert judges.judge_of(Filmmaker(MotionGrammar())).medium == "video"
    judge = judges.judge_of(Filmmaker(Grammar()))
    assert judge.medium == "image"
    assert [judge.grammar.parse(text) for text in judge.captions(judge.scenes(4, 1))] == judge.scenes(4, 1)
    with pytest.raises(OptionError, match="draws scenes"):
        judges.judge_of(object())
    with pytest.raises(OptionError, match="adherence"):
        quality.measure(Filmmaker(MotionGrammar()), [type("D", (), {"name": "autoregressive"})], 4)


def test_the_benchmark_counts_frames():
    from video.test_text_to_video import TextToVideoPipeline, pipeline

    rows = bench.run(pipeline(TextToVideoPipeline), "jacobi", prompts=2, repeats=1, baseline=False)
    assert [row.decoder for row in rows] == ["autoregressive", "jacobi"]
    for row in rows:
        assert row.frames_per_second == pytest.approx(9 * row.images_per_second)
        assert row.adherence is None  # 16 pixels: the judge knows 64
    assert "frames_per_second" in table(rows) and rows[1].same_pictures
