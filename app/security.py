"""Check every request before its route, WebSockets included: token, host name, origin, rate and size.

Without a token the server answers only requests for this machine's own names: a page of another site whose name was
made to point here (DNS rebinding) is refused. A share link carries a session's id, which is enough to watch that
session, and for nothing else.
"""

from __future__ import annotations

import hmac
import logging
import re
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import SplitResult, urlsplit

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)

COOKIE = "longtake_token"
BODY_LIMIT = 128 * 1024  # bytes
SOUND_LIMIT = 16 * 1024 * 1024  # bytes of a sound that an avatar speaks
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
CHANGES = RateLimitItemPerMinute(240)  # requests that change something, from one address
_OPEN = re.compile(r"/(healthz|readyz|login|watch/[0-9a-f]{32}|page/[\w./-]+)")
_SOUND = re.compile(r"/api/sessions/[0-9a-f]{32}/audio")
_WATCHING = re.compile(r"/(api/sessions/[0-9a-f]{32}/(offer|stream)|wh[ei]p/[0-9a-f]{32}(/[0-9a-f]{32})?)")


@dataclass(frozen=True)
class Refusal:
    """Hold the answer to a refused request."""

    status: int
    reason: str


class Guard:
    """Check every request before the application gets it (ASGI middleware), and answer refused ones."""

    def __init__(self, app: ASGIApp, token: str | None, *, local: bool = False) -> None:
        """Guard `app` with a token, or without for None; `local`: the server listens on this machine's own address."""
        self._app, self._token = app, token
        self._own_names_only = local and token is None
        self._rates = MovingWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check an HTTP request or the start of a WebSocket."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, _with_limit(receive, scope), send)
            return
        log.warning("%r from %s refused: %s", scope["path"][:200], (scope.get("client") or ("?",))[0], refusal.reason)
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refusal.reason})
        else:
            await JSONResponse({"error": refusal.reason}, refusal.status)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Refusal | None:
        headers, path = Headers(scope=scope), scope["path"]
        if self._own_names_only and _split(f"//{headers.get('host', '')}").hostname not in LOCAL_NAMES:
            return Refusal(421, "without a token this server answers to localhost and 127.0.0.1 only")
        if not (_OPEN.fullmatch(path) or _WATCHING.fullmatch(path) or self._carries_token(headers)):
            return Refusal(401, "a token is needed: open /login, or send Authorization: Bearer TOKEN")
        changing = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD", "OPTIONS")
        origin = headers.get("origin")
        if changing and origin is not None and _split(origin).netloc != headers.get("host"):
            return Refusal(403, "requests from other sites are refused")
        if changing and not self._rates.hit(CHANGES, (scope.get("client") or ("",))[0]):
            return Refusal(429, "too many requests; wait a little")
        length = headers.get("content-length", "0")
        if _is_limited(path) and (not length.isdigit() or int(length) > _body_limit(path)):
            return Refusal(413, f"a body has at most {_body_limit(path)} bytes")
        return None

    def _carries_token(self, headers: Headers) -> bool:
        """Return whether a request carries the token, as a bearer or a cookie; the comparison takes constant time."""
        if self._token is None:
            return True
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            cookie = None
        offered = bearer.strip() if scheme.lower() == "bearer" else cookie.value if cookie else ""
        return hmac.compare_digest(offered.encode(), self._token.encode())


def _with_limit(receive: Receive, scope: Scope) -> Receive:
    """Return a `receive` that ends a body larger than the limit as if the client had disconnected."""
    if scope["type"] != "http" or not _is_limited(scope["path"]):
        return receive
    received = 0

    async def limited() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        return {"type": "http.disconnect"} if received > _body_limit(scope["path"]) else message

    return limited


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # such as brackets around something that is no address
        return urlsplit("")


def _body_limit(path: str) -> int:
    return SOUND_LIMIT if _SOUND.fullmatch(path) else BODY_LIMIT


def _is_limited(path: str) -> bool:
    return path.startswith(("/api/", "/whep/", "/whip/", "/login"))
