"""Drive the avatar's page in a real browser: what it speaks, hears and asks for, and how it is interrupted."""

from __future__ import annotations

import base64
import json
import random
import shutil
import wave
from collections.abc import Iterator
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from avatar_server import trained
from page_probe import PROBE, end, until, until_ready, until_says
from playwright.sync_api import Browser, Page, Playwright, Route, sync_playwright
from studio_server import serving

from models.checkpoints.assemble import ASSETS
from models.judge import face_reader as reading
from models.judge.lip_sync import SILENT_DBFS, bandpassed, correlations
from models.pocket.world.portrait.tts import SpeechSynthesisError, monologue

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
QUIET = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
QUIET += ["--disable-background-networking", "--disable-component-update", "--autoplay-policy=no-user-gesture-required"]
RATE = 16_000


def sound_file(path: Path, sound: np.ndarray, rate: int = RATE) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((32767 * np.clip(sound, -1, 1)).astype(np.int16).tobytes())
    return path


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the microphone hears, again and again: speech, or something that comes and goes as it does."""
    path = tmp_path_factory.mktemp("voice") / "voice.wav"
    try:
        return sound_file(path, monologue(20, random.Random(5)))
    except SpeechSynthesisError:
        t = np.arange(20 * RATE) / RATE
        return sound_file(path, np.sin(2 * np.pi * 180 * t) * np.clip(np.sin(2 * np.pi * 1.3 * t), 0, 1) * 0.4)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("page"), program="avatar_server.py") as (address, _):
        yield address


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def browser(playwright: Playwright, voice: Path) -> Iterator[Browser]:
    fake = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    fake += [f"--use-file-for-fake-audio-capture={voice}"]
    chromium = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=QUIET + fake)
    yield chromium
    chromium.close()


@pytest.fixture
def page(server: str, browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1100, "height": 1000})
    errors: list[str] = []
    page.on("pageerror", lambda e: errors.append(str(e)))
    opened(page, server)
    yield page
    end(page)
    assert errors == []


def opened(page: Page, server: str, query: str = "") -> None:
    """Open the avatar's page, watched by the probe."""
    page.add_init_script(PROBE)
    page.goto(f"{server}/avatar/{query}")
    until_ready(page)


def start(page: Page) -> None:
    page.click("[data-lt=start]")
    until(page, "document.querySelector('video').videoWidth > 0")
    until(page, "probe.peers.at(-1).connectionState == 'connected' && probe.ways.at(-1).readyState == 'open'")


def waits_for_level(page: Page, above: float, seconds: float = 10) -> None:
    """Wait until the avatar's own meter, which begins at -60 dBFS, shows that it is louder than `above` dBFS."""
    share = 100 * (above + 60) / 60
    meter = "document.querySelector('[data-lt=out]').style.getPropertyValue('--level')"
    until(page, f"Number({meter}) > {share}", seconds)


def test_a_face_is_chosen_and_its_voice_is_heard_and_interrupted(page: Page, voice: Path) -> None:
    page.click("[data-lt=faces] button[title=elin]")
    start(page)
    assert page.inner_text("[data-lt=state]") == "idle"
    page.set_input_files("[data-lt=sound]", voice)
    until_says(page, "note", "voice.wav: 20 s")
    until_says(page, "state", "speaking")
    waits_for_level(page, -40)
    page.evaluate("""() => { window.silences = []; addEventListener('keydown', () => {
        const began = performance.now(), video = document.querySelector('video');
        let last = 0;
        const look = () => {
          if (!video.muted && probe.level() > -50) last = performance.now() - began;
          if (performance.now() - began < 2500) setTimeout(look, 5); else window.silences.push(last);
        };
        setTimeout(look);
    }); }""")
    page.keyboard.press("Escape")
    page.wait_for_function("window.silences.length == 1", timeout=10_000)
    until_says(page, "state", "idle")
    silence = page.evaluate("silences[0]")
    print(f"\nEsc to silence in the browser: {silence:.0f} ms")
    assert silence <= 100
    assert not page.evaluate("document.querySelector('video').muted")  # it may speak again
    page.set_input_files("[data-lt=sound]", voice)
    waits_for_level(page, -40)
    assert page.evaluate("probe.asked.length") == 0


