"""Open and drive the studio in a browser, and read what its picture shows."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import torch
from page_probe import PROBE, end, until, until_ready
from playwright.sync_api import Browser, Page

from models.checkpoints.assemble import ASSETS
from models.judge import classifier

GRAB = """() => new Promise(done => {
  const v = document.querySelector('video'), c = document.createElement('canvas'), out = [];
  c.width = c.height = 128;
  const take = () => {
    c.getContext('2d').drawImage(v, 0, 0, 128, 128);
    out.push(c.toDataURL('image/png').split(',')[1]);
    if (out.length < 12) v.requestVideoFrameCallback(take); else done(out);
  };
  v.requestVideoFrameCallback(take);
})"""


def pictures(page: Page) -> np.ndarray:
    """Read twelve successive decoded frames back from the page: [12, 128, 128, 3] RGB."""
    raw = [np.frombuffer(base64.b64decode(p), np.uint8) for p in page.evaluate(GRAB)]
    return np.stack([cv2.imdecode(r, cv2.IMREAD_COLOR)[..., ::-1] for r in raw])


def seen(page: Page) -> dict[str, str]:
    """Return what the judge reads in the decoded frames: attribute → value."""
    judge = classifier.load(ASSETS / "judge" / "judge.safetensors")
    return judge.read(torch.from_numpy(pictures(page))[None])[0]


def shows(page: Page, place: str, light: str, seconds: float = 20) -> None:
    """Wait until the judge reads this place and light twice in a row: frames across a switch may read as anything."""
    deadline, in_a_row = time.monotonic() + seconds, 0
    while in_a_row < 2:
        now = seen(page)
        in_a_row = in_a_row + 1 if (now["place"], now["light"]) == (place, light) else 0
        assert time.monotonic() < deadline, now


def opened(browser: Browser, address: str, errors: list[str] | None = None, **how: Any) -> Page:
    """Open the studio with the probe in it; what its scripts throw is added to `errors`."""
    page = browser.new_page(**how)
    page.add_init_script(PROBE)
    page.on("pageerror", lambda e: errors.append(str(e)) if errors is not None else None)
    page.goto(address)
    until_ready(page)
    return page


@contextmanager
def studio_page(browser: Browser, address: str) -> Iterator[Page]:
    """Open the studio, and close it after its session; its scripts must throw nothing."""
    errors: list[str] = []
    page = opened(browser, address, errors, viewport={"width": 1100, "height": 1000})
    yield page
    end(page)
    assert errors == []


def start(page: Page, prompt: str = "a large red ball bounces over the meadow by day") -> None:
    """Begin a session, and wait for its picture."""
    page.fill("[data-lt=prompt]", prompt)
    page.click("[data-lt=send]")
    until(page, "document.querySelector('video').videoWidth > 0")


def say(page: Page, prompt: str, keys: str = "Enter") -> None:
    """Send a prompt to the running take."""
    page.fill("[data-lt=prompt]", prompt)
    page.press("[data-lt=prompt]", keys)


def until_latent(page: Page, latent: int) -> None:
    """Wait until so many latents are drawn."""
    until(page, f"probe.latest('status')?.latent >= {latent}", 60)


def stage(page: Page) -> str:
    """Return the state of the stage."""
    return str(page.get_attribute(".longtake", "data-state"))


def until_stage(page: Page, state: str, seconds: float = 20) -> None:
    """Wait until the stage is in a state."""
    until(page, f"document.querySelector('.longtake').dataset.state == '{state}'", seconds)


def open_scene(page: Page, share: float) -> None:
    """Click the timeline at a share of its length, from 0 to 1, which opens the scene there."""
    box = page.locator("[data-lt=blocks]").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] * share, box["y"] + 5)
