"""What all pipelines of clips do: calls, previews, fewer frames, beginnings, files and commands."""

import json
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

import mmgen
from mmgen import media
from mmgen.cli import main
from mmgen.errors import OptionError, OutputError, SizeError, UnknownNameError
from mmgen.pipelines.output import VideoOutput


def test_a_call_returns_clips_and_statistics(letters):
    output = letters(["a", "b"], seed=[1, 2])
    assert isinstance(output, VideoOutput) and output.frames_per_second == 8.0
    assert [[frame.size for frame in clip] for clip in output.frames] == [[(12, 8)] * 9] * 2
    for item in output.statistics:
        assert (item.size, item.tokens, item.complete, item.law) == ((9, 8, 12), 30, True, "exact")
    assert item.conditions == {}
    codes = letters(["a", "b"], seed=[1, 2], output_type="latent").frames
    assert codes.shape == (2, 1, 5, 2, 3)
    tensor = letters(["a", "b"], seed=[1, 2], output_type="pt").frames
    array = letters(["a", "b"], seed=[1, 2], output_type="np").frames
    assert tensor.shape == (2, 9, 3, 8, 12) and array.shape == (2, 9, 8, 12, 3) and array.dtype == np.float32
    assert (array == tensor.permute(0, 1, 3, 4, 2).numpy()).all()
    assert torch.equal(letters.tokenizer.encode(tensor.transpose(1, 2) * 2 - 1), codes)
    assert (np.stack([np.asarray(frame) for frame in output.frames[1]]) == (array[1] * 255).round()).all()


def test_every_seeded_decoder_draws_the_same_clip(letters):
    def draw(decoder, **options):
        return letters("a", seed=4, decoder=decoder, decoder_options=options, output_type="latent").frames

    plain = draw("autoregressive")
    assert len(plain.unique()) > 3
    assert torch.equal(draw("jacobi", window=9), plain)
    assert torch.equal(draw("seeded-speculative", window=8, drafter="frame-repeat"), plain)
    assert torch.equal(letters(["b", "a"], seed=[9, 4], output_type="latent").frames[1:], plain)


def test_several_clips_of_a_prompt(letters):
    output = letters("a", seed=4, num_videos_per_prompt=2, output_type="latent")
    assert [item.seed for item in output.statistics] == [4, 5]
    assert torch.equal(output.frames[1:], letters("a", seed=5, output_type="latent").frames)


def test_what_is_not_drawn_yet_is_gray(letters):
    whole = letters("a", seed=4, decoder="autoregressive", output_type="pt").frames
    # One frame of six codes, and two codes of the step behind it.
    drawing = next(islice(letters.draw("a", seed=4, decoder="autoregressive"), 7, None))
    seen = letters.render(drawing, "pt")
    assert torch.equal(seen[:, 0], whole[:, 0]) and torch.equal(seen[:, 1:3, :, :4, :8], whole[:, 1:3, :, :4, :8])
    assert (seen[:, 1:3, :, 4:] == 0.5).all() and (seen[:, 1:3, :, :, 8:] == 0.5).all() and (seen[:, 3:] == 0.5).all()
    assert (letters.render(drawing, "latent")[0, 0, 1] >= 0).flatten().tolist() == [True] * 2 + [False] * 4


@pytest.mark.parametrize("frames, steps", [(1, 1), (3, 2), ("7", 4)])
def test_fewer_frames_are_the_first_ones(letters, frames, steps):
    whole = letters("a", seed=4, output_type="latent").frames
    output = letters("a", seed=4, frames=frames, output_type="latent")
    assert torch.equal(output.frames, whole[:, :, :steps])
    assert output.statistics[0].size == (int(frames), 8, 12)
    assert output.statistics[0].conditions == {"frames": str(frames)}


