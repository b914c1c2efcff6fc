"""Start a real Chromium without a display."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
)
AUDIBLE = "--autoplay-policy=no-user-gesture-required"  # a page may play sound before a click
WITHOUT_UDP = "--webrtc-ip-handling-policy=disable_non_proxied_udp"


@contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    """Run one browser with further command line flags."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=[*FLAGS, *flags])
        yield browser
        browser.close()
