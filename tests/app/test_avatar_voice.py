"""Drive the page of an avatar in a real browser: its microphone and its interruptions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from avatar_browser import RATE, avatar_page, fake_microphone, sound_file, speech_file, start, until_louder
from browser_page import AUDIBLE, chromium, needs_chromium
from page_probe import until, until_says
from playwright.sync_api import Browser, Page
from studio_server import serving

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speech_file(tmp_path_factory.mktemp("voice") / "voice.wav")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("page"), program="avatar_server.py") as (address, _):
        yield address


@pytest.fixture(scope="module")
def browser(voice: Path) -> Iterator[Browser]:
    with chromium(AUDIBLE, *fake_microphone(voice)) as browser:
        yield browser


@pytest.fixture
def page(server: str, browser: Browser) -> Iterator[Page]:
    with avatar_page(browser, server) as page:
        yield page


def test_the_microphone_button_asks_for_permission_and_the_avatar_speaks_its_sound(page: Page) -> None:
    start(page)
    assert page.evaluate("probe.asked.length") == 0
    page.click("[data-lt=microphone]")
    until_says(page, "state", "speaking")
    (asked,) = page.evaluate("probe.asked")
    assert asked["audio"]["echoCancellation"] is True
    assert "video" not in asked
    until_louder(page, -45, 20)
    # what a browser reports when a microphone is unplugged
    page.evaluate("probe.streams.at(-1).getAudioTracks()[0].dispatchEvent(new Event('ended'))")
    until_says(page, "note", "the microphone is gone")
    until_says(page, "state", "idle")
    frames = page.evaluate("document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames")
    page.wait_for_timeout(1500)
    assert page.evaluate("document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames") > frames + 15
    page.click("[data-lt=microphone]")
    until_says(page, "state", "speaking")


SLOW_PERMISSION = """() => {
  window.captures = [];
  navigator.mediaDevices.getUserMedia = async (what) => {
    probe.asked.push(what);
    await new Promise((answered) => { window.answer = answered; });
    const { stream } = new AudioContext().createMediaStreamDestination();
    window.captures.push(...stream.getTracks());
    return stream;
  };
}"""


def test_a_second_click_during_the_permission_question_opens_no_second_capture(page: Page) -> None:
    start(page)
    page.evaluate(SLOW_PERMISSION)
    page.click("[data-lt=microphone]")
    page.click("[data-lt=microphone]")
    page.evaluate("answer()")
    page.wait_for_function("document.querySelector('[data-lt=microphone]').classList.contains('on')")
    assert page.evaluate("probe.asked.length") == 1
    page.click("[data-lt=microphone]")
    page.wait_for_function("captures.every((track) => track.readyState == 'ended')")
    page.click("[data-lt=microphone]")  # a new question is allowed
    page.wait_for_function("probe.asked.length == 2")
    page.click("[data-lt=end]")  # permission that comes after the end is not used
    page.evaluate("answer()")
    page.wait_for_function("captures.length == 2 && captures.every((track) => track.readyState == 'ended')")


INTERRUPTIONS = "probe.events.filter((e) => e.type == 'interrupted').length"
HELD_KEY = """(key) => { for (let i = 0; i < 30; i++)
  document.body.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, repeat: i > 0 })); }"""


def test_an_interrupt_key_that_is_held_down_interrupts_once(page: Page) -> None:
    start(page)
    for key in ("Escape", "i"):
        before = page.evaluate(INTERRUPTIONS)
        page.evaluate(HELD_KEY, key)
        page.wait_for_timeout(500)
        assert page.evaluate(INTERRUPTIONS) == before + 1


def test_a_voice_interrupts_an_avatar_that_listens(page: Page, tmp_path: Path) -> None:
    t = np.arange(30 * RATE) / RATE
    long = sound_file(tmp_path / "long.wav", 0.05 * np.sin(2 * np.pi * 300 * t))
    start(page)
    page.check("input[value=listen]")
    page.set_input_files("[data-lt=sound]", long)
    until_louder(page, -45)
    page.click("[data-lt=microphone]")
    until_says(page, "note", "interrupted: somebody speaks")
    until(page, "probe.latest('status').to_say_s === 0")
