"""An interrupted avatar is muted in the browser until the sound that was interrupted can no longer be heard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser_page import chromium, needs_chromium
from playwright.sync_api import Browser, Page

from app.page_folder import PAGE

pytestmark = needs_chromium
MOUNT = """async () => {
  const { Silence } = await import("/silence.js");
  window.video = { muted: false };
  window.frames = { newestAt: performance.now(), whenShown(frame, fps, done) { this.presented = done; } };
  window.level = { dBFS: -20, now() { return this.dBFS; } };
  window.silence = new Silence(video, frames, level);
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Give a page with a silence over a video, its frames and a level that a test sets; time stands still."""
    page = browser.new_page()
    page.clock.install(time=0)
    page.route("http://page.test/", lambda route: route.fulfill(content_type="text/html", body="<html></html>"))
    page.route("http://page.test/*.js", lambda route: route.fulfill(path=PAGE / Path(route.request.url).name))
    page.goto("http://page.test/")
    page.clock.pause_at(1000)
    page.evaluate(MOUNT)
    yield page
    page.close()


def passes(page: Page, milliseconds: int, *, frames: bool = True, dbfs: int) -> bool:
    """Let time pass at a level of sound, with or without new frames; return whether the video is muted then."""
    page.evaluate(f"level.dBFS = {dbfs}")
    for _ in range(0, milliseconds, 100):
        if frames:
            page.evaluate("frames.newestAt = performance.now()")
        page.clock.run_for(100)
    return bool(page.evaluate("video.muted"))


def test_it_stays_muted_for_as_long_as_the_server_does_not_answer(page: Page) -> None:
    page.evaluate("silence.begin()")
    assert passes(page, 5000, dbfs=-60)


def test_it_stays_muted_until_the_first_silent_frame_is_presented_however_long_that_takes(page: Page) -> None:
    page.evaluate("{ silence.begin(); silence.arrives(10, 25); }")
    assert passes(page, 5000, dbfs=-20)
    assert passes(page, 5000, dbfs=-60)
    page.evaluate("frames.presented()")
    assert not passes(page, 100, dbfs=-60)


def test_sound_that_lags_behind_the_picture_and_pauses_between_words_stays_muted(page: Page) -> None:
    page.evaluate("{ silence.begin(); silence.arrives(10, 25); frames.presented(); }")
    assert passes(page, 200, dbfs=-20)
    assert passes(page, 200, dbfs=-60)
    assert passes(page, 200, dbfs=-20)
    assert not passes(page, 400, dbfs=-60)


def test_new_speech_is_heard_even_if_it_follows_without_a_pause(page: Page) -> None:
    page.evaluate("{ silence.begin(); silence.arrives(10, 25); frames.presented(); }")
    assert passes(page, 1400, dbfs=-20)
    assert not passes(page, 300, dbfs=-20)


def test_a_picture_that_stands_still_does_not_keep_it_muted(page: Page) -> None:
    page.evaluate("{ silence.begin(); silence.arrives(10, 25); }")
    assert passes(page, 1400, frames=False, dbfs=-60)
    assert not passes(page, 300, frames=False, dbfs=-60)


def test_a_second_interruption_waits_for_its_own_frame(page: Page) -> None:
    page.evaluate("{ silence.begin(); silence.arrives(10, 25); window.first = frames.presented; }")
    page.evaluate("{ silence.begin(); silence.arrives(20, 25); first(); }")
    assert passes(page, 1000, dbfs=-60)
    page.evaluate("frames.presented()")
    assert not passes(page, 100, dbfs=-60)


def test_it_ends_at_once_when_nothing_was_interrupted(page: Page) -> None:
    page.evaluate("{ silence.begin(); silence.end(); silence.arrives(10, 25); }")
    assert not passes(page, 100, dbfs=-20)
