"""Command and watch an avatar over HTTP and WebRTC, with sounds that are made here."""

from __future__ import annotations

import asyncio
import io
import time
import wave
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
import httpx
import numpy as np
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription

from models.driving_signal import RATE


def begin(server: str, **how: Any) -> dict[str, Any]:
    """Start a session of an avatar; return the server's answer."""
    got = httpx.post(f"{server}/api/sessions", json={"model": "pocket-avatar", "seed": 3, **how}, timeout=30)
    assert got.status_code == 201, got.text
    return got.json()


def wav(samples: np.ndarray, rate: int = RATE, channels: int = 1) -> bytes:
    """Return mono samples in -1 to 1 as the bytes of a WAV file."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((32767 * np.repeat(samples, channels)).astype(np.int16).tobytes())
    return out.getvalue()


def tone(seconds: float, rate: int = RATE, hertz: float = 440) -> np.ndarray:
    """Return a sine tone [samples] at about -10 dBFS."""
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def encoded(kind: str, codec: str) -> bytes:
    """Return a second of a tone in this container and codec."""
    out = io.BytesIO()
    with av.open(out, "w", format=kind) as file:
        stream = file.add_stream(codec, rate=48_000)
        sound = tone(1, 48_000).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(sound, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
        for resampled in av.AudioResampler(stream.format, "mono", 48_000, 960).resample(frame):
            file.mux(stream.encode(resampled))
        file.mux(stream.encode(None))
    return out.getvalue()


async def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until a condition is true; TimeoutError after `seconds`."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


class Viewer:
    """Receives pictures and sound; `loud` are the times (monotonic, s) at which a loud block of sound arrived."""

    def __init__(self, microphone: MediaStreamTrack | None = None) -> None:
        self.connection = RTCPeerConnection()
        self.pictures, self.blocks, self.loud = 0, 0, list[float]()
        self._microphone = microphone
        self._tasks: list[asyncio.Task[None]] = []

    async def join(self, url: str, key: str | None = None) -> None:
        self.connection.addTransceiver("video", direction="recvonly")
        if self._microphone:
            self.connection.addTransceiver(self._microphone, direction="sendrecv")
        else:
            self.connection.addTransceiver("audio", direction="recvonly")
        await self.connection.setLocalDescription(await self.connection.createOffer())
        offer = {"sdp": self.connection.localDescription.sdp} | ({"key": key} if key else {})
        async with httpx.AsyncClient() as client:
            answer = (await client.post(f"{url}/offer", json=offer)).json()
        await self.connection.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))
        for transceiver in self.connection.getTransceivers():
            self._tasks.append(asyncio.create_task(self._receive(transceiver.receiver.track)))

    async def _receive(self, track: MediaStreamTrack) -> None:
        while True:
            frame = await track.recv()
            if isinstance(frame, av.AudioFrame):
                self.blocks += 1
                if np.abs(frame.to_ndarray()).max() > 1000:
                    self.loud.append(time.monotonic())
            else:
                self.pictures += 1

    async def leave(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self.connection.close()


class Microphone(MediaStreamTrack):
    """Sends half a second of silence, then tones with two seconds of silence after each, in real time."""

    kind = "audio"

    def __init__(self, seconds: float, tones: int = 1) -> None:
        super().__init__()
        said = np.tile(np.concatenate([tone(seconds, 48_000), np.zeros(96_000)]), tones)
        self._sound = np.concatenate([np.zeros(24_000), said, np.zeros(480_000)])
        self._at, self._began, self._silent = 0, 0.0, True
        self.spoke = list[float]()  # times (monotonic, s) at which a tone began

    async def recv(self) -> av.AudioFrame:
        self._began = self._began or time.monotonic()
        await asyncio.sleep(max(0, self._began + self._at / 48_000 - time.monotonic()))
        block = (32767 * self._sound[self._at : self._at + 960]).astype(np.int16)[None]
        if block.any() and self._silent:
            self.spoke.append(time.monotonic())
        self._silent = not block.any()
        frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, self._at, Fraction(1, 48_000)
        self._at += 960
        return frame
