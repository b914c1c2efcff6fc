"""The socket of an avatar's sound tells an agent what it needs to answer its listener."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, cast

import pytest
from starlette.websockets import WebSocket

from streaming.live.session import Session
from streaming.speech.avatar import Avatar
from streaming.transport.events import Event, ListenerEvent
from streaming.transport.sound_socket import SoundSocket


class Room:
    """Stand for a session that somebody listens to."""

    over = False
    tell: Callable[[Event], None]

    def listen(self, hear: Callable[[Event], None]) -> Callable[[], None]:
        self.tell = hear
        return lambda: None


class Line:
    """Stand for a socket whose other end says nothing."""

    def __init__(self) -> None:
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def receive(self) -> dict[str, Any]:
        return await asyncio.Future()

    async def send_text(self, text: str) -> None:
        self.sent.put_nowait(json.loads(text))

    async def close(self) -> None:
        pass


@pytest.mark.asyncio
async def test_an_agent_is_told_when_its_listener_speaks() -> None:
    room, line = Room(), Line()
    socket = SoundSocket(cast(WebSocket, line), cast(Session, room), cast(Avatar, None))
    serving = asyncio.create_task(socket.run())
    await asyncio.sleep(0)
    room.tell(ListenerEvent(speaks=True))
    assert await asyncio.wait_for(line.sent.get(), 5) == {"type": "listener", "speaks": True}
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
