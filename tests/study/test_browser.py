"""The pages in a real browser, where Playwright and Chromium are installed: desktop, phone, keyboard, names that are code."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from diptych.study.make import new_study
from diptych.study.protocol import Protocol
from diptych.study.simulate import simulate

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if not CHROMIUM:
    pytest.skip("Chromium is not installed", allow_module_level=True)
pytestmark = pytest.mark.filterwarnings("default")  # of Playwright's own event loop

DESKTOP = {"viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 390, "height": 780}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
SHOTS = os.environ.get("DIPTYCH_SCREENSHOTS")  # a folder for pictures of the pages, for people to look at
SHOWN = 2000 if SHOTS else 300  # milliseconds


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser without a window."""
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    """A function that opens an address in a browser of its own and notes what goes wrong or leaves the study."""
    contexts = []

    def open_at(url: str, **options: Any) -> Any:
        context = chromium.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.faults = []
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("console", lambda said: page.faults.append(said.text) if "Content Security" in said.text else None)
        page.on("dialog", lambda dialog: (page.faults.append("a script ran"), dialog.dismiss()))
        page.on("request", lambda sent: None if sent.url.startswith((url, "data:")) else page.faults.append(sent.url))
        page.set_default_timeout(20_000)
        page.goto(url)
        return page

    yield open_at
    for context in contexts:
        context.close()


def shot(page: Any, name: str) -> None:
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png")


def part(page: Any, key: str | None, name: str = "") -> None:
    """Answer the trial that is shown, by a key or by a button, and go on from its feedback."""
    page.wait_for_selector("#answers:not([hidden])")
    shot(page, f"{name}-question")
    assert page.evaluate("document.querySelectorAll('#stage img.on').length") == 0, "pictures are hidden when the question comes"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than the screen"
    if key:
        page.keyboard.press(key)
    else:
        page.locator("#answers button").first.click()
    page.wait_for_function("() => document.querySelector('#answers').hidden")


@pytest.mark.parametrize(("name", "options", "key"), [("desktop", DESKTOP, "ArrowRight"), ("phone", PHONE, None)])
@pytest.mark.parametrize("protocol", [Protocol(practice=1, trials=2, show_ms=SHOWN, same_input=True, inputs=True)])
def test_a_whole_participation(make, serve, folders, visit, name, options, key, protocol):
    served = serve(*make(protocol, inputs=folders["real"], size=(256, 256)))
    page = visit(served.url, **options)
    assert f"{SHOWN / 1000:g} second" in page.locator("#welcome").inner_text()
    assert page.locator("h1").inner_text() == "Real or fake?"
    shot(page, f"{name}-welcome")
    page.locator("#welcome button").click()
    one_and_the_input = "() => ['#stage', '#input'].every((place) => document.querySelectorAll(`${place} img.on`).length === 1)"
    page.wait_for_function(one_and_the_input)
    shot(page, f"{name}-picture")
    part(page, key, name)
    page.wait_for_selector("#verdict:not([hidden])")  # practice has feedback
    shot(page, f"{name}-feedback")
    assert page.locator("#question").inner_text() in ("Correct.", "Not correct.")
    page.locator("#next").click()
    page.wait_for_selector("#pause:not([hidden])")
    assert "practice is over" in page.locator("#pause-text").inner_text()
    page.locator("#pause-button").click()
    part(page, key)
    page.reload()  # goes on at the same trial
    page.wait_for_selector("#pause:not([hidden])")  # once the server has said where it stands
    assert "Welcome back" in page.locator("#pause-text").inner_text()
    page.locator("#pause-button").click()
    assert page.locator("#progress").inner_text() == "Trial 2 of 2"
    part(page, key)
    page.wait_for_selector("#done:not([hidden])")
    shot(page, f"{name}-done")
    (person,) = served.store.participants()
    assert page.locator("#withdraw").inner_text() == person.id and person.done
    assert [a.answer for a in person.answers] == ["right" if key else "left"] * 3
    for answer in person.answers:
        assert all(SHOWN - 100 < shown < SHOWN + 600 for shown in answer.shown_ms) and 5 < answer.frame_ms < 200
    page.context.clear_cookies()  # the browser still remembers that it took part
    page.reload()
    page.locator("#welcome button").click()
    page.wait_for_selector("#stage")
    page.wait_for_function("() => !document.querySelector('#trial').hidden")
    assert [p.again for p in served.store.participants()] == [False, True]
    assert page.faults == []


