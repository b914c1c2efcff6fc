"""Let few messages of a film be on their way to a WebSocket at a time, so that what is sent is near to what arrives.

TCP, and proxies before it, hold hundreds of kilobytes, which on a line of 60 kbit/s is a minute of film. So each binary
message is followed by a ping (RFC 6455, section 5.5.2), whose pong tells that the client has the message.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import TYPE_CHECKING, Any

from app.bounded_connections import BoundedSocket

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent
    from websockets.frames import Frame

MARK = b"film"  # begins the payload of these pings
ON_THEIR_WAY = 2  # messages, and as many more as are sent during a round trip without a queue
MESSAGE_SECONDS = 0.25  # of film in a message, about


class PacedSocket(BoundedSocket):
    """Serve a WebSocket as BoundedSocket does; sending waits while more binary messages are on their way than needed.

    A client whose pongs do not come is closed by uvicorn's own pings after 20 s.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Prepare a socket with uvicorn's arguments."""
        super().__init__(*arguments, **named)
        self._marks: deque[tuple[bytes, float]] = deque()  # payload, and when it was sent
        self._number = 0
        self._shortest = math.inf  # seconds between a ping and its pong
        self._room = asyncio.Event()
        self._room.set()

    async def send(self, message: ASGISendEvent) -> None:
        """Send a message; a binary one when few enough are on their way."""
        film = message["type"] == "websocket.send" and message.get("bytes") is not None
        if film:
            await self._room.wait()
        await super().send(message)
        if film and not (self.disconnected or self.close_sent or self.transport.is_closing()):
            self._number += 1
            self._marks.append((MARK + self._number.to_bytes(8, "big"), self.loop.time()))
            self.conn.send_ping(self._marks[-1][0])
            self.transport.write(b"".join(self.conn.data_to_send()))
            self._look()

    def handle_pong(self, event: Frame) -> None:
        """Note which messages have arrived."""
        payload = bytes(event.data)
        if not payload.startswith(MARK):
            super().handle_pong(event)
            return
        while self._marks and self._marks[0][0] <= payload:
            _, sent = self._marks.popleft()
            self._shortest = min(self._shortest, self.loop.time() - sent)
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let what waits find that the connection is gone."""
        super().connection_lost(exc)
        self._marks.clear()
        self._room.set()

    def _look(self) -> None:
        trip = 0.0 if math.isinf(self._shortest) else min(1.0, self._shortest)
        if len(self._marks) < ON_THEIR_WAY + math.ceil(trip / MESSAGE_SECONDS):
            self._room.set()
        else:
            self._room.clear()