def test_sizes_that_are_not_drawn(letters):
    for frames in (0, 2, 11, "many", 3.5):
        with pytest.raises(SizeError, match="one of 1, 3, 5, 7, 9"):
            letters.plan("a", frames=frames)
    with pytest.raises(SizeError, match="12, the size"):
        letters.plan("a", width=16)
    assert letters.plan("a", height=8, width=12, frames=9).layout == letters.transformer.layout


@pytest.fixture
def beginning(letters):
    return letters("a", seed=4, output_type="np").frames[0]


def test_a_clip_goes_on_from_frames(letters, beginning):
    clip = letters("b", seed=1, continue_from=beginning[:3], output_type="np")
    assert (clip.frames[0][:3] == beginning[:3]).all() and clip.statistics[0].tokens == 18
    assert clip.statistics[0].conditions == {"continue_from": "<ndarray>"}
    exact = letters("b", seed=1, decoder="autoregressive", continue_from=beginning[:3], output_type="np").frames
    assert (clip.frames == exact).all()
    assert not (clip.frames[0] == letters("b", seed=1, output_type="np").frames[0])[:3].all()


def test_every_form_of_a_beginning_is_the_same(letters, beginning, tmp_path):
    shown = [Image.fromarray(frame) for frame in (beginning[:3] * 255).round().astype(np.uint8)]
    media.write_clip(tmp_path / "begun.webp", shown, 8, None)
    forms = (
        shown, (beginning[:3] * 255).round().astype(np.uint8), torch.from_numpy(beginning[:3]).permute(0, 3, 1, 2),
        tmp_path / "begun.webp", str(tmp_path / "begun.webp"),
    )  # fmt: skip
    known = letters.plan("b", continue_from=beginning[:3]).known
    assert (known >= 0).sum() == 12
    for form in forms:
        assert torch.equal(letters.plan("b", continue_from=form).known, known)
    one = letters.plan("b", continue_from=shown[0]).known
    assert torch.equal(one[:, :6], known[:, :6]) and (one[:, 6:] == -1).all()


@pytest.mark.parametrize("given, first", [(1, 0), (2, 1), (3, 0), (4, 1), (9, 6)])
def test_of_many_frames_the_last_ones_count(letters, beginning, given, first):
    """Whole steps, 1 or 3 frames here, and no more than half of the clip."""
    known = letters.plan("b", continue_from=beginning[:given]).known
    steps = 1 if given < 3 else 2
    clip = torch.from_numpy(beginning[first : first + 2 * steps - 1]).permute(3, 0, 1, 2)[None] * 2 - 1
    codes = letters.tokenizer.encode(clip)
    assert torch.equal(known[:, : 6 * steps], codes.flatten(1)) and (known[:, 6 * steps :] == -1).all()


@pytest.mark.parametrize("height, scale", [(8, 1), (24, 3)])
def test_a_beginning_of_another_size_is_scaled_and_cut(letters, height, scale):
    """Three squares side by side, of which the middle one is seen."""
    wide = torch.zeros(1, 3, height, 60 * scale)
    wide[..., 20 * scale : 40 * scale] = 0.5
    wide[..., 40 * scale :] = 1
    known = letters.plan("b", continue_from=wide).known
    assert (known[:, :6] == 5).all() and (known[:, 6:] == -1).all()


def test_what_is_no_beginning(letters, beginning, tmp_path):
    (tmp_path / "text.mp4").write_text("not a clip")
    for given in (5, [], torch.zeros(3, 8, 12), np.zeros((1, 8, 12, 4), np.uint8), [Image.new("RGB", (2, 2)), 1]):
        with pytest.raises(OptionError, match="needed is the path of a picture or clip"):
            letters.plan("b", continue_from=given)
    with pytest.raises(OptionError, match="one size"):
        letters.plan("b", continue_from=[Image.new("RGB", (2, 2)), Image.new("RGB", (2, 3))])
    with pytest.raises(OptionError, match="bytes, or numbers from 0 to 1"):
        letters.plan("b", continue_from=torch.zeros(1, 3, 8, 12, dtype=torch.int32))
    with pytest.raises(OutputError, match="not a picture or clip"):
        letters.plan("b", continue_from=tmp_path / "text.mp4")
    with pytest.raises(OptionError, match="beside known codes"):
        letters.plan("b", continue_from=beginning, known=torch.full((1, 1, 5, 2, 3), -1))
    with pytest.raises(SizeError, match=r"\[1, 1, 5, 2, 3\]"):
        letters.plan("b", known=torch.full((1, 1, 2, 3), -1))


