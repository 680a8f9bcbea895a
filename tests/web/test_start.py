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


def test_a_port_in_use_is_one_line(tiny_model, capsys):
    pytest.importorskip("gradio", reason="gradio, the extra `web`, is not installed")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"error: 127.0.0.1:{port}: cannot be listened on") and message.count("\n") == 1
    assert "choose another port" in message
