"""Check token, host name, origin, rate, size and pace of every request, WebSockets included, before its route.

Without a token the server answers only requests for this machine's own names, which refuses pages of other sites whose
name is made to resolve to this machine (DNS rebinding). A share link permits only watching a session; a session's key
permits controlling it.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from limits import RateLimitItemPerMinute
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.credentials import Credentials, Rates, TooManyError, network_of
from app.origins import Origin, from_own_page, origin_of
from app.share_links import PATTERN
from streaming.take.uploaded_files import MOST_LORA_BYTES

log = logging.getLogger(__name__)

BODY_LIMIT = 128 * 1024  # bytes
SOUND_LIMIT = 16 * 1024 * 1024  # bytes of a sound that an avatar speaks, or of an order with a picture
BODY_SECONDS = 30.0  # total time that the server waits for a request's body
FILE_LIMIT = MOST_LORA_BYTES + (16 << 10)  # of a file for a session's take, in a form or not; other kinds end before
SOUND_SECONDS = 300.0  # the same of a sound (at least 0.5 Mbit/s), a picture or a film (2 Mbit/s)
FILE_SECONDS = 900.0  # the same of a LoRA (10 Mbit/s), which is known only once it has begun
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
OFFERS = RateLimitItemPerMinute(60, namespace="offers")  # without a key, from one address: each opens a connection
CHANGES = RateLimitItemPerMinute(240)  # requests that change something, from one address
COMMANDS = RateLimitItemPerMinute(6000)  # to one session with its key: sounds of 10 ms each, as they are spoken
LOGGED = RateLimitItemPerMinute(10, namespace="logged")  # refused requests of one address that are logged
_OPEN = re.compile(rf"/(healthz|readyz|login|logout|watch/{PATTERN}|page/[\w./-]+)")
_SOUND = re.compile(r"/api/sessions/[0-9a-f]{32}/audio")
_FILE = re.compile(r"/api/sessions/[0-9a-f]{32}/files")
_VIDEOS = re.compile(r"/v1/videos(/.*)?")  # what keys for videos permit
_ORDER = re.compile(r"/v1/videos/?")
# their routes check the share link, the key or the token, since a key may stand in the body or the query
_WATCHING = re.compile(
    rf"/(api/sessions/({PATTERN}|[0-9a-f]{{32}}/(offer|stream|ice|audio)|{PATTERN}/(offer|stream|ice))"
    rf"|wh[ei]p/({PATTERN}|[0-9a-f]{{32}})(/[0-9a-f]{{32}})?)"
)
_OFFER = re.compile(r"/(api/sessions/[^/]+/offer|wh[ei]p/[^/]+)")
_SESSION = re.compile(r"/api/sessions/([0-9a-f]{32})(/.*)?")
# Gradio's endpoints that its pages ask for at their start, and those of the studio's page that call its functions; its
# uploads and files are used by nothing here
_GRADIO = re.compile(r"(/avatar)?/gradio_api/(?!(heartbeat/|startup-events|info|app_id)).*")
_CALLS = re.compile(r"/gradio_api/(queue/(join|data)|call/(v2/)?[a-z_]+(/[0-9a-f]{32})?|cancel)")


@dataclass(frozen=True)
class Refusal:
    """Hold the answer to a refused request."""

    status: int
    reason: str
    headers: dict[str, str] = field(default_factory=dict)


class Guard:
    """Check every request before the application (ASGI middleware), and answer refused requests."""

    def __init__(
        self,
        app: ASGIApp,
        credentials: Credentials,
        *,
        holds_key: Callable[[str, str], bool],
        origins: Collection[Origin] = (),
        local: bool = False,
    ) -> None:
        """Wrap `app`.

        `holds_key` returns whether the session of an id has a key. Pages of `origins` have the rights of the server's
        own page. `local` is true if the server listens only on this machine's own address.
        """
        self._app, self._credentials, self._holds_key, self._origins = app, credentials, holds_key, frozenset(origins)
        self._own_names_only = local and not credentials.needed
        self._rates = Rates()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check an HTTP request or the start of a WebSocket."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, _bounded(receive, scope), send)
            return
        self._log(scope, refusal)
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refusal.reason})
        else:
            await _answer(scope, refusal)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Refusal | None:
        headers, path, address = Headers(scope=scope), _path(scope), _address(scope)
        if self._own_names_only and not _asks_for_own_name(headers):
            return Refusal(421, "without a token this server answers to localhost and 127.0.0.1 only")
        session = _SESSION.fullmatch(path)
        keyed = session is not None and self._holds_key(session[1], headers.get("x-longtake-key", ""))
        changing = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD", "OPTIONS")
        try:
            free = keyed or _OPEN.fullmatch(path) is not None or _WATCHING.fullmatch(path) is not None
            free = free or (_VIDEOS.fullmatch(path) is not None and self._credentials.owner(headers) is not None)
            if not free and not self._credentials.accept(headers, address):
                return Refusal(401, "a token is needed: open /login, or send Authorization: Bearer TOKEN")
            if changing and not self._may_change(headers):
                return Refusal(403, "requests from other sites are refused")
            if changing:
                self._count(scope, session[1] if session is not None and keyed else None)
        except TooManyError as e:
            return Refusal(429, e.detail, dict(e.headers or {}))
        if _GRADIO.fullmatch(path) and not _CALLS.fullmatch(path):
            return Refusal(404, "not found")
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > _body_limit(path):
            return Refusal(413, f"a body has at most {_body_limit(path)} bytes")
        return None

    def _may_change(self, headers: Headers) -> bool:
        return from_own_page(headers) or origin_of(headers["origin"]) in self._origins

    def _count(self, scope: Scope, session: str | None) -> None:
        """Count a changing request by the session's key or else by address; raise TooManyError beyond the limit."""
        path, reason = _path(scope), "too many requests; wait a little"
        if session is None:
            if _OFFER.fullmatch(path) and scope.get("method") == "POST":
                self._rates.count(OFFERS, network_of(_address(scope)), "too many offers; wait a little")
            if path != "/login":  # wrong tokens are counted instead
                self._rates.count(CHANGES, network_of(_address(scope)), reason)
        elif scope.get("method") != "DELETE" and not path.endswith("/interrupt"):  # stopping something is never limited
            self._rates.count(COMMANDS, session, reason)

    def _log(self, scope: Scope, refusal: Refusal) -> None:
        address = _address(scope)
        try:
            self._rates.count(LOGGED, address, "")
        except TooManyError:
            log.debug("%r from %s refused: %s", scope["path"][:200], address, refusal.reason)
        else:
            log.warning("%r from %s refused: %s", scope["path"][:200], address, refusal.reason)


