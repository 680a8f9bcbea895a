"""VAR as a user sees it: classes in, pictures out, scale by scale."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from mmgen import decoding
from mmgen.decoding import scales
from mmgen.errors import MmgenError, OptionError, PromptError, SizeError, UnknownNameError
from mmgen.pipelines.var import VARPipeline


@pytest.fixture(scope="module")
def pipe(tokenizer, transformer, small):
    made = VARPipeline(tokenizer, transformer, scales.make("scale-wise"), {"guidance": 2.5, "top_k": 12}, draft=small)
    made.set_progress_bar_config(disable=True)
    return made


def test_a_call_returns_pictures_and_statistics(pipe):
    out = pipe(["3", 7], seed=[1, 2])
    assert [image.size for image in out.images] == [(8, 8)] * 2
    for item, prompt in zip(out.statistics, "37", strict=True):
        assert (item.prompt, item.decoder, item.law, item.size) == (prompt, "scale-wise", "exact", (8, 8))
        assert (item.tokens, item.evaluations, item.draft_evaluations, item.complete) == (30, 4, 0, True)
    out = pipe(3, seed=1, decoder_options={"handover": 3, "skipped": 0, "unguided": 1})
    assert (out.statistics[0].evaluations, out.statistics[0].draft_evaluations) == (3, 1)
    assert out.statistics[0].law == "heuristic" and pipe.decoder.handover == 0


def test_a_batch_is_its_single_calls(pipe):
    together = pipe([3, 7], seed=[5, 6], output_type="latent", num_images_per_prompt=2).images
    alone = [pipe(label, seed=seed, output_type="latent").images[0] for label, seed in ((3, 5), (3, 6), (7, 6), (7, 7))]
    assert torch.equal(together, torch.stack(alone))


def test_output_types(pipe):
    def draw(kind):
        return pipe(3, seed=1, output_type=kind).images

    picture, array, tensor, tokens = (draw(kind) for kind in ("pil", "np", "pt", "latent"))
    assert (np.round(array[0] * 255) == np.asarray(picture[0])).all()
    assert torch.equal(tensor, torch.from_numpy(array).permute(0, 3, 1, 2))
    torch.testing.assert_close(pipe.tokenizer.decode(tokens) / 2 + 0.5, tensor, rtol=0, atol=1e-5)


def test_every_scale_is_a_picture(pipe):
    whole = np.asarray(pipe(3, seed=4).images[0])
    steps = [np.asarray(pipe.render(drawing)[0]).copy() for drawing in pipe.draw(3, seed=4)]
    assert len(steps) == 4 and (steps[-1] == whole).all()
    assert all((left != right).any() for left, right in pairwise(steps))


def test_callbacks_and_interruption(pipe):
    seen = []

    def record(pipe, evaluation, committed, tensors):
        seen.append((evaluation, committed, tensors["tokens"].shape))
        pipe.interrupt = len(seen) == 3

    out = pipe(3, seed=1, callback_on_step_end=record)
    assert seen == [(1, 1, (1, 30)), (2, 5, (1, 30)), (3, 14, (1, 30))]
    assert out.statistics[0].tokens == 14 and not out.statistics[0].complete and out.images[0].size == (8, 8)


def test_skipped_scales_make_a_complete_picture(pipe):
    out = pipe(3, seed=1, decoder_options={"skipped": 1}, output_type="latent")
    assert bool((out.images[:, 14:] == -1).all())
    assert (out.statistics[0].tokens, out.statistics[0].evaluations, out.statistics[0].complete) == (14, 3, True)


def test_temperatures_of_scales(pipe):
    reference = pipe(3, seed=1, output_type="latent")
    text = pipe(3, seed=1, output_type="latent", temperatures="1, 1, 0, 1.5")
    numbers = pipe(3, seed=1, output_type="latent", temperatures=[1, 1, 0, 1.5])
    assert torch.equal(text.images, numbers.images) and torch.equal(text.images[:, :5], reference.images[:, :5])
    assert not torch.equal(text.images, reference.images)
    assert numbers.statistics[0].conditions == text.statistics[0].conditions == {"temperatures": "1, 1, 0, 1.5"}
    coldest = pipe(3, seed=[1], output_type="latent", temperatures=[0] * 4)
    assert torch.equal(coldest.images, pipe(3, seed=2, temperature=0, output_type="latent").images)


def test_known_codes_are_kept(pipe):
    codes = pipe(3, seed=1, output_type="latent").images
    known = codes.clone()
    known[:, 5:] = -1
    out = pipe([3, 4], seed=2, known=known, output_type="latent")
    assert torch.equal(out.images[:, :5], known[:, :5].expand(2, -1))
    assert [(item.tokens, item.evaluations) for item in out.statistics] == [(25, 2)] * 2


@pytest.mark.parametrize(
    "arguments, error, words",
    [
        ({"prompt": "a cat"}, PromptError, "0 to 9"),
        ({"prompt": 10}, PromptError, "0 to 9"),
        ({"prompt": []}, PromptError, "no prompt"),
        ({"decoder": "jacobi"}, UnknownNameError, "choose from scale-wise"),
        ({"decoder": 3}, OptionError, "a decoder or its name: scale-wise"),
        ({"decoder": decoding.make("jacobi")}, OptionError, "a decoder or its name: scale-wise"),
        ({"decoder_options": {"window": 3}}, OptionError, "handover, unguided, skipped, smooth"),
        ({"decoder_options": {"handover": 64}}, OptionError, "from 0 to 63"),
        ({"decoder_options": {"handover": 4}}, OptionError, "less than 4"),
        ({"decoder_options": {"skipped": 4}}, OptionError, "from 0 to 3"),
        ({"temperatures": "1, 2"}, OptionError, "4 numbers"),
        ({"temperatures": [1, 2, 3, 11]}, OptionError, "4 numbers"),
        ({"temperatures": "warm"}, OptionError, "4 numbers"),
        ({"known": torch.zeros(1, 1, 4, 4)}, SizeError, "[1, 30]"),
        ({"known": torch.full((1, 30), 24)}, OptionError, "0 to 23"),
        ({"height": 16}, SizeError, "the size this model draws"),
        ({"guidance": 51}, OptionError, "0 to 50"),
    ],
)
def test_bad_arguments(pipe, arguments, error, words):
    with pytest.raises(error, match=words.replace("[", r"\[")) as caught:
        pipe(**{"prompt": 3, **arguments})
    assert isinstance(caught.value, MmgenError) and "\n" not in str(caught.value)


def test_the_command_line_draws(pipe, tmp_path):
    from mmgen.cli import app

    pipe.save_pretrained(tmp_path / "folder")
    words = ["generate", "3", "--pipeline", str(tmp_path / "folder"), "--seed", "1", "--out", str(tmp_path), "--json"]
    words += ["--option", "handover=2", "--condition", "temperatures=1,1,1,0.5"]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0 and '"draft_evaluations": 2' in result.stdout
