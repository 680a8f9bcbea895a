"""The endpoint `/generate`, called as other programs call it; the others are in `test_other_endpoints`."""

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmgen import media

pytest.importorskip("gradio", reason="gradio, the extra `web`, is not installed")

from gradio_client import Client
from gradio_client.exceptions import AppError


@pytest.fixture(scope="module")
def client(url):
    return Client(url, verbose=False)


def test_pictures_come_as_files_that_say_how_they_were_made(client, pipe):
    results = client.predict(
        "a cat on a blue background",
        seed=7,
        count=2,
        decoder="coupled-jacobi",
        options={"window": 5},
        temperature=0.7,
        api_name="/generate",
    )
    expected = pipe(
        "a cat on a blue background",
        seed=7,
        num_images_per_prompt=2,
        decoder="coupled-jacobi",
        decoder_options={"window": 5},
        temperature=0.7,
    )
    assert len(results) == 2
    for result, image, row in zip(results, expected.images, expected.statistics, strict=True):
        assert (np.asarray(Image.open(result["file"])) == np.asarray(image)).all()
        metadata = media.read_metadata(result["file"])
        for key in ("prompt", "seed", "decoder", "law", "options", "sampling", "revision", "evaluations", "tokens"):
            assert metadata[key] == result[key] == row[key]
        assert result["seconds"] > 0 and result["complete"]
    assert [result["seed"] for result in results] == [7, 8]


def test_what_is_left_out_is_the_pipelines_own(client, pipe):
    (result,) = client.predict("a cat", api_name="/generate")
    assert result["decoder"] == "jacobi" and result["options"] == pipe.decoder.options()
    assert result["sampling"]["guidance"] == 2.5 and result["sampling"]["temperature"] == 0.9


def test_the_answer_grows_while_the_picture_is_drawn(client):
    job = client.submit("a cat", seed=1, decoder="autoregressive", api_name="/generate")
    job.result()
    *early, (last,) = job.outputs()
    tokens = [frame[0]["tokens"] for frame in early]
    assert len(set(tokens)) > 3 and tokens == sorted(tokens)
    assert all(frame[0]["file"] is None and not frame[0]["complete"] for frame in early[:3])
    assert last["tokens"] == last["evaluations"] == 64 and last["complete"]


@pytest.mark.parametrize(
    ("prompt", "settings", "words"),
    [
        ("a cat on a <plaid> background", {}, "unknown background 'plaid'; choose from white, gray"),
        ("", {}, "the prompt is empty; write what to draw"),
        ("a cat", {"decoder": "jakobi"}, "no decoder is called 'jakobi'; did you mean 'jacobi'?"),
        ("a cat", {"decoder": "jacobi", "options": {"windw": 3}}, "one of jacobi's options: window"),
        ("a cat", {"guidance": 51.0}, "guidance=51.0: needed is a number from 0 to 50"),
        ("a cat", {"count": 9}, "count=9: needed is a whole number from 1 to 8"),
        ("a cat", {"seed": -1}, "seed=-1: needed is a whole number from 0"),
        ("a cat " * 400, {}, "has 2400 letters; use at most 2000"),
        ("a slow song", {"pipeline": "tiny-sound", "duration": 31.0, "count": 2}, "at most 30 seconds of 2 recordings"),
        ("a cat", {"pipeline": "../elsewhere"}, "no pipeline is called '../elsewhere'"),
    ],
)
def test_a_refusal_has_the_errors_own_words(client, prompt, settings, words):
    with pytest.raises(AppError) as caught:
        client.predict(prompt, **settings, api_name="/generate")
    assert words in str(caught.value)


def test_cancelling_stops_the_drawing_and_frees_the_model(client, pipe):
    pipe.draw.stopped.clear()
    job = client.submit("a cat", seed=1, decoder="autoregressive", api_name="/generate")
    deadline = time.monotonic() + 20
    while not job.outputs() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert job.outputs(), "nothing was drawn"
    job.cancel()
    assert pipe.draw.stopped.wait(20)
    assert client.predict("a dog", api_name="/generate")[0]["complete"]


@pytest.mark.parametrize(
    ("pipeline", "prompt", "settings", "ending", "size"),
    [
        ("tiny-clip", "a red ball moves up", {}, ".mp4", [9, 16, 16]),
        ("tiny-scales", "a cat", {}, ".png", [16, 16]),
        ("tiny-sound", "a slow sad song", {"duration": 0.5}, ".wav", []),
    ],
)
def test_every_medium_comes_as_a_file_that_says_how_it_was_made(
    client, studio, pipeline, prompt, settings, ending, size
):
    (result,) = client.predict(prompt, seed=3, pipeline=pipeline, **settings, api_name="/generate")
    assert result["file"].endswith(ending) and result["size"] == size and result["complete"]
    metadata = media.read_metadata(result["file"])
    assert (metadata["pipeline"], metadata["seed"], metadata["prompt"]) == (pipeline, 3, prompt)
    if pipeline == "tiny-sound":
        samples, rate = media.read_sound(Path(result["file"]))
        assert samples.shape == (1, rate // 2) and samples.any()


def test_all_endpoints_are_public_named_and_documented(client):
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    names = ["generate", "compare", "edit", "batch", "benchmark", "restore", "pipelines"]
    assert sorted(endpoints) == sorted(f"/{name}" for name in names)
    assert all(endpoint["description"] for endpoint in endpoints.values())
    parameters = [parameter["parameter_name"] for parameter in endpoints["/generate"]["parameters"]]
    assert parameters[:8] == ["prompt", "seed", "count", "decoder", "options", "guidance", "temperature", "pipeline"]
    assert "Draws pictures, clips or sound from a caption" in endpoints["/generate"]["description"]
