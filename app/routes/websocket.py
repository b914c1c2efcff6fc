"""Serve the WebSocket for pages that WebRTC does not reach: fragmented MP4 and the control channel."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Header, Query, WebSocket
from starlette.exceptions import HTTPException

from app.dependencies import ServicesOf, avatar_of, watched
from models.errors import UserError
from streaming.transport.sound_socket import SoundSocket
from streaming.transport.websocket import NOT_PERMITTED, SocketViewer, fitting_reason

router = APIRouter()
TRY_AGAIN = 1013  # a close code (IANA's registry of RFC 6455)


@router.websocket("/api/sessions/{session}/stream")
async def stream(
    socket: WebSocket,
    session: str,
    services: ServicesOf,
    key: str = "",
    viewer: Annotated[str | None, Query(min_length=16, max_length=64)] = None,
) -> None:
    """Send a session as fragmented MP4, and take commands from a viewer that gives the session's key.

    The socket is closed with 1008 and the reason if watching is not permitted, or no longer.
    """
    dismissed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def leave(why: str) -> None:
        if not dismissed.done():
            dismissed.set_result(why)

    try:
        if key:
            hosted, link = services.controlled(session, key), None
        else:
            found = await watched(session, socket, services)
            hosted, link = found.hosted, found.link
        viewing = services.count_viewer(hosted, leave, controls=bool(key), link=link, viewer=viewer)
    except UserError as e:
        await _refuse(socket, NOT_PERMITTED, str(e))
        return
    except HTTPException as e:
        await _refuse(socket, TRY_AGAIN if e.status_code == 503 else NOT_PERMITTED, str(e.detail))
        return
    try:
        await socket.accept()
        controls = hosted.take_seat() if key else None
        await SocketViewer(socket, hosted.session, controls).run(dismissed)
    finally:
        services.audience.remove(viewing)


@router.websocket("/api/sessions/{session}/audio")
async def sound(
    socket: WebSocket,
    session: str,
    services: ServicesOf,
    key: str = "",
    x_longtake_key: Annotated[str | None, Header()] = None,
) -> None:
    """Take an avatar's sound from the holder of the session's key, who need not watch and takes no seat from a page."""
    try:
        hosted = services.controlled(session, x_longtake_key or key)
        avatar = avatar_of(hosted)
    except UserError as e:
        await _refuse(socket, NOT_PERMITTED, str(e))
        return
    with services.sessions.answering(hosted):
        await socket.accept()
        await SoundSocket(socket, hosted.session, avatar).run()


async def _refuse(socket: WebSocket, code: int, reason: str) -> None:
    """Close a socket with a reason that a page can read, which it cannot before the socket is accepted."""
    await socket.accept()
    await socket.close(code, fitting_reason(reason))
