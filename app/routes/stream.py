"""The WebSocket on which a page that WebRTC does not reach gets its film and its control messages."""

from __future__ import annotations

import hmac

from fastapi import FastAPI, WebSocket

from app.services import Studio
from streaming.transport.socket import SocketViewer


def add(app: FastAPI, studio: Studio) -> None:
    """Add the route to the server."""

    @app.websocket("/api/sessions/{session}/stream")
    async def stream(socket: WebSocket, session: str) -> None:
        """Send a session as fragmented MP4, and take commands from a viewer that gives the session's key."""
        if session not in studio.sessions.hosted:
            await socket.close(1008, "no such session; it has ended")
            return
        hosted = studio.sessions.hosted[session]
        key = socket.query_params.get("key") or ""
        controls = hosted.take_seat() if hmac.compare_digest(key.encode(), hosted.key.encode()) else None
        await socket.accept()
        await SocketViewer(socket, hosted.session, controls).run()
