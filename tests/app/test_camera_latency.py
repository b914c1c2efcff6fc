"""Measure how old the camera's picture is on the screen, minute by minute: from glass to glass, in a real browser.

The camera shows a number as black and white squares, another one 3.75 times a second. The model draws in one corner
only, so that the squares come through its codec as they are. In the page each number is read from both pictures: the
camera's own and the take's. The difference of the two times is the age of the picture.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import cv2
import httpx
import numpy as np
import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription, VideoStreamTrack
from browser_page import chromium, needs_chromium
from numpy.typing import NDArray
from page_probe import end, until, until_says
from playwright.sync_api import Page, Route
from studio_browser import opened, start, until_latent
from studio_server import serving

pytestmark = [needs_chromium, pytest.mark.long, pytest.mark.timeout(1200)]
MINUTES = 10
SIZE = "64x64"  # of the take: small, so that a busy machine of two cores draws it in real time
SIDE = 256  # pixels of the camera's picture
COLUMNS, ROWS = 4, 2  # squares in the upper half, the lowest bit on the left above
FPS = 30
HELD = 8  # frames for which a number stands
NUMBERS = 2 ** (COLUMNS * ROWS)
PART = "50%, 50%, 50%, 50%"  # that the model draws
# notes for each presented frame of a video when it was shown (ms since 1970) and the number in its upper half
READ = """([selector, name]) => {
  const video = document.querySelector(selector), copy = document.createElement("canvas");
  const [across, down] = [4, 2], side = 8;
  Object.assign(copy, { width: across * side, height: down * side });
  const pen = copy.getContext("2d", { willReadFrequently: true });
  const list = ((window.seen ??= {})[name] = []);
  const read = (now, { expectedDisplayTime }) => {
    pen.drawImage(video, 0, 0, video.videoWidth, video.videoHeight / 2, 0, 0, copy.width, copy.height);
    const { data } = pen.getImageData(0, 0, copy.width, copy.height);
    let bits = 0;
    for (let i = 0; i < across * down; i++) {
      const x = (i % across) * side + side / 2, y = Math.floor(i / across) * side + side / 2;
      if (data[4 * (y * copy.width + x) + 1] > 127) bits |= 1 << i;
    }
    list.push([performance.timeOrigin + expectedDisplayTime, bits]);
    video.requestVideoFrameCallback(read);
  };
  video.requestVideoFrameCallback(read);
}"""

Seen = list[tuple[float, int]]  # (ms since 1970, number), in the order of time


def grey_code(number: int) -> int:
    """Return bits of which one changes from each number to the next, so that a picture in between reads as either."""
    return number ^ (number >> 1)


NUMBER_OF = {grey_code(number): number for number in range(NUMBERS)}


def numbered(number: int) -> NDArray[np.uint8]:
    """Return a picture [SIDE, SIDE, 3] that shows a number in its upper half."""
    bits = (grey_code(number) >> np.arange(COLUMNS * ROWS)) & 1
    squares = np.kron(bits.reshape(ROWS, COLUMNS), np.ones((SIDE // 4, SIDE // 4)))
    picture = np.full((SIDE, SIDE, 3), 128, np.uint8)
    picture[: SIDE // 2] = (16 + 224 * squares)[..., None]
    return picture


def changes(seen: list[list[float]]) -> Seen:
    """Return when each number was first seen; a number that only one frame shows between others is misread."""
    read = [(at, NUMBER_OF[int(bits)]) for at, bits in seen]
    firsts: Seen = []
    for (at, number), (_, following) in itertools.pairwise(read):
        steady = following in (number, (number + 1) % NUMBERS)
        if steady and (not firsts or firsts[-1][1] != number):
            firsts.append((at, number))
    return firsts


def ages(shown: Seen, taken: Seen) -> list[tuple[float, float]]:
    """Return (ms since 1970, age in ms) of each number that the take showed and that the camera had shown before it."""
    found = []
    for at, number in shown:
        before = [t for t, n in taken if n == number and at - 1000 * HELD / FPS * NUMBERS < t <= at]
        if before:
            found.append((at, at - before[-1]))
    return found


def told(title: str, found: list[tuple[float, float]]) -> list[float]:
    """Print the median and the 95th percentile of each minute; return the medians in ms."""
    begin = found[0][0]
    minutes = [
        [age for _, age in group] for _, group in itertools.groupby(found, lambda each: (each[0] - begin) // 60_000)
    ]
    minutes = [minute for minute in minutes if len(minute) > 20]
    print(f"\n{title}: age of the camera's picture on the screen")
    every = [age for minute in minutes for age in minute]
    for name, part in [*((f"minute {n}", minute) for n, minute in enumerate(minutes, 1)), ("together", every)]:
        p50, p95 = statistics.median(part), float(np.quantile(part, 0.95))
        print(f"  {name}: p50 {p50:.0f} ms, p95 {p95:.0f} ms, {len(part)} numbers")
    return [statistics.median(minute) for minute in minutes]


def no_growth(medians: list[float]) -> None:
    """Check that the picture is no older at the end than at the beginning, but for half a chunk."""
    assert medians[-1] - medians[0] < 375
    assert statistics.median(medians[len(medians) // 2 :]) - statistics.median(medians[: len(medians) // 2]) < 250


def small(route: Route) -> None:
    """Start the page's session at a small size."""
    if route.request.method == "POST":
        route.continue_(post_data=json.dumps({**(route.request.post_data_json or {}), "size": SIZE}))
    else:
        route.continue_()


