"""The page in a browser, as a person uses it."""

import io
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from mmgen import media

pytest.importorskip("gradio", reason="gradio, the extra `web`, is not installed")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("no chromium is installed", allow_module_level=True)
expect = sync_api.expect
expect.set_options(timeout=20_000)


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield launched
        launched.close()


@pytest.fixture
def page(browser, url):
    opened = browser.new_page(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    opened.set_default_timeout(20_000)
    opened.foreign = []
    opened.on("request", lambda request: opened.foreign.append(request.url) if _foreign(request.url, url) else None)
    opened.goto(url)
    expect(opened.locator("#prompt input")).to_be_visible()
    yield opened
    opened.close()


def _foreign(address, url):
    return not address.startswith((url, "data:", "blob:"))


def choose_decoder(page, name):
    page.locator("#decoder input").click()
    page.locator(f'[role="option"][aria-label^="{name} ·"]').click()


def write(page, prompt):
    page.locator("#prompt input").fill(prompt)
    page.locator("#prompt input").press("Enter")


def undrawn(page):
    """Share of the first picture's pixels that are the gray of what is not drawn yet."""
    source = page.locator("#results img").first.get_attribute("src")
    data = page.evaluate(
        "(source) => fetch(source).then((r) => r.arrayBuffer()).then((b) => [...new Uint8Array(b)])", source
    )
    pixels = np.asarray(Image.open(io.BytesIO(bytes(data))).convert("RGB")).astype(int)
    return float((np.abs(pixels - 128) <= 1).all(-1).mean())


def test_enter_draws_and_the_picture_appears_bit_by_bit(page, tmp_path):
    expect(page.locator("#results")).to_contain_text("Nothing drawn yet")
    choose_decoder(page, "autoregressive")
    page.locator("#random-seed input").uncheck()
    expect(page.locator("#seed input")).to_be_enabled()
    page.locator("#seed input").fill("41")
    write(page, "a cat on a blue background")
    expect(page.locator("#results .cards.drawing")).to_be_visible()
    expect(page.locator("#status progress")).to_be_visible()
    shares = [undrawn(page)]
    page.wait_for_timeout(800)
    shares.append(undrawn(page))
    expect(page.locator("#results .cards.finished")).to_be_visible()
    shares.append(undrawn(page))
    assert shares[0] > shares[1] > shares[2] == 0

    numbers = page.locator("#results .numbers").inner_text().split("\n")
    assert "64" in numbers and "1.0" in numbers
    expect(page.locator("#results .numbers")).to_contain_text("tokens per evaluation")
    expect(page.locator("#results .numbers")).to_contain_text("seconds")
    expect(page.locator("#results .law")).to_have_text("exact")
    image = page.locator("#results img")
    assert image.evaluate("(image) => getComputedStyle(image).imageRendering") == "pixelated"
    assert image.bounding_box()["width"] >= 256

    with page.expect_download() as download:
        page.locator("#results .save").click()
    assert download.value.suggested_filename == "a-cat-on-a-blue-background-41.png"
    download.value.save_as(tmp_path / "saved.png")
    metadata = media.read_metadata(tmp_path / "saved.png")
    assert (metadata["seed"], metadata["decoder"]) == (41, "autoregressive")

    image.click()
    expect(page.locator("dialog.full-size img")).to_be_visible()
    assert page.locator("dialog.full-size img").bounding_box()["width"] > 700
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    assert page.foreign == []


def test_stop_keeps_what_is_drawn_and_the_next_one_starts(page, pipe):
    page.locator("#stop").click()
    expect(page.locator("#status")).to_contain_text("Nothing is being drawn")
    pipe.draw.stopped.clear()
    choose_decoder(page, "autoregressive")
    write(page, "two stars")
    expect(page.locator("#results .cards.drawing")).to_be_visible()
    page.locator("#prompt input").press("Enter")  # a second one while the first is drawn changes nothing
    page.locator("#stop").click()
    expect(page.locator("#status")).to_contain_text(re.compile(r"Stopped at \d+ of 64 tokens"))
    assert pipe.draw.stopped.wait(20)
    kept = undrawn(page)
    assert 0 < kept < 1
    page.wait_for_timeout(400)
    assert undrawn(page) == kept
    choose_decoder(page, "jacobi")
    page.locator("#count input[type=number]").fill("2")
    page.locator("#count input[type=number]").press("Tab")
    page.locator("#generate").click()
    expect(page.locator("#results .cards.finished .card")).to_have_count(2)
    first = page.locator("#results .seed").first.inner_text().removeprefix("seed ")
    page.locator("#reuse-seed").click()
    expect(page.locator("#seed input")).to_have_value(first)
    expect(page.locator("#random-seed input")).not_to_be_checked()


def test_the_options_are_the_chosen_decoders_and_remember(page):
    expect(page.locator("#option-jacobi-window input[type=number]")).to_have_value("12")
    page.locator("#option-jacobi-window input[type=number]").fill("9")
    page.locator("#option-jacobi-window input[type=number]").press("Tab")
    choose_decoder(page, "proactive")
    expect(page.locator("#option-proactive-branching")).to_be_visible()
    expect(page.locator("#option-jacobi-window")).to_be_hidden()
    expect(page.locator("#about-decoder")).to_contain_text("Kang et al. 2026")
    choose_decoder(page, "jacobi")
    expect(page.locator("#option-jacobi-window input[type=number]")).to_have_value("9")
    expect(page.locator("#option-proactive-branching")).to_be_hidden()


def test_a_refused_prompt_is_told_in_words(page):
    write(page, "a <b>unicorn</b>")
    expect(page.locator(".toast-body")).to_contain_text("prompt 'a <b>unicorn</b>': 'b unicorn b' is not an object")
    assert "Traceback" not in page.content()
    page.locator("#examples button").first.click()
    expect(page.locator("#prompt input")).to_have_value(re.compile("^a red apple"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_only_downwards(browser, url, scheme):
    phone = browser.new_page(viewport={"width": 360, "height": 740}, color_scheme=scheme)
    phone.goto(url)
    expect(phone.locator("#generate")).to_be_visible()
    phone.locator("#grammar button").first.click()
    expect(phone.locator("#words")).to_be_visible()
    assert phone.evaluate("document.documentElement.scrollWidth") <= 360
    background = phone.evaluate("getComputedStyle(document.body).backgroundColor")
    red = int(re.findall(r"\d+", background)[0])
    assert red > 200 if scheme == "light" else red < 60
    phone.close()
