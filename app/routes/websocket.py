"""Serve the WebSocket for pages that WebRTC does not reach: fragmented MP4 and the control channel."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated

from fastapi import APIRouter, Query, WebSocket
from starlette.exceptions import HTTPException

from app.dependencies import ServicesOf, watched
from models.errors import UserError
from streaming.transport.websocket import SocketViewer

router = APIRouter()
REFUSED, TRY_AGAIN = 1008, 1013  # close codes (RFC 6455 and its registry)


@router.websocket("/api/sessions/{session}/stream")
async def stream(
    socket: WebSocket,
    session: str,
    services: ServicesOf,
    key: str = "",
    viewer: Annotated[str | None, Query(min_length=16, max_length=64)] = None,
) -> None:
    """Send a session as fragmented MP4, and take commands from a viewer that gives the session's key."""
    serving: asyncio.Task[None] | None = None

    def leave() -> None:
        if serving is not None:
            serving.cancel()

    try:
        if key:
            hosted, link = services.controlled(session, key), None
        else:
            found = await watched(session, socket, services)
            hosted, link = found.hosted, found.link
        viewing = services.count_viewer(hosted, leave, controls=bool(key), link=link, viewer=viewer)
    except UserError as e:
        await _refuse(socket, REFUSED, str(e))
        return
    except HTTPException as e:
        await _refuse(socket, TRY_AGAIN if e.status_code == 503 else REFUSED, str(e.detail))
        return
    try:
        await socket.accept()
        controls = hosted.take_seat() if key else None
        serving = asyncio.create_task(SocketViewer(socket, hosted.session, controls).run())
        with contextlib.suppress(asyncio.CancelledError):
            await serving
    finally:
        leave()
        services.audience.remove(viewing)


async def _refuse(socket: WebSocket, code: int, reason: str) -> None:
    """Close a socket with a reason that a page can read, which it cannot before the socket is accepted."""
    await socket.accept()
    await socket.close(code, reason[:120])
