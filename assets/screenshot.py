"""Takes the README's picture of the web page: `python assets/screenshot.py [FILE]`. Needs playwright and chromium."""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from mmgen.web.app import launch

PROMPT, SEED, COUNT = "a red apple to the left of a cat on a blue background", "7", "4"


def main(path: Path) -> None:
    server = launch(port=0, block=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1000}, color_scheme="light")
        page.goto(server.local_url)
        page.locator("#random-seed input").uncheck()
        page.locator("#seed input:enabled").fill(SEED)
        page.locator("#count input[type=number]").fill(COUNT)
        page.locator("#prompt input").fill(PROMPT)
        page.locator("#prompt input").press("Enter")
        page.wait_for_selector("#results .cards.finished", timeout=120_000)
        page.mouse.move(0, 0)
        page.wait_for_timeout(500)
        page.screenshot(path=path, full_page=True)
        browser.close()
    server.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("web.png"))
