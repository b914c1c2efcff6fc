"""Run sessions of a tiny random avatar for tests, with sounds that a level meter tells from silence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from clocks import LoopClock
from conftest import tiny_avatar
from sessions import until

from models.cue import Reference
from streaming.live.device import DeviceThread
from streaming.live.playout import Shown
from streaming.live.session import Session
from streaming.speech.avatar import Avatar
from streaming.speech.fullband import RATE
from streaming.take.take_file import CueLine, Take
from streaming.transport.events import Event

TAKE = Take(model="tiny-avatar", seed=5, length=1, cues=[CueLine(prompt="a portrait speaks")])
PORTRAIT = Reference(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8).tobytes(), 32, 32)


def tone(seconds: float, hertz: float = 220, loud: float = 0.3, rate: int = RATE) -> np.ndarray:
    """Return a sine [samples], float32 at 48 kHz unless another rate is asked for."""
    return (loud * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def as_samples(sound: np.ndarray) -> np.ndarray:
    return np.round(32767 * sound).astype(np.int16)


@asynccontextmanager
async def speaking(
    folder: Path | None = None, reader: Any = None
) -> AsyncIterator[tuple[Session, Avatar, list[Event]]]:
    """Run a session; yield it with its avatar and the events that it has published."""
    device, model = DeviceThread(), tiny_avatar()
    avatar = partial(Avatar, model, PORTRAIT, reader)
    session = Session(model, TAKE, device, folder=folder, clock=LoopClock(), avatar=avatar)
    assert session.avatar is not None
    events: list[Event] = []
    session.listen(events.append)
    session.start()
    try:
        yield session, session.avatar, events
    finally:
        await session.close()
        device.close()


def now() -> float:
    """Return the time of the running event loop in seconds."""
    return asyncio.get_running_loop().time()


class Watcher:
    """Note every frame that is released, with the time."""

    def __init__(self, session: Session) -> None:
        self.shown: list[tuple[float, Shown]] = []
        self._playout = session.playout
        session.playout.watch(lambda frame, number: self.shown.append((now(), frame)))

    def loud(self, since: float = 0.0) -> list[float]:
        """Return when frames with sound were released."""
        return [at for at, frame in self.shown if at >= since and np.abs(frame.sound).max() > 300]

    def sound(self) -> np.ndarray:
        """Return the samples of all frames so far."""
        return np.concatenate([frame.sound for _, frame in self.shown])

    async def frames(self, n: int) -> None:
        """Wait until so many further frames are released, 40 ms each."""
        last = self._playout.released + n
        await until(lambda: self._playout.released >= last)