def test_a_file_that_is_no_sound_and_a_picture_that_is_none_are_said_plainly(page: Page, tmp_path: Path) -> None:
    (tmp_path / "odd.wav").write_bytes(b"no sound")
    (tmp_path / "odd.png").write_bytes(b"no picture")
    start(page)
    page.set_input_files("[data-lt=sound]", tmp_path / "odd.wav")
    until_says(page, "note", "not a sound file")
    page.set_input_files("[data-lt=portrait]", tmp_path / "odd.png")
    until_says(page, "note", "not a picture")


def test_a_designed_face_and_a_portrait_begin_a_session(page: Page, tmp_path: Path) -> None:
    page.click("summary")
    page.select_option("[data-lt=designer] select[name=hair]", "bob")
    page.wait_for_function("document.querySelector('[title=\"your design\"] img').naturalWidth == 128")
    start(page)
    page.click("[data-lt=start]")
    picture = np.random.default_rng(0).integers(0, 255, (300, 500, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "me.png"), picture)
    page.set_input_files("[data-lt=portrait]", tmp_path / "me.png")
    page.wait_for_selector("[data-lt=faces] [title='me.png'][aria-checked=true]")
    start(page)


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs espeak-ng: apt-get install espeak-ng")
def test_a_text_is_said(page: Page) -> None:
    start(page)
    page.fill("[data-lt=text]", "Good evening. I am drawn as I speak.")
    page.press("[data-lt=text]", "Enter")
    waits_for_level(page, -40)


def test_a_microphone_is_asked_for_when_its_button_is_pressed_and_speaks(page: Page) -> None:
    start(page)
    assert page.evaluate("probe.asked.length") == 0
    page.click("[data-lt=microphone]")
    until_says(page, "state", "speaking")
    (asked,) = page.evaluate("probe.asked")
    assert asked["audio"]["echoCancellation"] is True
    assert "video" not in asked
    waits_for_level(page, -45, 20)
    # as when it is unplugged
    page.evaluate("probe.streams.at(-1).getAudioTracks()[0].dispatchEvent(new Event('ended'))")
    until_says(page, "note", "the microphone is gone")
    until_says(page, "state", "idle")
    frames = page.evaluate("document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames")
    page.wait_for_timeout(1500)
    assert page.evaluate("document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames") > frames + 15
    page.click("[data-lt=microphone]")
    until_says(page, "state", "speaking")


HESITATES = """() => {
  window.captures = [];
  navigator.mediaDevices.getUserMedia = async (what) => {
    probe.asked.push(what);
    await new Promise((answered) => { window.answer = answered; });
    const { stream } = new AudioContext().createMediaStreamDestination();
    window.captures.push(...stream.getTracks());
    return stream;
  };
}"""


def test_a_microphone_whose_button_is_pressed_again_while_the_browser_asks_is_captured_once(page: Page) -> None:
    start(page)
    page.evaluate(HESITATES)
    page.click("[data-lt=microphone]")
    page.click("[data-lt=microphone]")
    page.evaluate("answer()")
    page.wait_for_function("document.querySelector('[data-lt=microphone]').classList.contains('on')")
    assert page.evaluate("probe.asked.length") == 1
    page.click("[data-lt=microphone]")
    page.wait_for_function("captures.every((track) => track.readyState == 'ended')")
    page.click("[data-lt=microphone]")  # it may be asked for again
    page.wait_for_function("probe.asked.length == 2")
    page.click("[data-lt=start]")  # and what is allowed too late is not captured
    page.evaluate("answer()")
    page.wait_for_function("captures.length == 2 && captures.every((track) => track.readyState == 'ended')")


