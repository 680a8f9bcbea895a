"""Takes the pictures of the page that the README and the docs show: `python -m mmgen.web.screenshots assets`.

Needs playwright and chromium. The pictures come from the running page with the shipped pipelines.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmgen.errors import MissingDependencyError

_PATIENCE = 600_000
"""Milliseconds; a machine may be slow."""
_PROMPT = "a red apple to the left of a cat on a blue background"


def main(folder: Path) -> None:
    """Writes one PNG for each tab to a folder.

    Raises:
        MissingDependencyError: there is no playwright, or no chromium.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise MissingDependencyError("playwright is not installed", "pip install playwright") from error
    chromium = shutil.which("chromium")
    if chromium is None:
        raise MissingDependencyError("chromium is not installed", "install it: apt-get install chromium")
    from mmgen.web.app import launch

    server = launch(port=0, block=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 960}, color_scheme="light")
        page.set_default_timeout(_PATIENCE)
        page.goto(server.local_url)
        for name, show in _SHOWS.items():
            show(page)
            page.mouse.move(0, 0)
            page.wait_for_timeout(800)
            page.screenshot(path=folder / f"{name}.png", full_page=True)
            print(folder / f"{name}.png")
        browser.close()
    server.close()


def _turn_to(page: Any, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def _create(page: Any) -> None:
    page.locator("#random-seed input").uncheck()
    page.locator("#seed input:enabled").fill("7")
    page.locator("#count input[type=number]").fill("4")
    page.locator("#prompt input").fill(_PROMPT)
    page.locator("#prompt input").press("Enter")
    page.wait_for_selector("#results .cards.finished")


def _compare(page: Any) -> None:
    _turn_to(page, "Compare")
    page.locator("#compare-prompt input").fill(_PROMPT)
    page.locator("#race").click()
    page.wait_for_selector("#comparison .slider")


def _edit(page: Any) -> None:
    _turn_to(page, "Create")
    page.locator("#results .edit").first.click()
    page.wait_for_selector("#canvas svg")
    box = page.locator("#canvas svg").bounding_box()
    page.locator("#canvas .brush").fill("5")
    for row in (0.3, 0.45, 0.6, 0.7):
        page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * row)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.95, box["y"] + box["height"] * row, steps=10)
        page.mouse.up()
    page.locator("#edit-prompt input").fill("a red apple to the left of a dog on a blue background")
    page.locator("#redraw").click()
    page.wait_for_selector("#edit-results .cards.finished")


def _benchmark(page: Any) -> None:
    _turn_to(page, "Benchmark")
    page.locator("#measure").click()
    page.wait_for_selector("#bench-results .table")


def _history(page: Any) -> None:
    _turn_to(page, "History")
    page.wait_for_selector("#history .card")


_SHOWS: dict[str, Callable[[Any], None]] = {
    "web": _create,
    "web-compare": _compare,
    "web-edit": _edit,
    "web-benchmark": _benchmark,
    "web-history": _history,
}


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("assets"))