@contextmanager
def studio(folder: Path, *flags: str) -> Iterator[tuple[Page, str]]:
    """Start a session in the studio; yield the page and the server's address."""
    with serving(folder) as (address, _), chromium(*flags) as browser:
        page = opened(browser, address, viewport={"width": 900, "height": 700})
        page.route("**/api/sessions", small)
        start(page, "a large red ball sways in the middle over the meadow by day")
        until_latent(page, 6)
        yield page, address
        end(page)


def watched(page: Page, minutes: float) -> dict[str, list[list[float]]]:
    """Read the numbers for so many minutes."""
    page.wait_for_timeout(60_000 * minutes)
    seen: dict[str, list[list[float]]] = page.evaluate("seen")
    return seen


def by_page(folder: Path, minutes: float) -> list[float]:
    """Have Chromium's camera show numbers, and the studio follow it; return each minute's median in ms."""
    frames = [cv2.imencode(".jpg", numbered(n)[..., ::-1])[1].tobytes() for n in range(NUMBERS)]
    film = folder / "camera.mjpeg"
    film.write_bytes(b"".join(frame * HELD for frame in frames))
    fake = "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"
    with studio(folder, *fake, f"--use-file-for-fake-video-capture={film}") as (page, _):
        page.get_by_role("radio", name="Camera", exact=True).check(force=True)
        for name, value in (("left", "50"), ("top", "50")):
            page.fill(f"[data-lt=region-{name}]", value)
            page.press(f"[data-lt=region-{name}]", "Enter")
        page.click("[data-lt=input-camera]")
        until_says(page, "input", "followed", 60)
        page.evaluate(READ, ["[data-lt=input] video", "camera"])
        page.evaluate(READ, ["[data-lt=video]", "take"])
        seen = watched(page, minutes)
    return told("Chromium's camera in the studio", ages(changes(seen["take"]), changes(seen["camera"])))


class NumberedCamera(VideoStreamTrack):
    """A camera that shows numbers, and notes when each was first sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: Seen = []
        self._count = 0

    async def recv(self) -> av.VideoFrame:
        pts, time_base = await self.next_timestamp()
        number = self._count // HELD % NUMBERS
        if self._count % HELD == 0:
            self.sent.append((1000 * time.time(), number))
        self._count += 1
        frame = av.VideoFrame.from_ndarray(numbered(number), format="rgb24")
        frame.pts, frame.time_base = pts, Fraction(time_base)
        return frame


async def publish(url: str, key: str, camera: NumberedCamera, over: Callable[[], bool]) -> None:
    """Send a camera by WHIP until `over` says so."""
    peer = RTCPeerConnection()
    peer.addTransceiver(camera, direction="sendonly")
    await peer.setLocalDescription(await peer.createOffer())
    headers = {"content-type": "application/sdp", "authorization": f"Bearer {key}"}
    got = await asyncio.to_thread(httpx.post, url, content=peer.localDescription.sdp, headers=headers)
    assert got.status_code == 201, got.text
    await peer.setRemoteDescription(RTCSessionDescription(got.text, "answer"))
    while not over():
        await asyncio.sleep(0.2)
    await peer.close()


def by_whip(folder: Path, minutes: float) -> list[float]:
    """Have an aiortc client send numbers by WHIP, and the studio follow them; return each minute's median in ms."""
    camera, done = NumberedCamera(), threading.Event()
    with studio(folder) as (page, address):
        session = json.loads(page.evaluate("sessionStorage.getItem('longtake.session')"))
        way = publish(f"{address}/whip/{session['id']}", session["key"], camera, done.is_set)
        sender = threading.Thread(target=lambda: asyncio.run(way), daemon=True)
        sender.start()
        until(page, "probe.latest('status').camera?.fps > 5", 60)
        command = {"id": 1, "type": "source", "source": "camera", "region": PART}
        url, headers = f"{address}/api/sessions/{session['id']}/control", {"x-longtake-key": session["key"]}
        assert httpx.post(url, json=command, headers=headers).status_code == 202
        until_says(page, "input", "followed", 60)
        page.evaluate(READ, ["[data-lt=video]", "take"])
        seen = watched(page, minutes)
        done.set()
        sender.join(10)
    return told("an aiortc camera by WHIP", ages(changes(seen["take"]), camera.sent))


def test_the_picture_of_the_studios_camera_does_not_grow_older_in_ten_minutes(tmp_path: Path) -> None:
    no_growth(by_page(tmp_path, MINUTES))


def test_the_picture_of_a_camera_by_whip_does_not_grow_older_in_ten_minutes(tmp_path: Path) -> None:
    no_growth(by_whip(tmp_path, MINUTES))
