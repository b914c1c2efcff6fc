"""Add headers by which browsers run only this server's scripts in the pages and show them in no foreign frame."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.origins import Origin

_SCRIPT = re.compile(rb"<script(?=[\s>])")
_EMBEDDED = re.compile(r"/watch/[^/]+")
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # a share link's address alone permits watching, so other sites must not see it
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(self), geolocation=(), payment=(), usb=()",
}


class AnswerHeaders:
    """Add security headers to every answer (ASGI middleware).

    Inline scripts get a nonce (Content Security Policy Level 3, 'nonce-source'), new with each answer, so that injected
    scripts do not run. Gradio creates functions from text, which needs 'unsafe-eval', and sets styles on elements. An
    answer that already has a policy is not changed.
    """

    def __init__(self, app: ASGIApp, embedders: Sequence[Origin] = ()) -> None:
        """Add headers to the answers of `app`; pages of `embedders` may show a share link's page in a frame."""
        self._app, self._embedders = app, embedders

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and add the security headers to its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        frames = self._embedders if _EMBEDDED.fullmatch(path) else ()
        nonce = secrets.token_urlsafe(16)
        start: Message = {}
        page = bytearray()

        async def answer(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and not _has_policy(message):
                headers = MutableHeaders(scope=message)
                for name, value in _headers(nonce, frames, api=path.startswith("/api/")).items():
                    headers.setdefault(name, value)
                if headers.get("content-type", "").startswith("text/html") and "content-encoding" not in headers:
                    start = message  # sent with the page: its length changes
                    return
            elif start and message["type"] == "http.response.body":
                page.extend(message.get("body", b""))
                if message.get("more_body", False):
                    return
                body = _SCRIPT.sub(f'<script nonce="{nonce}"'.encode(), bytes(page))
                MutableHeaders(scope=start)["content-length"] = str(len(body))
                await send(start)
                message = {**message, "body": body}
            await send(message)

        await self._app(scope, receive, answer)


def _has_policy(start: Message) -> bool:
    return "content-security-policy" in MutableHeaders(scope=start)


def _headers(nonce: str, frames: Sequence[Origin], *, api: bool) -> dict[str, str]:
    policy = {
        "default-src": "'self'",
        "script-src": f"'self' 'nonce-{nonce}' 'unsafe-eval'",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "media-src": "'self' blob:",
        "font-src": "'self' data:",
        "worker-src": "'self' blob:",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": " ".join(["'self'", *map(str, frames)]),
    }
    headers = {**HEADERS, "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items())}
    if not frames:  # it knows no list, and newer browsers read `frame-ancestors`
        headers["X-Frame-Options"] = "SAMEORIGIN"
    return headers | ({"Cache-Control": "no-store"} if api else {})
