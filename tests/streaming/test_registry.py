"""Nothing that becomes of one session ends the others, and nobody who has left is waited for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streaming.live import registry as module
from streaming.live.device import DeviceThread
from streaming.live.registry import HostedSession, SessionRegistry

pytestmark = pytest.mark.asyncio


class Over:
    """A session that is over; to close it takes a moment."""

    over, broadcast = True, ()

    def __init__(self, *, fails: bool = False) -> None:
        self.fails, self.closed = fails, False

    async def close(self) -> None:
        await asyncio.sleep(0.05)
        if self.fails:
            raise RuntimeError("its disk is gone")
        self.closed = True


def hosting(*them: Any) -> SessionRegistry:
    async def load(name: str) -> Any:
        raise AssertionError(name)

    sessions = SessionRegistry(load, DeviceThread())
    sessions.hosted = {str(i): HostedSession(s, "key", 0.0) for i, s in enumerate(them)}
    return sessions


async def test_a_session_that_is_ended_while_another_is_tidied_is_nothing_to_stumble_over() -> None:
    first, second, third = Over(), Over(), Over()
    sessions = hosting(first, second, third)
    tidying = asyncio.create_task(sessions.tidy())
    await asyncio.sleep(0.01)  # it waits for the first
    await sessions.end("1")
    await tidying
    assert (first.closed, second.closed, third.closed) == (True, True, True)
    sessions.device.close()


async def test_one_session_that_cannot_be_closed_leaves_the_others_running(monkeypatch: pytest.MonkeyPatch) -> None:
    pause = asyncio.sleep
    monkeypatch.setattr(module.asyncio, "sleep", lambda seconds: pause(seconds / 20))
    last = Over()
    sessions = hosting(Over(fails=True), last)
    running = asyncio.create_task(sessions.run())
    await pause(0.5)
    assert last.closed
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    sessions.device.close()
