"""Avatars for tests: tiny, random and quick, with voices that a meter can tell from silence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from conftest import tiny_avatar

from models.cue import Reference
from models.driving_signal import RATE
from streaming.live.device import DeviceThread
from streaming.speech.avatar_session import LiveAvatar
from streaming.take.take_file import CueLine, Take
from streaming.transport.events import Event

TAKE = Take(model="tiny-avatar", seed=5, length=1, cues=[CueLine(prompt="a portrait speaks")])
PORTRAIT = Reference(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8).tobytes(), 32, 32)


def tone(seconds: float, hertz: float = 220, loud: float = 0.3) -> np.ndarray:
    """[samples] float32 at 16 kHz."""
    return (loud * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def as_samples(sound: np.ndarray) -> np.ndarray:
    return np.round(32767 * sound).astype(np.int16)


@asynccontextmanager
async def speaking(folder: Path | None = None, **how: Any) -> AsyncIterator[tuple[LiveAvatar, list[Event]]]:
    """A running avatar and the events that it tells."""
    device = DeviceThread()
    avatar = LiveAvatar(tiny_avatar(), TAKE, device, portrait=PORTRAIT, folder=folder, **how)
    events: list[Event] = []
    avatar.listen(events.append)
    avatar.start()
    try:
        yield avatar, events
    finally:
        await avatar.close()
        device.close()


async def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
