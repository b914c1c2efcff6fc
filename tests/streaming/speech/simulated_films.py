"""Run sessions of an avatar in simulated time, keep what they show, and render their takes."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from clocks import LoopClock
from conftest import tiny_avatar
from simulated_time import SimulatedLoop
from speakers import PORTRAIT, TAKE

from models.time_grid import TimeGrid
from streaming.live.device import DeviceThread
from streaming.live.playout import Shown
from streaming.live.session import Session
from streaming.rollout import Rollout
from streaming.speech.avatar import Avatar
from streaming.speech.portrait_drive import PortraitDrive
from streaming.speech.soundtrack import driving_sound
from streaming.take.take_file import Take
from streaming.transport.events import Event


class Film:
    """Keeps the events of a session, and every frame with the simulated time at which it was released."""

    def __init__(self, session: Session) -> None:
        self.frames: list[tuple[float, Shown]] = []
        self.events: list[Event] = []
        session.listen(self.events.append)
        session.playout.watch(lambda shown, _: self.frames.append((asyncio.get_running_loop().time(), shown)))

    def sound(self) -> np.ndarray:
        return np.concatenate([shown.sound for _, shown in self.frames])


def simulated(drawing: float, folder: Path | None, test: Any) -> Session:
    """Run a test with a session whose device takes `drawing` seconds for every call; return the session, closed."""
    sessions: list[Session] = []

    async def run() -> None:
        device, model = DeviceThread(), tiny_avatar()
        avatar = partial(Avatar, model, PORTRAIT, None)
        session = Session(model, TAKE, device, folder=folder, clock=LoopClock(), avatar=avatar)
        sessions.append(session)
        film = Film(session)
        session.start()
        try:
            await asyncio.sleep(3)
            await test(session, session.avatar, film)
        finally:
            await session.close()
            device.close()

    loop = partial(SimulatedLoop, encoding=0.01, drawing=drawing, late=True)
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())
    return sessions[0]


def rendered(take: Take, folder: Path) -> dict[int, str]:
    """Render a take and return the hash of each chunk's latents."""
    model = tiny_avatar()
    assert take.sound is not None
    rollout = Rollout(model, take, drive=PortraitDrive(model, PORTRAIT, driving_sound(folder / take.sound)))
    return {b.first: b.hash for b in rollout.until(take.chunks(TimeGrid(3, 3), 25))}