@pytest.fixture
def run(folder, tmp_path, monkeypatch, capsys):
    """Runs `mmgen generate` with the pipeline in an empty folder; returns code, stdout, stderr."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def call(*words):
        code = main(["generate", *map(str, words), "--pipeline", str(folder)])
        return code, *capsys.readouterr()

    return call


def test_a_folder_draws_the_same_clips(letters, folder):
    again = mmgen.load(str(folder))
    assert json.loads((folder / "mmgen.json").read_text())["medium"] == "video"
    assert torch.equal(
        again("a", seed=1, output_type="latent").frames, letters("a", seed=1, output_type="latent").frames
    )


def test_commands_write_clips_that_say_how(run, tmp_path, capsys):
    assert run("a", "--seed", 3)[0] == 0
    assert run("a", "--seed", 3, "--format", "gif", "--frames", 5)[0] == 0
    assert run("a", "--seed", 3, "--out", "some/where.webp", "--continue-from", "a-3.gif")[0] == 0
    assert sorted(str(path) for path in (tmp_path / "here").rglob("*.*")) == [
        str(tmp_path / "here" / name) for name in ("a-3.gif", "a-3.mp4", "some/where.webp")
    ]
    read = [media.read_metadata(tmp_path / "here" / name) for name in ("a-3.mp4", "a-3.gif", "some/where.webp")]
    assert [about["size"] for about in read] == [[9, 8, 12], [5, 8, 12], [9, 8, 12]]
    assert [about.get("format") for about in read] == [None, "gif", "webp"]
    begun, source = media.read_frames(tmp_path / "here/some/where.webp"), media.read_frames(tmp_path / "here/a-3.gif")
    assert (begun[:3] == source[-3:]).all()


def test_the_command_of_a_file_makes_it_again(run, tmp_path, monkeypatch):
    import shlex

    run("a", "--seed", 3, "--out", "first.gif", "--frames", 3)
    run("b", "--seed", 5, "--out", "second.webp", "--continue-from", "first.gif")
    for name, made in (("first.gif", "a-3.gif"), ("second.webp", "b-5.webp")):
        words = shlex.split(media.command(media.read_metadata(tmp_path / "here" / name)))
        (tmp_path / "again").mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / "again")
        assert main(words[1:]) == 0
        assert (tmp_path / "again" / made).read_bytes() == (tmp_path / "here" / name).read_bytes()
        monkeypatch.chdir(tmp_path / "here")


@pytest.mark.parametrize(
    "words, code, reason",
    [
        (("a", "--format", "avi"), 2, "files of clips end in mp4, gif, webp, png"),
        (("a", "--out", "one.mp4", "--format", "gif"), 2, "ends in mp4"),
        (("a", "--count", "2", "--out", "one.mp4"), 2, "2 files are to be written, give a folder"),
        (("a", "--frames", "4"), 1, "one of 1, 3, 5, 7, 9"),
        (("a", "--continue-from", "absent.png"), 1, "no such file"),
        (("ab",), 1, "is no letter"),
    ],
)
def test_commands_that_cannot_be(run, tmp_path, words, code, reason):
    got, _, error = run(*words)
    assert got == code and reason in error
    assert list((tmp_path / "here").iterdir()) == []


def test_pictures_have_nothing_of_clips(tiny_pipeline):
    for setting in ({"frames": 3}, {"continue_from": "one.png"}):
        with pytest.raises(UnknownNameError, match="choose from guidance"):
            tiny_pipeline.plan("a cat", **setting)
