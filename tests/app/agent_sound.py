"""Stream marked sound into an avatar as an agent does, and receive what a viewer hears of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import av
import httpx
import numpy as np
from avatar_client import Viewer, begin, until
from websockets.asyncio.client import ClientConnection, connect

RATE = 24_000
LOW, SLOPE = 400.0, 200.0  # hertz at the start of a sweep, and by which it rises a second


def sweep(seconds: float, rate: int = RATE) -> bytes:
    """Return PCM whose pitch tells the time in it."""
    t = np.arange(round(seconds * rate)) / rate
    return (9000 * np.sin(2 * np.pi * (LOW * t + SLOPE * t * t / 2))).astype("<i2").tobytes()


def place_in_sweep(block: np.ndarray, rate: int) -> float:
    """Return at which second of a sweep a block of sound lies, by its pitch."""
    padded = np.abs(np.fft.rfft(block * np.hanning(len(block)), 1 << 16))
    return (padded.argmax() * rate / (1 << 16) - LOW) / SLOPE


class Listener(Viewer):
    """Receives the sound and keeps it, with the time at which each piece arrived."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[float, np.ndarray]] = []

    async def _receive(self, track: Any) -> None:
        while True:
            frame = await track.recv()
            if isinstance(frame, av.AudioFrame):
                samples = frame.to_ndarray().reshape(-1, len(frame.layout.channels))[:, 0]
                self.heard.append((time.monotonic(), samples.astype(float)))

    def places(self, since: float = 0.0) -> list[tuple[float, float]]:
        """Return when each place of a sweep was heard: (time, second of the sweep), of pieces of 20 ms."""
        pairs = zip(self.heard, self.heard[1:], strict=False)
        loud = [(at, np.concatenate([a, b])) for (_, a), (at, b) in pairs if np.abs(a).max() > 3000 < np.abs(b).max()]
        return [(at, place_in_sweep(block, 48_000) + 0.02) for at, block in loud if at >= since]


class Sound:
    """Talks on the socket of an avatar's sound, and keeps the events with their times."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.events: list[tuple[float, dict[str, Any]]] = []
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._socket:
            self.events.append((time.monotonic(), json.loads(message)))

    async def tell(self, **message: Any) -> None:
        await self._socket.send(json.dumps(message))

    async def send(self, pcm: bytes, size: int, *, in_time: bool = False) -> None:
        began = time.monotonic()
        for at in range(0, len(pcm), size):
            if in_time:
                await asyncio.sleep(max(0, began + at / 2 / RATE - time.monotonic()))
            await self._socket.send(pcm[at : at + size])

    def told(self, *types: str) -> list[dict[str, Any]]:
        return [event for _, event in self.events if event["type"] in types]


def audio_url(url: str, key: str) -> str:
    return f"{url.replace('http', 'ws')}/audio?key={key}"


@asynccontextmanager
async def joined(server: str) -> AsyncIterator[tuple[str, dict[str, Any], Listener, Sound]]:
    """Give the address of a session, its answer, a listener that hears it and a sender of sound."""
    session = await asyncio.to_thread(begin, server)
    url = f"{server}/api/sessions/{session['id']}"
    listener = Listener()
    await listener.join(url)
    async with connect(audio_url(url, session["key"])) as socket:
        await until(lambda: len(listener.heard) > 20)
        yield url, session, listener, Sound(socket)
    await listener.leave()
    await asyncio.to_thread(httpx.delete, url, headers={"x-longtake-key": session["key"]})
