"""The way without WebRTC: fragmented MP4 over a WebSocket, control messages beside it."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
from typing import Any

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from app.services import Studio
from streaming.live.registry import HostedSession
from streaming.media.broadcast import Broadcast
from streaming.media.fmp4 import Fmp4Muxer
from streaming.transport.commands import ControlError, parse, permitted

log = logging.getLogger(__name__)


def add(app: FastAPI, studio: Studio) -> None:
    @app.websocket("/api/sessions/{session}/stream")
    async def stream(socket: WebSocket, session: str) -> None:
        """Fragmented MP4 for a page that WebRTC does not reach, with the control messages as text beside it."""
        if session not in studio.sessions.hosted:
            await socket.close(1008, "no such session; it has ended")
            return
        hosted = studio.sessions.hosted[session]
        await socket.accept()
        await _stream(socket, hosted, socket.query_params.get("key"))


async def _stream(socket: WebSocket, hosted: HostedSession, key: str | None) -> None:
    session = hosted.session
    controls = hosted.take_seat() if hmac.compare_digest((key or "").encode(), hosted.key.encode()) else None
    told: asyncio.Queue[str] = asyncio.Queue(256)
    number = 0

    def tell(event: dict[str, Any]) -> None:
        nonlocal number
        number += 1
        if not told.full():
            told.put_nowait(json.dumps({"n": number, **event}))

    viewer, stop_listening = session.broadcast.join(), session.listen(tell)
    playout, heard = session.playout, session.playout.sound
    muxer = Fmp4Muxer(playout.picture_width, playout.picture_height, session.model.entry.fps, sound=heard is not None)
    tell({"type": "hello", "session": session.id, "controls": controls is not None, **session.facts()})
    tell(session.timeline())
    sending = asyncio.Lock()

    async def pictures() -> None:
        began = False
        while (packet := await viewer.get()) is not None:
            fragment = muxer.add(packet)
            if fragment is None:
                continue
            async with sending:
                if not began:
                    began = True
                    await socket.send_text(json.dumps({"type": "codec", "codec": muxer.codec}))
                    await socket.send_bytes(muxer.init)
                await socket.send_bytes(fragment.data)

    async def sounds(heard: Broadcast) -> None:
        hearer = heard.join()
        try:
            while (packet := await hearer.get()) is not None:
                muxer.add_sound(packet)
        finally:
            heard.leave(hearer)

    async def words() -> None:
        while True:
            text = await told.get()
            async with sending:
                await socket.send_text(text)

    async def statuses() -> None:
        while True:
            tell(session.status())
            await asyncio.sleep(0.5)

    async def commands() -> None:
        while True:
            message = await socket.receive_text()
            try:
                command = parse(message)
                permitted(command, controls)
                session.obey(command)
            except ControlError as e:
                tell({"type": "refused", "id": e.number, "why": str(e)})

    work = [pictures(), words(), statuses(), commands(), *([sounds(heard)] if heard is not None else [])]
    tasks = [asyncio.create_task(w) for w in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop_listening()
        session.broadcast.leave(viewer)
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect | RuntimeError):
                log.info("a stream ended: %r", result)
        with contextlib.suppress(Exception):
            await socket.close()
