"""Serve a session over a WebSocket to pages that WebRTC does not reach: fragmented MP4 and control messages."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from streaming.live.session import Session
from streaming.media.fmp4 import Fmp4Muxer, Fragment
from streaming.transport.control_channel import ControlChannel
from streaming.transport.events import CodecEvent
from streaming.transport.socket_line import SocketLine

log = logging.getLogger(__name__)

FAREWELL_SECONDS = 0.5  # for the message that the session has ended
NORMAL, NOT_PERMITTED = 1000, 1008  # close codes (RFC 6455, section 7.4.1)
LONGEST_REASON = 123  # bytes of the reason beside a close code (RFC 6455, section 5.5)
MOST_MESSAGES = 256  # that may wait to be sent; later ones are dropped, as their numbers show


class SocketViewer:
    """Serve one viewer: the film as binary messages, each a whole fragment, and events and commands as text."""

    def __init__(self, socket: WebSocket, session: Session, controls: Callable[[], bool] | None) -> None:
        """Serve an accepted socket; `controls` says whether the viewer controls the session (None: it only watches)."""
        self._socket, self._session = socket, session
        self._messages: asyncio.Queue[str] = asyncio.Queue(MOST_MESSAGES)
        self._channel = ControlChannel(session, controls, self._send)
        playout = session.playout
        self._muxer = Fmp4Muxer(
            playout.picture_width, playout.picture_height, playout.fps, sound=playout.sound is not None
        )
        self._opening = asyncio.Lock()  # codec, initialisation and first fragment are sent without a message between
        self._sending = asyncio.Lock()  # while a slow socket takes the film, sound waits in the broadcast's queue

    async def run(self, dismissed: asyncio.Future[str]) -> None:
        """Serve until the session is over or the viewer has left, then close the socket.

        With the result of `dismissed`, a line for a person, the socket is closed because watching is not permitted any
        more.
        """
        work = [self._send_film(), self._send_messages(), self._channel.tell_status(), self._receive()]
        code, reason = NORMAL, ""
        if self._session.playout.sound is not None:
            work.append(self._collect_sound())
        tasks = [asyncio.create_task(w) for w in work]
        try:
            waited: list[asyncio.Future[Any]] = [*tasks, dismissed]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if dismissed.done():
                code, reason = NOT_PERMITTED, fitting_reason(dismissed.result())
            if self._channel.flooded.is_set():
                code, reason = NOT_PERMITTED, "too many messages"
            if self._session.over or self._channel.flooded.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._messages.join(), FAREWELL_SECONDS)
        finally:
            self._channel.close()
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                # writing to a closed socket raises RuntimeError
                if isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect | RuntimeError):
                    log.info("a stream ended: %r", result)
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await self._socket.close(code, reason)

    def _send(self, text: str) -> None:
        if not self._messages.full():
            self._messages.put_nowait(text)

    async def _send_messages(self) -> None:
        while True:
            text = await self._messages.get()
            async with self._opening:
                await self._socket.send_text(text)
            self._messages.task_done()

    async def _send_film(self) -> None:
        viewer, begun = self._session.broadcast.join(), False
        line = SocketLine(viewer, 1.1 * self._session.playout.bitrate)
        try:
            while (packet := await viewer.get()) is not None:
                fragment = self._muxer.add(packet)
                if fragment is None:
                    continue
                async with self._sending:
                    began = time.monotonic()
                    if begun:
                        await self._socket.send_bytes(fragment.data)
                    else:
                        begun = True
                        await self._begin(fragment)
                line.sent(len(fragment.data), time.monotonic() - began)
                self._channel.slow = viewer.line is not None
        finally:
            self._session.broadcast.leave(viewer)

    async def _begin(self, fragment: Fragment) -> None:
        async with self._opening:
            await self._socket.send_text(json.dumps(CodecEvent(codec=self._muxer.codec).wire()))
            await self._socket.send_bytes(self._muxer.init)
            await self._socket.send_bytes(fragment.data)

    async def _collect_sound(self) -> None:
        sound = self._session.playout.sound
        if sound is None:
            return
        viewer = sound.join()
        try:
            while (packet := await viewer.get()) is not None:
                async with self._sending:
                    self._muxer.add_sound(packet)
        finally:
            sound.leave(viewer)

    async def _receive(self) -> None:
        while not self._channel.flooded.is_set():
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text: str | None = message.get("text")  # some clients send JSON as a binary message
            self._channel.receive(message["bytes"] if text is None else text)


def fitting_reason(text: str) -> str:
    """Return the beginning of a text that fits into a close frame, without half a character at its end."""
    return text.encode()[:LONGEST_REASON].decode(errors="ignore")
