"""The socket of an avatar's sound tells an agent what it needs to answer its listener."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from starlette.websockets import WebSocket

from streaming.live.session import Session
from streaming.live.session_state import SessionState
from streaming.speech.avatar import Avatar
from streaming.transport.events import Event, ListenerEvent, PhaseEvent, WarningEvent
from streaming.transport.sound_socket import SoundSocket


class Room:
    """Stand for a session that somebody listens to."""

    def __init__(self) -> None:
        self.over = False

    tell: Callable[[Event], None]

    def listen(self, hear: Callable[[Event], None]) -> Callable[[], None]:
        self.tell = hear
        return lambda: None


class Line:
    """Stand for a socket whose other end says nothing."""

    def __init__(self) -> None:
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.reads = asyncio.Event()  # whether what is sent to it arrives
        self.reads.set()

    async def receive(self) -> dict[str, Any]:
        return await asyncio.Future()

    async def send_text(self, text: str) -> None:
        await self.reads.wait()
        self.sent.put_nowait(json.loads(text))

    async def close(self) -> None:
        pass


@asynccontextmanager
async def served() -> AsyncIterator[tuple[Room, Line, asyncio.Task[None]]]:
    room, line = Room(), Line()
    socket = SoundSocket(cast(WebSocket, line), cast(Session, room), cast(Avatar, None))
    serving = asyncio.create_task(socket.run())
    await asyncio.sleep(0)
    yield room, line, serving
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


@pytest.mark.asyncio
async def test_an_agent_is_told_when_its_listener_speaks() -> None:
    async with served() as (room, line, _):
        room.tell(ListenerEvent(speaks=True))
        assert await asyncio.wait_for(line.sent.get(), 5) == {"type": "listener", "speaks": True}


@pytest.mark.asyncio
async def test_a_socket_is_closed_behind_the_phase_that_says_how_its_session_ended() -> None:
    async with served() as (room, line, serving):
        room.tell(PhaseEvent(phase=SessionState.LIVE, why=""))
        assert (await asyncio.wait_for(line.sent.get(), 5))["phase"] == "live"
        assert not serving.done()
        room.over = True
        room.tell(PhaseEvent(phase=SessionState.ENDED, why=""))
        await asyncio.wait_for(serving, 5)
        assert line.sent.get_nowait()["phase"] == "ended"


@pytest.mark.asyncio
async def test_a_socket_that_reads_nothing_loses_events_once_256_wait_and_then_goes_on() -> None:
    async with served() as (room, line, serving):
        line.reads.clear()
        for n in range(1000):
            room.tell(WarningEvent(why=f"{n}"))
        await asyncio.sleep(0)
        line.reads.set()
        told = [(await asyncio.wait_for(line.sent.get(), 5))["why"] for _ in range(256)]
        assert told == [f"{n}" for n in range(256)]
        room.tell(WarningEvent(why="later"))
        assert (await asyncio.wait_for(line.sent.get(), 5))["why"] == "later"
        assert not serving.done()
