"""Test that a WebSocket's film is not sent far ahead of what has arrived, whatever buffers there are between."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tcp_relay import TcpRelay
from test_bounded_connections import listening
from websockets.asyncio.client import connect

from app.paced_socket import ON_THEIR_WAY, PacedSocket

MESSAGE = 4_000  # bytes


class Sending:
    """Accept a WebSocket, and send numbered binary messages as fast as it takes them, and a text with each."""

    def __init__(self) -> None:
        self.sent = 0

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        while True:
            await send({"type": "websocket.send", "bytes": self.sent.to_bytes(4, "big") + bytes(MESSAGE - 4)})
            self.sent += 1
            await send({"type": "websocket.send", "text": "beside it"})


@pytest.mark.asyncio
async def test_few_messages_are_on_their_way_over_a_slow_line_and_sending_ends_with_the_connection() -> None:
    app = Sending()
    async with listening(app, PacedSocket) as port:
        relay = TcpRelay(port, rate=640_000)  # 20 messages a second
        await relay.open()
        ahead = []
        async with connect(f"ws://127.0.0.1:{relay.port}/", compression=None) as socket:
            for _ in range(40):
                got = await socket.recv()
                if isinstance(got, bytes):
                    ahead.append(app.sent - int.from_bytes(got[:4], "big"))
        relay.close()
        await asyncio.sleep(0)
    assert max(ahead) <= ON_THEIR_WAY + 1 + 4  # 4 where a busy machine makes the round trip a second long
    assert app.sent < 40 + 7
