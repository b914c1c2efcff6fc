"""Give errors of mounted applications, such as Gradio's, the shape of all other errors: `{"error": "one line"}`.

Below `/v1` all errors have the shape of OpenAI's: an object with `message`, `type`, `param` and `code`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from fastapi import APIRouter, HTTPException, Request
from fastapi.routing import APIRoute
from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
MOST = 64 * 1024  # bytes of an error's body; a longer one is passed on as it is


def fallback(routers: Sequence[APIRouter]) -> APIRouter:
    """Return a router for every path of the API, to be added after these.

    It answers 405 with `Allow` where one of them has other methods, and else 404. Without it the studio's page, which
    is mounted at the root, would answer 404 for both.
    """
    router = APIRouter()
    known = [route for one in routers for route in one.routes if isinstance(route, APIRoute)]

    @router.api_route("/v1/{rest:path}", methods=METHODS, include_in_schema=False)
    @router.api_route("/api/{rest:path}", methods=METHODS, include_in_schema=False)
    async def nothing_here(request: Request) -> None:
        others = [route for route in known if route.matches(request.scope)[0] is Match.PARTIAL]
        if allowed := {method for route in others for method in route.methods or ()}:
            methods = ", ".join(sorted(allowed | ({"HEAD"} if "GET" in allowed else set())))
            raise HTTPException(405, f"this address answers to {methods} only", {"Allow": methods})
        raise HTTPException(404, "there is nothing at this address")

    return router


class ErrorShape:
    """Rename the field `detail` of errors in JSON (ASGI middleware)."""

    def __init__(self, app: ASGIApp) -> None:
        """Change the errors that `app` answers with."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; hold back the start of an error until its body is there."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start: Message | None = None
        body = bytearray()

        async def answer(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and message["status"] >= 400 and _is_json(message):
                start = message
                return
            if start is not None and message["type"] == "http.response.body":
                body.extend(message.get("body", b""))
                if message.get("more_body", False) and len(body) <= MOST:
                    return
                shaped = _shaped(bytes(body)) if not message.get("more_body", False) else bytes(body)
                if scope["path"].removeprefix(scope.get("root_path", "")).startswith("/v1/"):
                    shaped = _as_openai(shaped, start["status"])
                MutableHeaders(scope=start)["content-length"] = str(len(shaped))
                await send(start)
                start, message = None, {**message, "body": shaped}
            await send(message)

        await self._app(scope, receive, answer)


def _is_json(start: Message) -> bool:
    headers = Headers(raw=start["headers"])
    return headers.get("content-type", "").startswith("application/json") and "content-encoding" not in headers


def _shaped(body: bytes) -> bytes:
    try:
        told = json.loads(body)
    except ValueError:
        return body
    if not isinstance(told, dict) or set(told) != {"detail"}:
        return body
    detail = told["detail"]
    return json.dumps({"error": detail if isinstance(detail, str) else "the request is not valid"}).encode()


def _as_openai(body: bytes, status: int) -> bytes:
    try:
        error = json.loads(body)["error"]
    except (ValueError, TypeError, KeyError):
        return body
    if isinstance(error, dict):
        return body
    types = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = types.get(status, "server_error" if status >= 500 else "invalid_request_error")
    code = {401: "invalid_api_key", 429: "rate_limit_exceeded"}.get(status)
    return json.dumps({"error": {"message": error, "type": kind, "param": None, "code": code}}).encode()
