"""Watch a session by WebRTC as the page does: connect anew when told that it has moved, or when it falls silent."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from browser_page import CHROMIUM, FLAGS
from playwright.async_api import Page, async_playwright

SILENCE = 1.5  # seconds without a picture and an event
RETRY = 0.7  # seconds, as of the page: the server counts offers
TICKS = 90_000


@dataclass
class Connection:
    """Hold what came by one connection."""

    began: float
    first_pts: int | None = None  # media time of its first frame, as the server tells it
    frames: list[tuple[float, int]] = field(default_factory=list)  # time, RTP time

    def number(self, rtp: int, fps: int = 16) -> int:
        """Return which of the frames that the worker has released this is."""
        assert self.first_pts is not None
        return round((self.first_pts + rtp - self.frames[0][1]) * fps / TICKS)


class Viewer:
    """Watch one session for as long as it is told to."""

    def __init__(self, address: str, session: dict[str, Any]) -> None:
        self.session, self.address = session, address
        self.connections: list[Connection] = []
        self.events: list[dict[str, Any]] = []
        self.heard = self.seen = 0.0  # when the newest event or picture, and the newest picture, came
        self.refusals: list[int] = []
        self.silence = SILENCE
        self._lost = asyncio.Event()

    async def run(self) -> None:
        """Watch until cancelled."""
        async with httpx.AsyncClient(timeout=3) as client:
            while True:
                peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
                try:
                    if await self._connected(client, peer):
                        await self._watch()
                    else:
                        await asyncio.sleep(RETRY)
                finally:
                    await peer.close()

    async def _connected(self, client: httpx.AsyncClient, peer: RTCPeerConnection) -> bool:
        self._lost.clear()
        connection = Connection(time.time())
        channel = peer.createDataChannel("control", ordered=True)
        channel.on("message", lambda text: self._event(connection, json.loads(text)))
        video = peer.addTransceiver("video", direction="recvonly")
        await peer.setLocalDescription(await peer.createOffer())
        body = {"sdp": peer.localDescription.sdp, "key": self.session["key"], "viewer": "v" * 16}
        try:
            answer = await client.post(f"{self.address}/api/sessions/{self.session['id']}/offer", json=body)
        except httpx.TransportError:
            return False
        if answer.status_code != 200:
            self.refusals.append(answer.status_code)
            return False
        await peer.setRemoteDescription(RTCSessionDescription(answer.json()["sdp"], "answer"))
        self.connections.append(connection)
        self.heard = time.time()
        self._reading = asyncio.ensure_future(self._read(connection, video.receiver.track))
        return True

    async def _read(self, connection: Connection, track: Any) -> None:
        with contextlib.suppress(MediaStreamError):  # the worker has closed the connection
            while True:
                frame = await track.recv()
                self.heard = self.seen = time.time()
                connection.frames.append((self.heard, frame.pts))

    async def _watch(self) -> None:
        """Return once the connection counts as lost."""
        while not self._lost.is_set() and time.time() - self.heard < self.silence:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._lost.wait(), 0.1)
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    def _event(self, connection: Connection, event: dict[str, Any]) -> None:
        self.heard = time.time()
        self.events.append(event)
        if event["type"] == "status" and event.get("first_pts") is not None and connection.first_pts is None:
            connection.first_pts = event["first_pts"]
        if event["type"] == "moved":
            self._lost.set()

    def gap(self, since: float) -> float:
        """Return the longest time without a frame since then."""
        times = [at for connection in self.connections for at, _ in connection.frames if at >= since - 0.5]
        return max((b - a for a, b in itertools.pairwise(times)), default=float("inf"))


PRESENTED = """(() => {  // seconds since 1970 at which frames are presented
  const video = document.querySelector("video"), presented = (window.presented = []);
  const look = () => video.requestVideoFrameCallback((now) => {
    presented.push((performance.timeOrigin + now) / 1000);
    look();
  });
  look();
})()"""


class BrowserViewer:
    """Watch a session on the page of a share link, in Chromium."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def frames(self, since: float) -> list[float]:
        """Return when frames were presented since a time, and half a second before."""
        found: list[float] = await self._page.evaluate("presented")
        return [at for at in found if at >= since - 0.5]

    async def gap(self, since: float) -> float:
        """Return the longest time without a frame since then; inf unless a second of film has followed it."""
        frames = await self.frames(since)
        gap, end = max(((b - a, b) for a, b in itertools.pairwise(frames)), default=(float("inf"), 0.0))
        return gap if sum(at > end for at in frames) > 16 else float("inf")


@asynccontextmanager
async def watching_page(address: str) -> AsyncIterator[BrowserViewer]:
    """Open the page of a share link, and yield it once it plays."""
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=list(FLAGS))
        page = await chromium.new_page()
        await page.goto(address)
        await page.evaluate(PRESENTED)
        await page.wait_for_function("presented.length > 16", timeout=30_000)
        yield BrowserViewer(page)
        await chromium.close()
