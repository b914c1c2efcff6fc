"""Who may ask, from where, and how much: checks in front of every route, WebSockets included.

Without a token the server answers to this machine alone, by its own names: a page of another site whose name was made
to point here (DNS rebinding) is refused. A session's id is what a share link carries: whoever knows it
may watch that session, and nothing else.
"""

from __future__ import annotations

import hmac
import re
import time
from collections import deque
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import SplitResult, urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "longtake_token"
BODY_LIMIT = 128 * 1024  # bytes
SOUND_LIMIT = 16 * 1024 * 1024  # of what an avatar is to speak
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
POSTS_A_MINUTE = 240  # from one address
_OPEN = re.compile(r"/(healthz|readyz|login|watch/[0-9a-f]{32}|page/[a-z0-9_.]+)")
_SOUND = re.compile(r"/api/sessions/[0-9a-f]{32}/audio")
_WATCHING = re.compile(r"/(api/sessions/[0-9a-f]{32}/(offer|stream)|whep/[0-9a-f]{32}(/[0-9a-f]{32})?)")


class Guard:
    """ASGI middleware: token, own names, same origin, size of a body, rate of requests."""

    def __init__(
        self, app: ASGIApp, token: str | None, clock: Callable[[], float] = time.monotonic, *, local: bool = False
    ) -> None:
        """`local`: the server listens on this machine's own address and goes by its names only."""
        self._app, self._token, self._clock = app, token, clock
        self._local = local and token is None
        self._posts: dict[str, deque[float]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        status, why = self._refusal(scope)
        if status:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008, "reason": why})
                return
            await JSONResponse({"error": why}, status)(scope, receive, send)
            return
        await self._app(scope, self._measured(receive, scope), send)

    def _refusal(self, scope: Scope) -> tuple[int, str]:
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        path = scope["path"]
        if self._local and _split(f"//{headers.get('host', '')}").hostname not in LOCAL_NAMES:
            return 421, "without a token this server answers to localhost and 127.0.0.1 only"
        if not (_OPEN.fullmatch(path) or _WATCHING.fullmatch(path) or self.knows(headers)):
            return 401, "a token is needed: open /login, or send Authorization: Bearer TOKEN"
        changing = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD", "OPTIONS")
        origin = headers.get("origin")
        if changing and origin is not None and _split(origin).netloc != headers.get("host"):
            return 403, "requests from other sites are refused"
        if changing and not self._has_room(scope.get("client")):
            return 429, "too many requests; wait a little"
        length = headers.get("content-length", "0")
        if _limited(path) and (not length.isdigit() or int(length) > _limit(path)):
            return 413, f"a body has at most {_limit(path)} bytes"
        return 0, ""

    def knows(self, headers: dict[str, str]) -> bool:
        """Whether the request carries the token, compared in constant time."""
        if self._token is None:
            return True
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            cookie = None
        offered = bearer.strip() if scheme.lower() == "bearer" else cookie.value if cookie else ""
        return hmac.compare_digest(offered.encode(), self._token.encode())

    def _has_room(self, client: tuple[str, int] | None) -> bool:
        now, address = self._clock(), client[0] if client else ""
        if len(self._posts) > 10_000:
            self._posts.clear()
        posts = self._posts.setdefault(address, deque())
        while posts and now - posts[0] > 60:
            posts.popleft()
        posts.append(now)
        return len(posts) <= POSTS_A_MINUTE

    def _measured(self, receive: Receive, scope: Scope) -> Receive:
        """A body without a length is cut off where it grows too long."""
        if scope["type"] != "http" or not _limited(scope["path"]):
            return receive
        seen = 0

        async def measured() -> Message:
            nonlocal seen
            message: Any = await receive()
            seen += len(message.get("body", b""))
            return {"type": "http.disconnect"} if seen > _limit(scope["path"]) else message

        return measured


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # such as an address in brackets that is none
        return urlsplit("")


def _limit(path: str) -> int:
    return SOUND_LIMIT if _SOUND.fullmatch(path) else BODY_LIMIT


def _limited(path: str) -> bool:
    return path.startswith(("/api/", "/whep/", "/login"))
