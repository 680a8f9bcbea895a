"""The page in a browser, as a person uses it."""

import io
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from mmgen import media
from mmgen.web.studio import save

pytest.importorskip("gradio", reason="gradio, the extra `web`, is not installed")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("no chromium is installed", allow_module_level=True)
expect = sync_api.expect
expect.set_options(timeout=60_000)
PATIENCE = 60_000


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
    opened.set_default_timeout(PATIENCE)
    opened.foreign, opened.faults = [], []
    opened.on("request", lambda request: opened.foreign.append(request.url) if _foreign(request.url, url) else None)
    opened.on("pageerror", lambda error: opened.faults.append(str(error)))
    opened.goto(url)
    expect(opened.locator("#prompt input")).to_be_visible()
    yield opened
    assert opened.foreign == [] and opened.faults == []
    opened.close()


def _foreign(address, url):
    return not address.startswith((url, "data:", "blob:"))


def choose(page, place, name):
    page.locator(f"{place} input").click()
    page.locator(f'[role="option"][aria-label^="{name} ·"]').click()


def turn_to(page, name):
    page.get_by_role("tab", name=name).click()


def write(page, prompt, place="#prompt"):
    page.locator(f"{place} input").fill(prompt)
    page.locator(f"{place} input").press("Enter")


def say(page, place, number):
    page.locator(f"{place} input[type=number]").fill(str(number))
    page.locator(f"{place} input[type=number]").press("Tab")


def pixels(page, place="#results img"):
    """The first picture as an array."""
    source = page.locator(place).first.get_attribute("src")
    data = page.evaluate(
        "(source) => fetch(source).then((r) => r.arrayBuffer()).then((b) => [...new Uint8Array(b)])", source
    )
    return np.asarray(Image.open(io.BytesIO(bytes(data))).convert("RGB")).astype(int)


def undrawn(page):
    """Share of the first picture's pixels that are the gray of what is not drawn yet."""
    return float((np.abs(pixels(page) - 128) <= 1).all(-1).mean())


def test_enter_draws_and_the_picture_appears_bit_by_bit(page, tmp_path):
    expect(page.locator("#results")).to_contain_text("Nothing drawn yet")
    choose(page, "#decoder", "autoregressive")
    page.locator("#random-seed input").uncheck()
    expect(page.locator("#seed input")).to_be_enabled()
    page.locator("#seed input").fill("41")
    page.locator("#highlight input").check()
    write(page, "a cat on a blue background")
    expect(page.locator("#results .cards.drawing")).to_be_visible()
    expect(page.locator("#status progress")).to_be_visible()
    expect(page.locator("#results .latest path")).to_be_attached()
    shares = [undrawn(page)]
    page.wait_for_timeout(800)
    shares.append(undrawn(page))
    expect(page.locator("#results .cards.finished")).to_be_visible()
    shares.append(undrawn(page))
    assert shares[0] > shares[1] > shares[2] == 0

    numbers = page.locator("#results .numbers").inner_text().split("\n")
    assert "64" in numbers and "1.0" in numbers
    expect(page.locator("#results .numbers")).to_contain_text("tokens per evaluation")
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

    # Another tab has it still, and its settings.
    turn_to(page, "History")
    expect(page.locator("#history .card")).to_have_count(1)
    turn_to(page, "Create")
    choose(page, "#decoder", "jacobi")
    page.locator("#prompt input").fill("")
    turn_to(page, "History")
    page.locator("#history .restore").click()
    expect(page.locator("#status")).to_contain_text("Settings restored")
    expect(page.locator("#prompt input")).to_have_value("a cat on a blue background")
    expect(page.locator("#decoder input")).to_have_value("autoregressive · exact")


def test_stop_keeps_what_is_drawn_and_the_next_one_starts(page, pipe):
    page.locator("#stop").click()
    expect(page.locator("#status")).to_contain_text("Nothing is being drawn")
    pipe.draw.stopped.clear()
    choose(page, "#decoder", "autoregressive")
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
    choose(page, "#decoder", "jacobi")
    say(page, "#count", 2)
    page.locator("#generate").click()
    expect(page.locator("#results .cards.finished .card")).to_have_count(2)
    first = page.locator("#results .seed").first.inner_text().removeprefix("seed ")
    page.locator("#reuse-seed").click()
    expect(page.locator("#seed input")).to_have_value(first)
    expect(page.locator("#random-seed input")).not_to_be_checked()


def test_clips_play_and_sound_can_be_heard(page):
    choose(page, "#pipeline", "tiny-clip")
    expect(page.locator("#count")).to_contain_text("Clips")
    write(page, "a red ball moves up")
    video = page.locator("#results .cards.finished video")
    expect(video).to_be_visible()
    assert video.evaluate("(video) => video.loop && video.muted")
    choose(page, "#pipeline", "tiny-sound")
    expect(page.locator("#duration")).to_be_visible()
    say(page, "#duration", 0.5)
    write(page, "a slow sad song")
    expect(page.locator("#results .cards.finished audio")).to_be_visible()
    with page.expect_download() as download:
        page.locator("#results .save").click()
    assert download.value.suggested_filename.endswith(".wav")


def test_two_decoders_race_to_equal_pixels(page):
    turn_to(page, "Compare")
    page.locator("#compare-prompt input").fill("a cat")
    page.locator("#race").click()
    expect(page.locator("#comparison .race.drawing .side")).to_have_count(2)
    expect(page.locator("#comparison .slider")).to_be_visible()
    expect(page.locator("#compare-status")).to_contain_text("Every pixel is equal")
    slider = page.locator("#comparison input[type=range]")
    slider.focus()
    page.keyboard.press("Home")
    cut = "(slider) => slider.closest('.slider').style.getPropertyValue('--cut')"
    assert slider.evaluate(cut) == "0%"