def _answer(scope: Scope, refusal: Refusal) -> Response:
    accepts = Headers(scope=scope).get("accept", "")
    if refusal.status == 401 and scope["method"] == "GET" and "text/html" in accepts:  # a browser's request for a page
        # relative, since a proxy may add a path
        return RedirectResponse("../" * (_path(scope).count("/") - 1) + "login", 303)
    return JSONResponse({"error": refusal.reason}, refusal.status, refusal.headers)


def _bounded(receive: Receive, scope: Scope) -> Receive:
    """Return a `receive` that raises HTTPException for a body that is too large (413) or too slow (408)."""
    if scope["type"] != "http":
        return receive
    path, received, complete = _path(scope), 0, False
    slow = _SOUND.fullmatch(path) or _ORDER.fullmatch(path)
    seconds = SOUND_SECONDS if slow else FILE_SECONDS if _FILE.fullmatch(path) else BODY_SECONDS

    async def bounded() -> Message:
        nonlocal received, complete, seconds
        if complete:  # the next message is the end of the connection, for which no time limit holds
            return await receive()
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(seconds):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, "the body did not arrive in time", {"Connection": "close"}) from None
        seconds -= loop.time() - began  # only waiting counts, since an avatar may read its sound late
        received += len(message.get("body", b""))
        complete = not message.get("more_body", False)
        if received > _body_limit(path):
            raise HTTPException(413, f"a body has at most {_body_limit(path)} bytes", {"Connection": "close"})
        return message

    return bounded


def _asks_for_own_name(headers: Headers) -> bool:
    origin = origin_of(f"http://{headers.get('host', '')}")
    return origin is not None and origin.host in LOCAL_NAMES


def _path(scope: Scope) -> str:
    """Return the path of a request below the server's own root."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _address(scope: Scope) -> str:
    """Return the address that a request comes from, as the socket or a trusted proxy sees it."""
    return str((scope.get("client") or ("?",))[0])


def _body_limit(path: str) -> int:
    if _FILE.fullmatch(path):
        return FILE_LIMIT
    return SOUND_LIMIT if _SOUND.fullmatch(path) or _ORDER.fullmatch(path) else BODY_LIMIT
