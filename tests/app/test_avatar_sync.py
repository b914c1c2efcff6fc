"""Measure in a real browser how well the picture of an avatar keeps to its sound."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from avatar_browser import (
    RATE,
    avatar_page,
    fake_microphone,
    opened,
    sound_file,
    speech_file,
    start,
    until_louder,
)
from avatar_server import trained
from browser_page import AUDIBLE, chromium, needs_chromium
from page_probe import end
from playwright.sync_api import Browser, Page
from studio_server import serving

from models.checkpoints.assemble import ASSETS
from models.judge import face_reader as reading
from models.judge.lip_sync import SILENT_DBFS, bandpassed, correlations

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
    """Measure how well the mouth on the page follows the sound that the page plays; return correlation, lag in ms."""
    pictures, sounds = page.evaluate(FOLLOW, seconds)
    frames = np.stack([cv2.imdecode(np.frombuffer(base64.b64decode(p), np.uint8), 1)[..., ::-1] for _, p in pictures])
    mouth = reading.load(ASSETS / "judge" / "face.safetensors").pose(frames)["mouth"]
    at = np.arange(1000, 1000 * seconds - 500, 40)
    opened = np.interp(at, [t for t, _ in pictures], mouth)
    # an analyser measures the last 43 ms, so a level belongs to the middle of them; the floor is the sync meter's
    levels = np.array([level for _, level in sounds]) * np.log(10) / 20
    loud = np.interp(at, [t - 21 for t, _ in sounds], np.logaddexp(levels, np.log(10) * SILENT_DBFS / 20))
    r = correlations(bandpassed(opened), bandpassed(loud), 15)
    return float(r.max()), 40 * (int(r.argmax()) - 15)


@pytest.mark.long
@pytest.mark.skipif(not trained(), reason="assets/pocket-avatar has no weights, and a random mouth follows no sound")
def test_the_received_mouth_follows_the_received_sound(page: Page) -> None:
    """Measure after 15 s: a browser needs ten seconds and more to align picture and sound on a busy machine."""
    start(page)
    page.click("[data-lt=microphone]")
    until_louder(page, -40, 20)
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
    """Check the limits of ITU-R BT.1359: viewers notice sound that is more than 45 ms early or 125 ms late."""
    t = np.arange(30 * RATE) / RATE
    beeps = sound_file(tmp_path / "beeps.wav", 0.5 * np.sin(2 * np.pi * 400 * t) * (t % 1 < 0.2))
    with serving(tmp_path, program="flashing_server.py") as (address, _):
        page = browser.new_page()
        opened(page, address)
        start(page)
        page.set_input_files("[data-lt=sound]", beeps)
        until_louder(page, -40)
        page.wait_for_timeout(4000)  # time for the browser to align picture and sound
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
