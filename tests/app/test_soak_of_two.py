"""Measure two sessions beside each other, with switches, cameras and reconnects.

`pytest -s -m long tests/app/test_soak_of_two.py` runs LONGTAKE_SOAK_MINUTES (20) with pictures of
LONGTAKE_SOAK_SIZE (128x128); figures and a plot go into out/.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import psutil
import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription, VideoStreamTrack
from studio_server import ROOT, serving
from test_soak import MINUTES, begin, plot, print_halves, watch

SIZE = os.environ.get("LONGTAKE_SOAK_SIZE", "128x128")  # two of these run in real time on two cores
SECONDS_A_ROW = 10
ROWS_A_CONNECTION = 6  # a viewer and a camera connect anew every minute
FRAMES_A_SECOND = 16
MEASURED = {
    "behind_a": "session A: the viewer is behind the media rate, ms",
    "behind_b": "session B: the viewer is behind the media rate, ms",
    "camera_a": "session A: age of the newest camera picture, ms",
    "camera_b": "session B: age of the newest camera picture, ms",
    "rss_mb": "memory, MB",
    "rest_mb": "memory without snapshots, MB",
    "files": "descriptors",
    "threads": "threads",
}


class Camera(VideoStreamTrack):
    """A camera of 160x120 whose brightness moves, 30 pictures a second."""

    async def recv(self) -> av.VideoFrame:
        pts, time_base = await self.next_timestamp()
        frame = av.VideoFrame.from_ndarray(np.full((120, 160, 3), pts // 3000 % 256, np.uint8), format="rgb24")
        frame.pts, frame.time_base = pts, Fraction(time_base)
        return frame


async def publish(server: str, session: dict[str, Any]) -> RTCPeerConnection:
    """Connect a camera to a session by WHIP; a newer one takes the place of an earlier."""
    camera = RTCPeerConnection()
    camera.addTransceiver(Camera(), direction="sendonly")
    await camera.setLocalDescription(await camera.createOffer())
    headers = {"content-type": "application/sdp", "authorization": f"Bearer {session['key']}"}
    async with httpx.AsyncClient(timeout=30) as client:
        url = f"{server}/whip/{session['id']}"
        got = await client.post(url, content=camera.localDescription.sdp, headers=headers)
    assert got.status_code == 201, got.text
    await camera.setRemoteDescription(RTCSessionDescription(got.text, "answer"))
    return camera


class Seat:
    """Hold a session with the viewer and the camera that are connected to it, and count the frames that arrived."""

    def __init__(self, server: str) -> None:
        self.server, self.session = server, begin(server, SIZE)
        self.url, self.headers = f"{server}/api/sessions/{self.session['id']}", {"x-longtake-key": self.session["key"]}
        self.viewer: tuple[RTCPeerConnection, asyncio.Task[None], list[int]] | None = None
        self.camera: RTCPeerConnection | None = None
        self.connected = 0.0

    async def connect(self) -> None:
        """Connect viewer and camera, in the place of those before."""
        await self.leave()
        self.viewer, self.camera = await watch(self.server, self.session), await publish(self.server, self.session)
        async with asyncio.timeout(30):
            while not self.viewer[2][0]:
                await asyncio.sleep(0.02)
        self.connected = time.monotonic() - self.viewer[2][0] / FRAMES_A_SECOND

    async def leave(self) -> None:
        """Disconnect both."""
        if self.viewer is not None and self.camera is not None:
            self.viewer[1].cancel()
            await self.viewer[0].close()
            await self.camera.close()

    async def say(self, client: httpx.AsyncClient, number: int) -> None:
        """Change the prompt."""
        colour, place = ("red", "blue", "white")[number % 3], ("sea", "meadow")[number % 2]
        text = f"a {colour} ball bounces over the {place} by day"
        asked = {"id": number, "type": "prompt", "text": text}
        (await client.post(f"{self.url}/control", headers=self.headers, json=asked)).raise_for_status()

    def behind_ms(self) -> float:
        """Return how far the frames since the last connection are behind the media rate."""
        assert self.viewer is not None
        return 1000 * (time.monotonic() - self.connected - self.viewer[2][0] / FRAMES_A_SECOND)


async def measured_row(client: httpx.AsyncClient, seats: list[Seat], process: psutil.Process) -> dict[str, float]:
    row, held = {}, 0.0
    for name, seat in zip("ab", seats, strict=True):
        status = (await client.get(seat.url, headers=seat.headers)).json()
        held += status["held_mb"]
        row |= {f"behind_{name}": seat.behind_ms(), f"camera_{name}": status["camera"]["age_ms"]}
    memory = process.memory_info().rss / 1e6
    return row | {
        "rss_mb": memory,
        "rest_mb": memory - held,
        "files": process.num_fds(),
        "threads": process.num_threads(),
    }


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, psutil.Process]]:
    with serving(tmp_path) as (address, process):
        yield address, psutil.Process(process.pid)


@pytest.mark.long
@pytest.mark.timeout(int(60 * MINUTES) + 300)
def test_two_sessions_with_switches_cameras_and_reconnects_stay_flat(server: tuple[str, psutil.Process]) -> None:
    address, process = server
    rows: list[dict[str, float]] = []

    async def soak() -> None:
        seats = [Seat(address), Seat(address)]
        began = time.monotonic()
        async with httpx.AsyncClient(timeout=30) as client:
            for number in range(int(60 * MINUTES / SECONDS_A_ROW)):
                for place, seat in enumerate(seats):
                    if number == 0 or number % ROWS_A_CONNECTION == place * ROWS_A_CONNECTION // 2:
                        await seat.connect()
                    await seat.say(client, number)
                await asyncio.sleep(began + (number + 1) * SECONDS_A_ROW - time.monotonic())
                rows.append({"seconds": time.monotonic() - began, **await measured_row(client, seats, process)})
        for seat in seats:
            await seat.leave()

    asyncio.run(soak())
    out = ROOT / "out"
    out.mkdir(exist_ok=True)
    (out / "soak_of_two.json").write_text(json.dumps(rows))
    plot(rows, out / "soak_of_two.png", MEASURED)
    print_halves(rows, MEASURED)
    half = len(rows) // 2
    for name in ("behind_a", "behind_b"):
        assert np.median([r[name] for r in rows[half:]]) < 1000
    for name in ("camera_a", "camera_b"):
        assert np.median([r[name] for r in rows[half:]]) < 500
    assert np.median([r["files"] for r in rows[half:]]) <= np.median([r["files"] for r in rows[:half]]) + 2
    assert np.median([r["threads"] for r in rows[half:]]) <= np.median([r["threads"] for r in rows[:half]]) + 2
    assert max(r["rest_mb"] for r in rows[half:]) - max(r["rest_mb"] for r in rows[:half]) < 60
