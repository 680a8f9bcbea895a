"""Scripts that run in the browser, each beside one component of the page."""

from pathlib import Path


def script(name: str) -> str:
    """The text of a script: the body of a function of `element`, `props` and `trigger`."""
    return Path(__file__).with_name(f"{name}.js").read_text(encoding="utf-8")
