"""Drive both pages in a browser whose UDP is blocked: they play over a WebSocket."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import avatar_browser
import pytest
import studio_browser
from avatar_browser import speech_file, until_louder
from browser_page import AUDIBLE, WITHOUT_UDP, chromium, needs_chromium
from page_probe import end, until, until_says, until_seen
from playwright.sync_api import Browser
from studio_browser import say, shows
from studio_server import serving

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("page"), program="avatar_server.py") as (address, _):
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(AUDIBLE, WITHOUT_UDP) as browser:
        yield browser


def test_the_studio_changes_to_a_socket_and_plays_within_eight_seconds(server: str, browser: Browser) -> None:
    page = studio_browser.opened(browser, server)
    began = time.monotonic()
    page.fill("[data-lt=prompt]", "a large red ball bounces over the meadow by day")
    page.click("[data-lt=start]")
    until(page, "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames > 8")
    took = time.monotonic() - began
    print(f"\nwithout UDP: playing after {took:.1f} s")
    assert took < 8
    until_says(page, "figures", "WebSocket")
    say(page, "a large blue ball bounces in the city at night")
    until_seen(page)
    shows(page, "city", "night")
    end(page)


def test_an_avatar_is_heard_over_a_socket_and_can_be_interrupted(server: str, browser: Browser, tmp_path: Path) -> None:
    page, voice = browser.new_page(), speech_file(tmp_path / "voice.wav")
    avatar_browser.opened(page, server)
    page.click("[data-lt=start]")
    until(page, "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames > 8")
    until_says(page, "status", "WebSocket")
    page.wait_for_function("document.querySelector('video').webkitAudioDecodedByteCount > 0", timeout=10_000)
    assert page.is_disabled("[data-lt=microphone]")
    assert "no microphone can be used" in page.inner_text("[data-lt=note]")
    assert not page.evaluate("document.querySelector('video').muted")
    page.set_input_files("[data-lt=sound]", voice)
    # over a socket the page's meter measures what the element plays: a muted element gives nothing
    until_louder(page, -40, 20)
    page.wait_for_function("Number(document.querySelector('[data-lt=out]').style.getPropertyValue('--level')) > 20")
    page.keyboard.press("Escape")
    until_says(page, "state", "idle")
    page.wait_for_function("!document.querySelector('video').muted")  # it can be heard again
    page.set_input_files("[data-lt=sound]", voice)
    until_louder(page, -40, 20)
    end(page)