def test_what_is_typed_while_a_text_is_on_its_way_stays_and_nothing_is_said_twice(page: Page) -> None:
    said: list[str] = []
    waiting: list[Route] = []

    def slowly(route: Route) -> None:
        said.append(json.loads(route.request.post_data or "{}")["text"])
        waiting.append(route)

    start(page)
    page.route("**/say", slowly)
    controls = "document.querySelectorAll('[data-lt=text], [data-lt=say]')"
    page.evaluate(f"for (const control of {controls}) control.disabled = false")  # as where espeak-ng is
    page.fill("[data-lt=text]", "One.")
    page.press("[data-lt=text]", "Enter")
    page.press("[data-lt=text]", "Enter")  # twice, as by an impatient hand
    page.fill("[data-lt=text]", "Two, unfinished")
    waiting.pop().fulfill(status=202, body="{}")
    page.wait_for_timeout(200)
    assert page.input_value("[data-lt=text]") == "Two, unfinished"
    assert said == ["One."]
    page.press("[data-lt=text]", "Enter")
    assert page.input_value("[data-lt=text]") == ""
    page.wait_for_timeout(100)
    waiting.pop().fulfill(status=400, json={"error": "not today"})
    until(
        page, "document.querySelector('[data-lt=text]').value == 'Two, unfinished'"
    )  # it was not said: it is not lost
    held = "new KeyboardEvent('keydown', { key: 'Enter', repeat: true })"
    page.evaluate(f"document.querySelector('[data-lt=text]').dispatchEvent({held})")
    page.wait_for_timeout(100)
    assert said == ["One.", "Two, unfinished"]


INTERRUPTIONS = "probe.events.filter((e) => e.type == 'interrupted').length"
HELD = """(key) => { for (let i = 0; i < 30; i++)
  document.body.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, repeat: i > 0 })); }"""


def test_a_key_that_is_held_down_interrupts_once(page: Page) -> None:
    start(page)
    for key in ("Escape", "i"):
        before = page.evaluate(INTERRUPTIONS)
        page.evaluate(HELD, key)
        page.wait_for_timeout(500)
        assert page.evaluate(INTERRUPTIONS) == before + 1


def test_an_avatar_that_listens_is_interrupted_by_a_voice(page: Page, tmp_path: Path) -> None:
    t = np.arange(30 * RATE) / RATE
    long = sound_file(tmp_path / "long.wav", 0.05 * np.sin(2 * np.pi * 300 * t))
    start(page)
    page.check("input[value=listen]")
    page.set_input_files("[data-lt=sound]", long)
    waits_for_level(page, -45)
    page.click("[data-lt=microphone]")
    until_says(page, "note", "interrupted: somebody speaks")
    until(page, "probe.latest('status').to_say_s === 0")


def test_a_share_link_hears_and_is_asked_for_nothing(page: Page, browser: Browser, server: str, voice: Path) -> None:
    start(page)
    viewer = browser.new_page()
    viewer.add_init_script(PROBE)
    viewer.goto(page.evaluate("document.querySelector('[data-lt=share]').href"))
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


def test_a_reloaded_page_goes_on_with_its_avatar(page: Page) -> None:
    start(page)
    link = page.get_attribute("[data-lt=share]", "href")
    page.reload()
    until(page, "document.querySelector('video')?.videoWidth > 0")
    assert page.get_attribute("[data-lt=share]", "href") == link


UNTOUCHED = """
const play = HTMLMediaElement.prototype.play;
HTMLMediaElement.prototype.play = function () {
  return this.muted ? play.call(this) : Promise.reject(new DOMException("not yet", "NotAllowedError"));
};
"""


def test_where_nothing_may_be_heard_yet_the_avatar_is_seen_and_says_so(server: str, browser: Browser) -> None:
    page = browser.new_page()
    page.add_init_script(UNTOUCHED)  # as on a restored page that nobody has touched
    opened(page, server)
    start(page)
    until_says(page, "note", "click the picture to hear it")
    page.wait_for_function("document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames > 20")
    assert page.evaluate("document.querySelector('video').muted")
    end(page)


