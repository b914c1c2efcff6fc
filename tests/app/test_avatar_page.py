"""Drive the page of an avatar in a real browser: faces, portraits, texts, sound files and share links."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from avatar_browser import avatar_page, fake_microphone, opened, speech_file, start, until_louder
from browser_page import AUDIBLE, chromium, needs_chromium
from page_probe import PROBE, end, shared_link, until, until_says
from playwright.sync_api import Browser, Page, Route
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


# sets window.lastHeard to the ms from a key to the last speech, a second after the page has unmuted the video;
# the codec leaves a click of about -49 dBFS where a sound stops, which is no speech
LISTEN_AFTER_KEY = """() => addEventListener('keydown', () => {
  const pressed = performance.now(), video = document.querySelector('video');
  let last = 0, unmuted = null;
  const timer = setInterval(() => {
    const now = performance.now();
    if (video.muted) return;
    unmuted ??= now;
    if (probe.level() > -40) last = now - pressed;
    if (now - unmuted < 1000) return;
    clearInterval(timer);
    window.lastHeard = last;
  }, 5);
}, { once: true })"""


def test_a_chosen_face_is_heard_and_esc_silences_it_within_100_ms(page: Page, voice: Path) -> None:
    page.click("[data-lt=faces] button[title=elin]")
    start(page)
    assert page.text_content("[data-lt=state]") == "idle"
    page.set_input_files("[data-lt=sound]", voice)
    until_says(page, "note", "voice.wav: 20 s")
    until_says(page, "state", "speaking")
    until_louder(page, -40)
    page.evaluate(LISTEN_AFTER_KEY)
    page.keyboard.press("Escape")
    page.wait_for_function("window.lastHeard !== undefined", timeout=30_000)
    until_says(page, "state", "idle")
    print(f"\nEsc to silence in the browser: {page.evaluate('lastHeard'):.0f} ms")
    assert page.evaluate("lastHeard") <= 100
    page.set_input_files("[data-lt=sound]", voice)
    until_louder(page, -40)
    assert page.evaluate("probe.asked.length") == 0


def test_a_file_that_is_no_sound_or_no_picture_is_reported(page: Page, tmp_path: Path) -> None:
    (tmp_path / "odd.wav").write_bytes(b"no sound")
    (tmp_path / "odd.png").write_bytes(b"no picture")
    start(page)
    page.set_input_files("[data-lt=sound]", tmp_path / "odd.wav")
    until_says(page, "note", "not a sound file")
    page.set_input_files("[data-lt=portrait]", tmp_path / "odd.png")
    until_says(page, "note", "not a picture")


def test_a_designed_face_and_a_portrait_begin_a_session(page: Page, tmp_path: Path) -> None:
    page.select_option("[data-lt=designer] select[name=hair]", "bob")
    page.wait_for_function("document.querySelector('[title=\"your design\"] img').naturalWidth == 128")
    start(page)
    page.click("[data-lt=end]")
    picture = np.random.default_rng(0).integers(0, 255, (300, 500, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "me.png"), picture)
    page.set_input_files("[data-lt=portrait]", tmp_path / "me.png")
    page.wait_for_selector("[data-lt=faces] [title='me.png'][aria-checked=true]")
    start(page)


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs espeak-ng: apt-get install espeak-ng")
def test_a_typed_text_is_spoken(page: Page) -> None:
    start(page)
    page.fill("[data-lt=text]", "Good evening. I am drawn as I speak.")
    page.press("[data-lt=text]", "Enter")
    until_louder(page, -40)


def test_text_typed_during_a_request_is_kept_and_no_text_is_sent_twice(page: Page) -> None:
    said: list[str] = []
    waiting: list[Route] = []

    def slowly(route: Route) -> None:
        said.append(json.loads(route.request.post_data or "{}")["text"])
        waiting.append(route)

    start(page)
    page.route("**/say", slowly)
    controls = "document.querySelectorAll('[data-lt=text], [data-lt=say]')"
    page.evaluate(f"for (const control of {controls}) control.disabled = false")  # as where espeak-ng is installed
    page.fill("[data-lt=text]", "One.")
    with page.expect_request("**/say"):
        page.press("[data-lt=text]", "Enter")
    page.press("[data-lt=text]", "Enter")  # an impatient second Enter
    page.fill("[data-lt=text]", "Two, unfinished")
    with page.expect_response("**/say"):
        waiting.pop().fulfill(status=202, body="{}")
    with page.expect_request("**/say"):
        page.press("[data-lt=text]", "Enter")
    assert page.input_value("[data-lt=text]") == ""
    waiting.pop().fulfill(status=400, json={"error": "not today"})
    until(page, "document.querySelector('[data-lt=text]').value == 'Two, unfinished'")  # a refused text is not lost
    held = "new KeyboardEvent('keydown', { key: 'Enter', repeat: true })"
    page.evaluate(f"document.querySelector('[data-lt=text]').dispatchEvent({held})")
    with page.expect_request("**/say"):
        page.press("[data-lt=text]", "Enter")
    assert said == ["One.", "Two, unfinished", "Two, unfinished"]
    waiting.pop().fulfill(status=202, body="{}")


def test_a_share_link_plays_the_sound_and_asks_for_no_microphone(
    page: Page, browser: Browser, server: str, voice: Path
) -> None:
    start(page)
    viewer = browser.new_page()
    viewer.add_init_script(PROBE)
    viewer.goto(shared_link(page))
    until(viewer, "document.querySelector('video').videoWidth > 0")
    page.set_input_files("[data-lt=sound]", voice)
    until(
        viewer,
        """async () => { for (const s of (await probe.peers.at(-1).getStats()).values())
             if (s.type == 'inbound-rtp' && s.kind == 'audio' && s.totalAudioEnergy > 0.01) return true; }""",
    )
    until_says(viewer, "status", "click the picture")
    viewer.click("video")
    assert not viewer.evaluate("document.querySelector('video').muted")
    assert viewer.evaluate("probe.asked.length") == 0
    assert viewer.evaluate("probe.peers.at(-1).getTransceivers().every(({ direction }) => direction == 'recvonly')")
    viewer.close()


POLICY = """async () => {
  const { id } = JSON.parse(sessionStorage.getItem("longtake.avatar"));
  return (await (await fetch(`../api/sessions/${id}`)).json()).barge_in == "POLICY";
}"""


def test_what_a_voice_does_to_the_avatar_is_chosen_and_the_log_says_how_much_was_heard(page: Page, voice: Path) -> None:
    start(page)
    page.select_option("[data-lt=bargein]", "ignore")
    until(page, POLICY.replace("POLICY", "ignore"))
    page.reload()
    until(page, "document.querySelector('[data-lt=bargein]')?.value == 'ignore'")
    page.set_input_files("[data-lt=sound]", voice)
    until_louder(page, -40)
    page.keyboard.press("Escape")
    until_says(page, "log", "interrupted after")


def test_a_reloaded_page_continues_its_session(page: Page) -> None:
    start(page)
    take = page.get_attribute("[data-lt=take]", "href")
    page.reload()
    until(page, "document.querySelector('video')?.videoWidth > 0")
    assert page.get_attribute("[data-lt=take]", "href") == take


SOUND_FORBIDDEN = """
const play = HTMLMediaElement.prototype.play;
HTMLMediaElement.prototype.play = function () {
  return this.muted ? play.call(this) : Promise.reject(new DOMException("not yet", "NotAllowedError"));
};
"""


def test_where_the_browser_forbids_sound_the_avatar_plays_muted_and_the_page_asks_for_a_click(
    server: str, browser: Browser
) -> None:
    page = browser.new_page()
    page.add_init_script(SOUND_FORBIDDEN)  # as on a restored page before the first click
    opened(page, server)
    start(page)
    until_says(page, "note", "click the picture to hear it")
    page.wait_for_function("document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames > 20")
    assert page.evaluate("document.querySelector('video').muted")
    end(page)


def test_without_espeak_the_text_field_is_disabled_and_says_why(server: str, browser: Browser) -> None:
    page = browser.new_page()
    faces = json.dumps({"gallery": ["ada"], "attributes": {}, "speaks_text": False})
    page.route("**/api/faces", lambda route: route.fulfill(body=faces, content_type="application/json"))
    opened(page, server)
    assert "espeak-ng" in page.get_attribute("[data-lt=text]", "placeholder")
    assert page.is_disabled("[data-lt=text]")
    page.close()
