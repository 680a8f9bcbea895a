"""How the page is served: to many at once, privately, with limits, behind a password and a proxy."""

import contextlib
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from mmgen import media

pytest.importorskip("gradio", reason="gradio, the extra `web`, is not installed")

import uvicorn
from gradio_client import Client
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

from mmgen.errors import MissingDependencyError
from mmgen.web.app import build, launch
from mmgen.web.studio import Studio

PATIENT = {"timeout": 120}


def test_the_page_is_made_and_served_without_a_model(entries):
    studio = Studio(entries)
    page = launch(port=0, block=False, studio=studio)
    try:
        assert "mmgen" in httpx.get(page.local_url).text
        assert httpx.get(f"{page.local_url}config").status_code == 200
        assert not any(studio.is_loaded(name) for name in studio.models)
    finally:
        page.close()


def test_a_pipeline_is_loaded_once_however_many_ask(entries):
    loads = []

    class Counting(Studio):
        def load(self, model):
            loads.append(model.name)
            return super().load(model)

    studio = Counting(entries)
    with ThreadPoolExecutor(4) as pool:
        pipes = list(pool.map(studio.pipeline, ["tiny"] * 4))
    assert loads == ["tiny"] and all(pipe is pipes[0] for pipe in pipes)


def test_twenty_at_once_get_their_own(url, pipe):
    before, pipe.draw.seconds = pipe.draw.seconds, 0

    def ask(number):
        client = Client(url, verbose=False, httpx_kwargs=PATIENT)
        (result,) = client.predict("a cat", seed=number, pipeline="tiny", api_name="/generate")
        return result

    try:
        with ThreadPoolExecutor(20) as pool:
            results = list(pool.map(ask, range(100, 120)))
    finally:
        pipe.draw.seconds = before
    assert [result["seed"] for result in results] == list(range(100, 120))
    assert [media.read_metadata(result["file"])["seed"] for result in results] == list(range(100, 120))
    assert len({result["file"] for result in results}) == 20


def test_who_knows_no_session_hears_nothing(url):
    visitor = httpx.Client(base_url=url, timeout=60)
    asked = visitor.post("gradio_api/call/generate", json={"data": ["a cat", 1, 1, *[None] * 4, "tiny", *[None] * 5]})
    own = asked.json()["event_id"]
    for address in ("gradio_api/call/generate/another", "gradio_api/queue/data?session_hash=another"):
        assert "event: complete" not in heard(visitor, address) and "a cat" not in heard(visitor, address)
    assert "event: complete" in heard(visitor, f"gradio_api/call/generate/{own}")


def heard(visitor, address):
    """What a server says at an address before it hangs up."""
    said = ""
    with contextlib.suppress(httpx.HTTPError), visitor.stream("GET", address) as answer:
        for text in answer.iter_text():
            said += text
    return said


@pytest.mark.parametrize("path", ["/etc/passwd", "pyproject.toml", "%2Fetc%2Fpasswd", "../../../etc/passwd", __file__])
def test_no_file_of_the_server_is_readable(url, path):
    answer = httpx.get(f"{url}gradio_api/file={path}")
    assert answer.status_code in (403, 404) and "root:" not in answer.text and "[project]" not in answer.text


def test_uploads_have_a_limit(url):
    answer = httpx.post(f"{url}gradio_api/upload", files={"files": ("big.png", b"\0" * (21 * 2**20))}, timeout=60)
    assert answer.status_code == 413


def test_a_password_is_asked_for(entries):
    page = launch(port=0, block=False, studio=Studio(entries), password="open sesame")
    try:
        assert httpx.get(f"{page.local_url}config").status_code == 401
        said = {"username": "anybody", "password": "wrong"}
        assert httpx.post(f"{page.local_url}login", data=said).status_code == 400
        client = Client(page.local_url, auth=("anybody", "open sesame"), verbose=False, httpx_kwargs=PATIENT)
        assert client.predict(api_name="/pipelines")[0]["name"] == "tiny"
    finally:
        page.close()


def test_behind_a_proxy_all_addresses_have_its_path(entries):
    page = launch(port=0, block=False, studio=Studio(entries), root_path="/pictures")
    try:
        with proxy(page.local_url, "/pictures") as address:
            client = Client(f"{address}/pictures/", verbose=False, httpx_kwargs=PATIENT)
            assert client.predict(api_name="/pipelines")[0]["name"] == "tiny"
            text = httpx.get(f"{address}/pictures/").text
            assert "/pictures" in text
            (result,) = client.predict("a cat", seed=1, pipeline="tiny", api_name="/generate")
            assert media.read_metadata(result["file"])["seed"] == 1
    finally:
        page.close()


@contextlib.contextmanager
def proxy(target, path):
    """A reverse proxy that serves another server under a path."""
    client = httpx.AsyncClient(base_url=target, timeout=60)

    async def forward(request):
        asked = client.build_request(
            request.method,
            request.url.path.removeprefix(path).lstrip("/"),
            params=request.url.query.encode(),
            headers=request.headers.raw,
            content=await request.body(),
        )
        answer = await client.send(asked, stream=True)
        return StreamingResponse(answer.aiter_raw(), answer.status_code, dict(answer.headers))

    methods = ["GET", "POST", "HEAD"]
    app = Starlette(routes=[Route(path + "/{rest:path}", forward, methods=methods), Route(path, forward)])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        pass
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = server.force_exit = True  # whatever streams are still open
        thread.join()


def test_without_mcp_one_line_says_what_to_install(entries, monkeypatch):
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(MissingDependencyError, match=r"install mmgen\[mcp\]"):
        launch(port=0, block=False, studio=Studio(entries), mcp=True)


def test_what_uses_a_model_waits_in_one_line(entries):
    page = build(Studio(entries))
    heavy = [fn for fn in page.fns.values() if fn.concurrency_id == "model"]
    assert all(fn.concurrency_limit == 1 for fn in heavy)
    named = {fn.api_name for fn in heavy if fn.api_visibility == "public"}
    assert named == {"generate", "compare", "edit", "batch", "benchmark"}
    assert page.max_size if hasattr(page, "max_size") else page._queue.max_size == 64