def test_what_is_painted_is_drawn_again_and_the_rest_stays(page):
    write(page, "a cat")
    expect(page.locator("#results .cards.finished")).to_be_visible()
    before = pixels(page)
    page.locator("#results .edit").click()
    paper = page.locator("#canvas svg")
    expect(paper).to_be_visible()
    expect(page.locator("#edit-prompt input")).to_have_value("a cat")
    page.locator("#canvas .brush").fill("1")
    box = paper.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.55, box["y"] + box["height"] * 0.55)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.95, box["y"] + box["height"] * 0.55, steps=12)
    page.mouse.up()
    expect(page.locator("#canvas .painted")).to_have_count(4)
    paper.focus()
    page.keyboard.press("Space")
    expect(page.locator("#canvas .painted")).to_have_count(5)
    say(page, "#edit-count", 1)
    page.locator("#edit-prompt input").fill("a dog")
    page.locator("#redraw").click()
    expect(page.locator("#edit-results .cards.finished")).to_be_visible()
    expect(page.locator("#edit-status")).to_contain_text("a dog")
    after = pixels(page, "#edit-results img")
    assert after.shape == before.shape

    # It is kept with what was painted.
    turn_to(page, "History")
    expect(page.locator("#history .card")).to_have_count(2)
    page.locator("#history .restore").first.click()
    expect(page.locator("#edit-status")).to_contain_text("What was drawn again is painted")
    expect(page.locator("#canvas .painted")).to_have_count(5)
    page.locator("#redraw").click()
    expect(page.locator("#edit-results .cards.finished")).to_be_visible()
    assert (pixels(page, "#edit-results img") == after).all()


def test_a_dropped_file_fills_the_form(page, studio, tmp_path):
    *_, frame = studio.draw(
        "two stars", pipeline="tiny", seed=23, decoder="coupled-jacobi", decoder_options={"window": 5}
    )
    (path,) = save(frame, tmp_path)
    data = page.evaluate_handle(
        """([name, bytes]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], name, { type: 'image/png' }));
            return data;
        }""",
        [path.name, list(path.read_bytes())],
    )
    page.locator("#drop button").first.dispatch_event("drop", {"dataTransfer": data})
    expect(page.locator("#prompt input")).to_have_value("two stars")
    expect(page.locator("#seed input")).to_have_value("23")
    expect(page.locator("#option-coupled-jacobi-window input[type=number]")).to_have_value("5")
    expect(page.locator("#status")).to_contain_text("Settings restored")


def test_prompts_become_a_zip(page, tmp_path):
    (tmp_path / "prompts.txt").write_text("a cat\na dog\n")
    turn_to(page, "Batch")
    page.locator("#prompts input[type=file]").set_input_files(tmp_path / "prompts.txt")
    expect(page.locator("#prompts")).to_contain_text("prompts")
    page.locator("#start-batch").click()
    expect(page.locator("#batch-status")).to_contain_text("2 of 2 are in the zip")
    with page.expect_download() as download:
        page.locator("#download").click()
    assert download.value.suggested_filename == "mmgen-batch.zip"


def test_the_options_are_the_chosen_decoders_and_remember(page):
    expect(page.locator("#option-jacobi-window input[type=number]")).to_have_value("12")
    say(page, "#option-jacobi-window", 9)
    choose(page, "#decoder", "proactive")
    expect(page.locator("#option-proactive-branching")).to_be_visible()
    expect(page.locator("#option-jacobi-window")).to_be_hidden()
    expect(page.locator("#about-decoder")).to_contain_text("Kang et al. 2026")
    choose(page, "#decoder", "jacobi")
    expect(page.locator("#option-jacobi-window input[type=number]")).to_have_value("9")
    expect(page.locator("#option-proactive-branching")).to_be_hidden()


def test_a_refused_prompt_is_told_in_words(page):
    write(page, "a <b>unicorn</b>")
    expect(page.locator(".toast-body")).to_contain_text("prompt 'a <b>unicorn</b>': 'b unicorn b' is not an object")
    assert "Traceback" not in page.content()
    page.locator("#examples button").first.click()
    expect(page.locator("#prompt input")).to_have_value(re.compile("^a red apple"))


def test_visitors_see_their_own_results_alone(browser, url, page):
    write(page, "a cat")
    expect(page.locator("#results .cards.finished")).to_be_visible()
    other = browser.new_context().new_page()
    other.goto(url)
    expect(other.locator("#results")).to_contain_text("Nothing drawn yet", timeout=PATIENCE)
    turn_to(other, "History")
    expect(other.locator("#history")).to_contain_text("Nothing here yet")
    other.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_only_downwards(browser, url, scheme):
    phone = browser.new_page(viewport={"width": 360, "height": 740}, color_scheme=scheme)
    phone.set_default_timeout(PATIENCE)
    phone.goto(url)
    expect(phone.locator("#generate")).to_be_visible()
    phone.locator("#grammar button").first.click()
    expect(phone.locator("#words")).to_be_visible()
    for tab, place in (("create", "#generate"), ("compare", "#race"), ("edit", "#redraw"), ("batch", "#start-batch")):
        phone.evaluate("(id) => document.getElementById(id).click()", f"tab-{tab}-button")
        expect(phone.locator(place)).to_be_visible()
        assert phone.evaluate("document.documentElement.scrollWidth") <= 360, tab
    background = phone.evaluate("getComputedStyle(document.body).backgroundColor")
    red = int(re.findall(r"\d+", background)[0])
    assert red > 200 if scheme == "light" else red < 60
    phone.close()