FOLLOW = """(seconds) => new Promise(done => {
  const v = document.querySelector('video'), c = document.createElement('canvas'), out = [];
  c.width = c.height = 128;
  const began = performance.now();
  const take = (now, frame) => {
    c.getContext('2d').drawImage(v, 0, 0, 128, 128);
    out.push([frame.expectedDisplayTime - began, c.toDataURL('image/png').split(',')[1]]);
    if (performance.now() - began < 1000 * seconds) v.requestVideoFrameCallback(take);
  };
  const sounds = [];
  const hear = setInterval(() => sounds.push([performance.now() - began, probe.level()]), 10);
  v.requestVideoFrameCallback(take);
  setTimeout(() => { clearInterval(hear); done([out, sounds]); }, 1000 * seconds + 200);
})"""


def followed(page: Page, seconds: int) -> tuple[float, int]:
    """Measure how well the mouth on the page follows the sound that it plays: correlation, lag in ms."""
    pictures, sounds = page.evaluate(FOLLOW, seconds)
    frames = np.stack([cv2.imdecode(np.frombuffer(base64.b64decode(p), np.uint8), 1)[..., ::-1] for _, p in pictures])
    mouth = reading.load(ASSETS / "judge" / "face.safetensors").pose(frames)["mouth"]
    at = np.arange(1000, 1000 * seconds - 500, 40)
    opened = np.interp(at, [t for t, _ in pictures], mouth)
    # an analyser looks back over 43 ms: what it says belongs to the middle of that; the floor is the sync meter's
    levels = np.array([level for _, level in sounds]) * np.log(10) / 20
    loud = np.interp(at, [t - 21 for t, _ in sounds], np.logaddexp(levels, np.log(10) * SILENT_DBFS / 20))
    r = correlations(bandpassed(opened), bandpassed(loud), 15)
    return float(r.max()), 40 * (int(r.argmax()) - 15)


@pytest.mark.long
@pytest.mark.skipif(not trained(), reason="assets/pocket-avatar has no weights: a random mouth follows nothing")
def test_the_mouth_that_is_received_follows_the_sound_that_is_received(page: Page) -> None:
    """Once the browser has set its two playout delays right, which takes it ten seconds and more on a busy machine."""
    start(page)
    page.click("[data-lt=microphone]")
    waits_for_level(page, -40, 20)
    page.wait_for_timeout(15_000)
    found = [followed(page, 12) for _ in range(3)]
    said = ", ".join(f"{r:.2f} at {lag:+d} ms" for r, lag in found)
    print(f"\nmouth and sound in the browser, three times 12 s: correlation {said} (positive: picture late)")
    r, lag = (float(np.median(of)) for of in zip(*found, strict=True))
    assert r > 0.4
    assert -125 <= lag <= 125


TOGETHER = """(seconds) => new Promise(done => {
  const v = document.querySelector('video'), c = document.createElement('canvas'), seen = [], heard = [];
  c.width = c.height = 4;
  const canvas = c.getContext('2d', {willReadFrequently: true}), context = new AudioContext();
  const analyser = context.createAnalyser(), samples = new Float32Array(512);
  analyser.fftSize = 512;
  context.createMediaStreamSource(v.srcObject).connect(analyser);
  const hear = setInterval(() => {
    analyser.getFloatTimeDomainData(samples);
    heard.push([performance.now(), Math.max(...samples)]);
  }, 5);
  const see = now => {
    canvas.drawImage(v, 0, 0, 4, 4);
    seen.push([now, canvas.getImageData(1, 1, 1, 1).data[0]]);
    v.requestVideoFrameCallback(see);
  };
  v.requestVideoFrameCallback(see);
  setTimeout(() => { clearInterval(hear); context.close(); done([seen, heard]); }, 1000 * seconds);
})"""


