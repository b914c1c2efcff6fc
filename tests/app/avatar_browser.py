"""Open and drive the page of an avatar in a browser."""

from __future__ import annotations

import random
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from page_probe import PROBE, end, until, until_ready
from playwright.sync_api import Browser, Page

from models.pocket.world.portrait.tts import SpeechSynthesisError, monologue

RATE = 16_000


def sound_file(path: Path, sound: np.ndarray, rate: int = RATE) -> Path:
    """Write mono samples in -1 to 1 as a WAV file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((32767 * np.clip(sound, -1, 1)).astype(np.int16).tobytes())
    return path


def speech_file(path: Path) -> Path:
    """Write 20 seconds of speech, or, without espeak-ng, of a tone that comes and goes like syllables."""
    try:
        return sound_file(path, monologue(20, random.Random(5)))
    except SpeechSynthesisError:
        t = np.arange(20 * RATE) / RATE
        return sound_file(path, np.sin(2 * np.pi * 180 * t) * np.clip(np.sin(2 * np.pi * 1.3 * t), 0, 1) * 0.4)


def fake_microphone(voice: Path) -> list[str]:
    """Return the flags of a browser whose microphone plays a WAV file again and again and is always allowed."""
    flags = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    return [*flags, f"--use-file-for-fake-audio-capture={voice}"]


@contextmanager
def avatar_page(browser: Browser, server: str) -> Iterator[Page]:
    """Open an avatar's page, and close it after its session; its scripts must throw nothing."""
    page = browser.new_page(viewport={"width": 1100, "height": 1000})
    errors: list[str] = []
    page.on("pageerror", lambda e: errors.append(str(e)))
    opened(page, server)
    yield page
    end(page)
    assert errors == []


def opened(page: Page, server: str, query: str = "") -> None:
    """Open the avatar's page with the probe in it, and wait until it is ready."""
    page.add_init_script(PROBE)
    page.goto(f"{server}/avatar/{query}")
    until_ready(page)


def start(page: Page) -> None:
    """Begin a session, and wait for its picture and its control channel."""
    page.click("[data-lt=start]")
    until(page, "document.querySelector('video').videoWidth > 0")
    until(page, "probe.peers.at(-1).connectionState == 'connected' && probe.ways.at(-1).readyState == 'open'")


def until_louder(page: Page, above: float, seconds: float = 10) -> None:
    """Wait until the page's own meter of the avatar's sound, which begins at -60 dBFS, shows more than `above` dBFS."""
    share = 100 * (above + 60) / 60
    meter = "document.querySelector('[data-lt=out]').style.getPropertyValue('--level')"
    until(page, f"Number({meter}) > {share}", seconds)