@pytest.mark.parametrize("trouble", ["full"], indirect=True)  # HTTP shows the page no difference to a read-only one
def test_an_answer_waits_for_a_disk_that_takes_it_and_survives_a_reload(trouble, make, serve, visit):
    served = serve(*make(Protocol(practice=0, trials=40, show_ms=60), folder=trouble.folder / "study"))
    page = visit(served.url)
    page.locator("#welcome button").click()
    page.wait_for_selector("#answers:not([hidden])")
    trouble.begin()
    waiting = "() => document.querySelector('#message').textContent.includes('Your answer is kept')"
    given = 0
    while True:  # the file of SQLite may still have room for some
        part(page, "ArrowLeft")
        page.wait_for_function(f"() => !document.querySelector('#answers').hidden || ({waiting})()")
        if page.evaluate(waiting):
            break
        given += 1
        assert given < 30
    shot(page, "waiting")
    page.reload()
    page.wait_for_function(waiting)
    stored = [a.answer for a in served.store.participants()[0].answers]
    assert stored == ["left"] * given  # all that was acknowledged, and no more
    trouble.end()
    page.locator("#pause-button").click()  # it was sent, and the next trial waits
    assert [a.answer for a in served.store.participants()[0].answers] == ["left"] * (given + 1)
    part(page, "ArrowRight")
    page.wait_for_selector("#answers:not([hidden])")
    assert [a.answer for a in served.store.participants()[0].answers][given:] == ["left", "right"] and page.faults == []


def test_two_tabs_answer_each_trial_once(make, serve, visit):
    served = serve(*make(Protocol(practice=0, trials=2, show_ms=50)))
    one = visit(served.url)
    one.locator("#welcome button").click()
    one.wait_for_selector("#answers:not([hidden])")
    two = one.context.new_page()
    two.goto(served.url)
    two.wait_for_selector("#answers:not([hidden])")
    part(one, "ArrowLeft")
    one.wait_for_selector("#answers:not([hidden])")  # at its second trial
    part(two, "ArrowRight")  # still at the first: refused, and goes on with the second
    for page in (one, two):
        if page.locator("#done").is_hidden():
            page.wait_for_selector("#answers:not([hidden]), #done:not([hidden])", state="attached")
            if page.locator("#answers").is_visible():
                part(page, "ArrowLeft")
    two.wait_for_selector("#done:not([hidden])")
    (person,) = served.store.participants()
    assert [a.answer for a in person.answers] == ["left"] * 2 and one.faults == []


def test_a_tab_whose_pictures_come_after_another_tab_answered_goes_on(make, serve, visit):
    served, arrived = serve(*make(Protocol(practice=0, trials=1, show_ms=50))), []
    one = visit(served.url)
    one.locator("#welcome button").click()
    one.wait_for_selector("#answers:not([hidden])")
    two = one.context.new_page()
    two.route("**/picture/**", lambda route: route.continue_() if arrived else route.abort())
    two.goto(served.url)
    two.wait_for_function("() => !document.querySelector('#message').hidden")  # it tries again and again
    part(one, "ArrowLeft")
    one.wait_for_selector("#done:not([hidden])")
    arrived.append(True)  # and is refused now
    two.wait_for_selector("#done:not([hidden])")