def test_a_flash_and_its_beep_arrive_together(browser: Browser, tmp_path: Path) -> None:
    """ITU-R BT.1359: off is seen where the sound is more than 45 ms early or 125 ms late."""
    t = np.arange(30 * RATE) / RATE
    beeps = sound_file(tmp_path / "beeps.wav", 0.5 * np.sin(2 * np.pi * 400 * t) * (t % 1 < 0.2))
    with serving(tmp_path, program="flashing_server.py") as (address, _):
        page = browser.new_page()
        opened(page, address)
        start(page)
        page.set_input_files("[data-lt=sound]", beeps)
        waits_for_level(page, -40)
        page.wait_for_timeout(4000)  # a browser aligns the two by and by
        seen, heard = (np.array(x) for x in page.evaluate(TOGETHER, 10))
        end(page)

    def begins(series: np.ndarray, above: float) -> np.ndarray:
        on = series[:, 1] > above
        return series[1:][on[1:] & ~on[:-1], 0]

    beep = begins(heard, 0.1)
    late = np.array([(beep - flash)[np.abs(beep - flash).argmin()] for flash in begins(seen, 128)])
    spread = f"median {np.median(late):+.0f} ms, {late.min():+.0f} to {late.max():+.0f}"
    print(f"\nsound after its picture, {len(late)} flashes: {spread}")
    assert len(late) >= 7
    assert -45 <= np.median(late) <= 125


def test_nothing_is_fetched_from_elsewhere(server: str, browser: Browser) -> None:
    page, hosts = browser.new_page(), set()
    page.on("request", lambda r: hosts.add(httpx.URL(r.url).host) if r.url.startswith("http") else None)
    opened(page, server)
    page.close()
    assert hosts == {"127.0.0.1"}


def test_the_avatar_page_without_espeak_says_so(server: str, browser: Browser) -> None:
    page = browser.new_page()
    faces = json.dumps({"gallery": ["ada"], "attributes": {}, "speaks_text": False})
    page.route("**/api/faces", lambda route: route.fulfill(body=faces, content_type="application/json"))
    opened(page, server)
    assert "espeak-ng" in page.get_attribute("[data-lt=text]", "placeholder")
    assert page.is_disabled("[data-lt=text]")
    page.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)])
def test_the_page_fits_its_window(
    browser: Browser, server: str, voice: Path, tmp_path: Path, scheme: str, width: int
) -> None:
    """Its pictures lie in the folder that `--basetemp` names."""
    page = browser.new_page(viewport={"width": width, "height": 860})
    opened(page, server, f"?__theme={scheme}")
    start(page)
    page.set_input_files("[data-lt=sound]", voice)
    waits_for_level(page, -40)
    page.click("[data-lt=microphone]")
    page.wait_for_timeout(2500)
    page.screenshot(path=str(tmp_path / f"avatar-{scheme}-{width}.png"))
    for name in ("video", "state", "start", "status", "interrupt"):
        box = page.locator(f"[data-lt={name}]").bounding_box()
        assert box is not None
        assert box["x"] > 0
        assert box["x"] + box["width"] < width
        if width > 600:
            assert box["y"] + box["height"] <= 860
    page.click("summary")
    page.screenshot(path=str(tmp_path / f"avatar-{scheme}-{width}-whole.png"), full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    end(page)


def test_without_udp_it_is_heard_over_a_socket(playwright: Playwright, server: str, voice: Path) -> None:
    blocked = [*QUIET, "--webrtc-ip-handling-policy=disable_non_proxied_udp"]
    chromium = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=blocked)
    page = chromium.new_page()
    opened(page, server)
    page.click("[data-lt=start]")
    until(page, "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames > 8")
    until_says(page, "status", "WebSocket")
    page.wait_for_function("document.querySelector('video').webkitAudioDecodedByteCount > 0", timeout=10_000)
    assert page.is_disabled("[data-lt=microphone]")
    assert "takes no microphone" in page.inner_text("[data-lt=note]")
    assert not page.evaluate("document.querySelector('video').muted")
    page.set_input_files("[data-lt=sound]", voice)
    # the level meter taps what the element plays, as a person would hear it: of a muted one that is nothing
    waits_for_level(page, -40, 20)
    page.wait_for_function("Number(document.querySelector('[data-lt=out]').style.getPropertyValue('--level')) > 20")
    page.keyboard.press("Escape")
    until_says(page, "state", "idle")
    page.wait_for_function("!document.querySelector('video').muted")  # it may speak again
    page.set_input_files("[data-lt=sound]", voice)
    waits_for_level(page, -40, 20)
    end(page)
    chromium.close()
