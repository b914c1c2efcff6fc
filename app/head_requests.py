"""Answer HEAD at every address that answers GET: with the same headers and no body (RFC 9110, section 9.3.2)."""

from __future__ import annotations

import contextlib

from starlette.types import ASGIApp, Message, Receive, Scope, Send

PATHSEND = "http.response.pathsend"  # of ASGI: an application sends a file's path instead of what is in it


class HeadRequests:
    """Pass HEAD on as GET, and send no body (ASGI middleware).

    Files are not read for it, and what is made while it is sent is made no further than its first part.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Answer HEAD by what `app` answers to GET."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        ended = False

        async def answer(message: Message) -> None:
            nonlocal ended
            if message["type"] not in ("http.response.body", PATHSEND):
                await send(message)
                return
            if not ended:
                ended = True
                await send({"type": "http.response.body", "body": b""})
            if message.get("more_body", False):
                raise _NoMore

        as_get = {
            **scope,
            "method": "GET",
            "headers": [(name, value) for name, value in scope["headers"] if name != b"range"],  # is GET's alone
            "extensions": {**scope.get("extensions", {}), PATHSEND: {}},
        }
        with contextlib.suppress(_NoMore):
            await self._app(as_get, receive, answer)


class _NoMore(Exception):
    """End an answer whose body is not needed."""
