"""Serve the WebSocket for pages that WebRTC does not reach: fragmented MP4 and the control channel."""

from __future__ import annotations

import hmac

from fastapi import APIRouter, WebSocket

from app.dependencies import ServicesOf
from streaming.transport.websocket import SocketViewer

router = APIRouter()


@router.websocket("/api/sessions/{session}/stream")
async def stream(socket: WebSocket, session: str, services: ServicesOf, key: str = "") -> None:
    """Send a session as fragmented MP4, and take commands from a viewer that gives the session's key."""
    if session not in services.sessions.hosted:
        await socket.close(1008, "no such session; it has ended")
        return
    hosted = services.sessions.hosted[session]
    controls = hosted.take_seat() if hmac.compare_digest(key.encode(), hosted.key.encode()) else None
    await socket.accept()
    await SocketViewer(socket, hosted.session, controls).run()
