"""Sessions for tests: tiny, random and quick."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from conftest import tiny_model

from models.time_grid import TimeGrid
from streaming.live.device import DeviceThread
from streaming.live.pacing import LookAhead
from streaming.live.session import Session
from streaming.rollout import Rollout
from streaming.take.history import TakeHistory
from streaming.take.take_file import CueLine, Take
from streaming.transport.commands import parse
from streaming.transport.events import Event

TAKE = Take(model="tiny", seed=5, length=1, cues=[CueLine(prompt="one")])


@asynccontextmanager
async def running(
    folder: Path | None = None, look_ahead: LookAhead = LookAhead.SMOOTH, past: TakeHistory | None = None
) -> AsyncIterator[Any]:
    device = DeviceThread()
    session = Session(tiny_model(), TAKE, device, folder=folder, look_ahead=look_ahead, past=past)
    events: list[Event] = []
    session.listen(events.append)
    session.start()
    try:
        yield session, events
    finally:
        await session.close()
        device.close()


def say(session: Session, number: int, **what: Any) -> None:
    session.obey(parse(json.dumps({"id": number, **what})))


async def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def async_test(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))  # type: ignore[arg-type]

    return run


def replayed(take: Take) -> dict[int, str]:
    """First latent and hash of every chunk of an offline rollout."""
    rollout = Rollout(tiny_model(), take)
    return {b.first: b.hash for b in rollout.until(take.chunks(TimeGrid(3, 3), 16))}