def test_an_erased_participant_is_not_thanked_but_comes_to_the_first_page(make, serve, visit):
    served = serve(*make(Protocol(practice=0, trials=2, show_ms=50)))
    page = visit(served.url)
    page.locator("#welcome button").click()
    page.wait_for_selector("#answers:not([hidden])")
    served.store.erase(served.store.participants()[0].id)
    part(page, "ArrowLeft")
    page.wait_for_selector("#welcome:not([hidden])")
    assert page.locator("#done").is_hidden() and served.store.participants() == []


PATTERNS = (
    *("<script>CODE<\u2215script>", "<img src=x onerror=CODE>", "'><svg onload=CODE>", '"><body onload=CODE>', "{{CODE}}"),
    *("javascript:CODE", "<iframe srcdoc='<script>CODE'>", "<a href=javascript:CODE>x", "${CODE}"),
    "-->]]><img src=x onerror=CODE>",
)
CODES = "alert(1)", "alert`1`", "top.alert(1)", "import('data:text\u2215javascript,alert(1)')", "setTimeout('alert(1)')"
PAYLOADS = [pattern.replace("CODE", code) for code in CODES for pattern in PATTERNS]


def test_names_that_are_code_run_no_script(folders, tmp_path, serve, visit):
    assert len(PAYLOADS) == 50
    folder = tmp_path / "names"
    for place, payload in enumerate(PAYLOADS):
        source = Image.open(folders["one"] / f"p{place % 12:02}.png").convert("RGB")
        source.putpixel((0, 0), (place, 1, 2))
        file = folder / f"{payload}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        source.save(file)
    title = "</title></script>" + "".join(PAYLOADS)
    method = PAYLOADS[1]
    texts = {"title": title, "consent": {"en": title}}
    protocol = Protocol(practice=0, trials=50, show_ms=1)
    made = new_study(tmp_path / "s", folders["real"], {method: folder}, protocol, **texts)
    served = serve(*made[:2])
    simulate(served.study, served.keys, served.store, served.url, 1, {method: 0.5}, workers=1)
    page = visit(served.url)
    assert page.title() == title and page.locator(".consent").inner_text() == title
    page.goto(f"{served.url}/owner")
    page.locator("#token").fill(served.token)
    page.locator("#login button").click()
    page.wait_for_selector("table.scores")
    shot(page, "payloads")
    body = page.locator("body").inner_text()
    assert method in body and sum(payload in body for payload in PAYLOADS) >= 12  # the most and the least fooling ones
    for element in ("script", "svg[onload]", "iframe", "[onerror]", "[onload]", "a[href^=javascript]"):
        assert page.locator(element).count() == 0, element
    page.goto(served.url)
    page.locator("#welcome button").click()
    part(page, "ArrowLeft")
    assert page.faults == []


@pytest.mark.parametrize(("options", "told"), [(PHONE, True), (DESKTOP, False)])
def test_a_window_that_shows_pictures_smaller_says_so_before_the_start(make, serve, visit, options, told):
    served = serve(*make(size=(256, 256)))
    page = visit(served.url, **options)
    page.wait_for_selector("#welcome:not([hidden])")
    assert page.locator("#message").is_visible() == told
    assert ("smaller than they are" in page.locator("#message").inner_text()) == told
    shot(page, f"small-{told}")


OTHERS = Protocol("single", practice=0, trials=1, show_ms=60), Protocol("compare", practice=1, trials=1, show_ms=60)


@pytest.mark.parametrize(("language", "protocol"), list(zip(("ko", "de"), OTHERS, strict=True)))
def test_other_protocols_and_languages(make, serve, visit, protocol, language):
    study, token = make(protocol)
    served = serve(study, token)
    page = visit(served.url, locale=language, **PHONE)
    shot(page, f"{language}-{protocol.kind}-welcome")
    page.locator("#welcome button").click()
    for number in range(protocol.length):
        part(page, None, f"{language}-{protocol.kind}")
        if number < protocol.practice:  # comparisons have no right answer, and practice no feedback
            page.locator("#pause-button").click()
    page.wait_for_selector("#done:not([hidden])")
    (person,) = served.store.participants()
    assert person.language == language and person.done and page.faults == []
