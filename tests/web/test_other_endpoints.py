"""The endpoints beside `/generate`, called as other programs call them."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmgen import media

pytest.importorskip("gradio", reason="gradio, the extra `web`, is not installed")

from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError


@pytest.fixture(scope="module")
def client(url):
    return Client(url, verbose=False)


@pytest.fixture(scope="module")
def picture(client):
    (result,) = client.predict("a cat", seed=4, decoder="autoregressive", pipeline="tiny", api_name="/generate")
    return result["file"]


def test_pipelines_are_listed_with_their_media(client):
    listed = {entry["name"]: entry for entry in client.predict(api_name="/pipelines")}
    assert {name: entry["medium"] for name, entry in listed.items()} == {
        "tiny": "image", "tiny-scales": "image", "tiny-clip": "video", "tiny-sound": "audio",
    }  # fmt: skip
    assert listed["tiny"]["decoder"] == "jacobi" and listed["tiny"]["options"]["window"] == 12
    assert listed["tiny-scales"]["decoders"] == {"scale-wise": "exact"}


def test_a_file_tells_the_settings_that_draw_the_same_again(client, picture):
    settings = client.predict(handle_file(picture), api_name="/restore")
    assert (settings["prompt"], settings["seed"], settings["decoder"]) == ("a cat", 4, "autoregressive")
    (again,) = client.predict(**settings, api_name="/generate")
    assert (np.asarray(Image.open(again["file"])) == np.asarray(Image.open(picture))).all()


def test_seeded_decoders_race_to_the_same_pixels(client):
    *early, last = client.submit(
        "a cat", first="autoregressive", second="jacobi:window=9", seed=5, pipeline="tiny", api_name="/compare"
    )
    assert last["finished"] and last["equal"] == 1 and last["speedup"] > 0
    first, second = last["results"]
    assert (first["evaluations"], first["decoder"]) == (64, "autoregressive")
    assert second["evaluations"] < 64 and second["options"]["window"] == 9
    assert not any(state["finished"] for state in early)
    assert all(a["file"] is None or a["tokens"] == 64 for state in early for a in state["results"])


def test_what_is_not_painted_stays(client, picture, pipe):
    cells = [row * 8 + column for row in range(2, 5) for column in range(3, 6)]
    (result,) = client.predict(handle_file(picture), "a dog", cells=cells, seed=9, pipeline="tiny", api_name="/edit")
    before, after = np.asarray(Image.open(picture)), np.asarray(Image.open(result["file"]))
    painted = np.zeros((32, 32), bool)
    painted[8:20, 12:24] = True
    assert result["tokens"] == 9
    assert media.read_metadata(result["file"])["edited"]["cells"] == "19-21,27-29,35-37"
    settings = client.predict(handle_file(result["file"]), api_name="/restore")
    assert settings["cells"] == cells
    (again,) = client.predict(handle_file(result["file"]), **settings, api_name="/edit")
    assert (np.asarray(Image.open(again["file"])) == after).all()
    codes = [pipe.tokenizer.encode(as_pixels(image)) for image in (before, after)]
    assert not (before[painted] == after[painted]).all()
    assert codes[0].shape == codes[1].shape


def as_pixels(image):
    import torch

    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1


def test_an_interval_of_a_sound_is_made_again(client):
    song = client.predict("a slow song", seed=1, pipeline="tiny-sound", duration=1.0, api_name="/generate")[0]["file"]
    (result,) = client.predict(
        handle_file(song), "a happy dance", interval=[0.25, 0.5], seed=2, pipeline="tiny-sound", api_name="/edit"
    )
    before, after = media.read_sound(Path(song))[0], media.read_sound(Path(result["file"]))[0]
    assert before.shape == after.shape
    same = np.abs(before - after).max(0) < 2**-14  # both files hold 16 bits
    assert same[:200].all() and same[400:].all() and not same[200:400].all()


def test_a_clip_goes_on_from_another(client):
    wish = {"prompt": "a red ball moves up", "pipeline": "tiny-clip", "seed": 2, "api_name": "/generate"}
    (first,) = client.predict(**wish, frames=5)
    (second,) = client.predict(**wish, continue_from=handle_file(first["file"]))
    assert (first["size"][0], second["size"][0]) == (5, 9) and second["tokens"] == 8
    with pytest.raises(AppError, match="was not uploaded"):
        client.predict(**wish, continue_from="/etc/passwd")


def test_a_file_of_prompts_comes_back_as_a_zip(client, tmp_path):
    rows = [{"prompt": "a cat", "seed": 3}, {"prompt": "a dog", "count": 2, "seed": 7}]
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    *early, last = client.submit(handle_file(path), pipeline="tiny", decoder="autoregressive", api_name="/batch")
    assert early[0]["items"] == 3 and early[0]["file"] is None and (last["done"], last["failed"]) == (3, 0)
    with zipfile.ZipFile(last["file"]) as packed:
        records = [json.loads(line) for line in packed.read("manifest.jsonl").decode().splitlines()]
        pictures = [name for name in packed.namelist() if name.endswith(".png")]
        packed.extract(pictures[0], tmp_path)
    assert [record["seed"] for record in records] == [3, 7, 8] and len(pictures) == 3
    assert not any({"worker", "finished"} & record.keys() for record in records)
    (alone,) = client.predict("a cat", seed=3, decoder="autoregressive", pipeline="tiny", api_name="/generate")
    assert (np.asarray(Image.open(tmp_path / pictures[0])) == np.asarray(Image.open(alone["file"]))).all()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "a cat", "continue_from": "/etc/passwd"}, "no field of a request is called 'continue_from'"),
        ({"prompt": "a cat", "count": 501}, "count=501: needed is at most 500 results"),
        ({"prompt": "a cat", "count": 1_000_000}, "count=1000000: needed is at most 500 results"),
        ({"prompt": "a unicorn"}, "'unicorn' is not an object"),
    ],
)
def test_a_batch_that_cannot_be_drawn_is_refused(client, tmp_path, row, words):
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps(row))
    with pytest.raises(AppError) as caught:
        client.predict(handle_file(path), pipeline="tiny", api_name="/batch")
    assert words in str(caught.value)


def test_decoders_are_measured_from_afar(client):
    *early, last = client.submit(
        ["autoregressive", "jacobi:window=12"], pipeline="tiny", prompts=1, repeats=1, api_name="/benchmark"
    )
    assert early and early[0]["rows"] is None and "repeat 1 of 1" in early[0]["line"]
    assert [row["decoder"] for row in last["rows"]] == ["autoregressive", "jacobi"]
    assert last["rows"][1]["same_pictures"] and Image.open(last["plot"]).size[0] > 500
    with pytest.raises(AppError, match="prompts=17: needed is a whole number from 1 to 16"):
        client.predict(["jacobi"], pipeline="tiny", prompts=17, api_name="/benchmark")


def test_files_that_were_not_uploaded_are_out_of_reach(client, picture, tmp_path):
    shutil.copy(picture, tmp_path / "mine.png")
    for path in ("/etc/passwd", str(tmp_path / "mine.png"), "../../etc/passwd"):
        with pytest.raises(AppError) as caught:
            client.predict({"path": path, "orig_name": "mine.png"}, api_name="/restore")
        assert "was not uploaded" in str(caught.value)


def test_broken_files_are_refused_by_their_own_name(client, tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"no picture" * 20)
    with pytest.raises(AppError) as caught:
        client.predict(handle_file(path), api_name="/restore")
    assert str(caught.value).startswith("broken.png: is not a picture or clip that can be read")
    with pytest.raises(AppError) as caught:
        client.predict(handle_file(path), "a cat", cells=[1], pipeline="tiny", api_name="/edit")
    assert "broken.png: is not a picture or clip" in str(caught.value) and "/tmp" not in str(caught.value)
