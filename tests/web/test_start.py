"""Starting the page from the command line, and what it says when it cannot."""

import socket
import sys

import pytest

from mmgen.web.start import main


def test_without_gradio_one_line_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main([]) == 1
    message = capsys.readouterr().err
    assert message == "error: the web page needs gradio; install it: pip install 'mmgen[web]'\n"


def test_a_port_in_use_is_one_line(capsys):
    pytest.importorskip("gradio", reason="gradio, the extra `web`, is not installed")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"error: 127.0.0.1:{port}: cannot be listened on") and message.count("\n") == 1
    assert "choose another port" in message


def test_what_is_said_arrives_at_the_page(monkeypatch):
    pytest.importorskip("gradio", reason="gradio, the extra `web`, is not installed")
    from mmgen.web import app

    given = {}
    monkeypatch.setattr(app, "launch", lambda **said: given.update(said))
    monkeypatch.setenv("MMGEN_PASSWORD", "open sesame")
    assert main(["--port", "0", "--root-path", "/pictures", "--mcp"]) == 0
    assert (given["host"], given["password"], given["root_path"]) == ("127.0.0.1", "open sesame", "/pictures")
    assert given["mcp"] and not given["share"]


def test_what_mcp_needs_is_said(monkeypatch, capsys):
    pytest.importorskip("gradio", reason="gradio, the extra `web`, is not installed")
    monkeypatch.setitem(sys.modules, "mcp", None)
    assert main(["--mcp"]) == 1
    assert "install mmgen[mcp]: pip install 'mmgen[mcp]'" in capsys.readouterr().err
