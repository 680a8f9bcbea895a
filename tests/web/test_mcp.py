"""The endpoints as tools of the Model Context Protocol, called through the protocol's own client."""

import asyncio
import base64
import io
import json
from contextlib import asynccontextmanager

import numpy as np
import pytest
from PIL import Image

from mmgen.errors import OptionError

pytest.importorskip("gradio", reason="gradio, the extra `web`, is not installed")
pytest.importorskip("mcp", reason="mcp, the extra `mcp`, is not installed")

from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from mmgen.web.app import launch

SONG = {"prompt": "a slow song", "pipeline": "tiny-sound", "duration": 0.5}


@pytest.fixture(scope="module")
def page(studio):
    served = launch(port=0, block=False, studio=studio, mcp=True)
    yield served
    served.close()


def ask(page, *wishes):
    """What the tools answer, in turn; without wishes, which there are."""

    async def asked():
        async with opened(page.local_url) as session:
            if not wishes:
                return (await session.list_tools()).tools
            return [await session.call_tool(name, arguments) for name, arguments in wishes]

    return asyncio.run(asked())


@asynccontextmanager
async def opened(url):
    address = f"{url}gradio_api/mcp/"
    async with streamable_http_client(address) as streams, ClientSession(*streams[:2]) as session:
        await session.initialize()
        yield session


def test_all_endpoints_are_tools_with_descriptions(page):
    tools = {tool.name: tool for tool in ask(page)}
    assert sorted(tools) == sorted(["generate", "compare", "edit", "batch", "benchmark", "restore", "pipelines"])
    assert "Draws pictures, clips or sound from a caption" in tools["generate"].description
    assert tools["generate"].inputSchema["required"] == ["prompt"]
    for name in ("edit", "batch", "restore"):
        assert {"type": "string"} in tools[name].inputSchema["properties"]["file"]["anyOf"]


def test_pictures_and_sounds_come_as_such_and_the_rest_as_json(page, pipe):
    picture, song = ask(page, ("generate", {"prompt": "a cat", "seed": 5, "pipeline": "tiny"}), ("generate", SONG))
    words, shown = picture.content
    (row,) = json.loads(words.text)
    assert (row["seed"], row["complete"]) == (5, True) and row["file"].startswith(page.local_url)
    drawn = Image.open(io.BytesIO(base64.b64decode(shown.data)))
    assert shown.mimeType == "image/png"
    assert (np.asarray(drawn) == np.asarray(pipe("a cat", seed=5).images[0])).all()
    assert song.content[1].type == "audio" and base64.b64decode(song.content[1].data).startswith(b"RIFF")


def test_a_result_is_named_by_its_address_or_sent_whole(page):
    (picture,) = ask(page, ("generate", {"prompt": "a cat", "seed": 5, "pipeline": "tiny"}))
    address = json.loads(picture.content[0].text)[0]["file"]
    whole = f"data:image/png;base64,{picture.content[1].data}"
    wish = {"file": address, "prompt": "a dog", "cells": [0, 1, 8], "pipeline": "tiny"}
    edited, *restored = ask(page, ("edit", wish), ("restore", {"file": address}), ("restore", {"file": whole}))
    assert json.loads(edited.content[0].text)[0]["tokens"] == 3
    assert [json.loads(one.content[0].text)["seed"] for one in restored] == [5, 5]


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (("generate", {"prompt": "a unicorn"}), "'unicorn' is not an object"),
        (("restore", {"file": "/etc/passwd"}), "was not uploaded"),
        (("restore", {"file": "http://127.0.0.1:1/gradio_api/file=/etc/passwd"}), "was not uploaded"),
        (("restore", {"file": "data:image/png;base64,%%%"}), "cannot be read"),
    ],
)
def test_a_refusal_has_the_errors_own_words(page, wish, words):
    (refused,) = ask(page, wish)
    assert refused.isError and words in refused.content[0].text


def test_a_password_and_tools_exclude_each_other(studio):
    with pytest.raises(OptionError, match="one of both"):
        launch(port=0, block=False, studio=studio, mcp=True, password="open sesame")
