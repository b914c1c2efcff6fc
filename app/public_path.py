"""Serve under a path of a proxy, such as `https://example.org/longtake`."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from app.origins import PublicAddress


class PublicPath:
    """Set every request's host and root path to the public address (ASGI middleware; ASGI 3.0, `root_path`).

    The proxy may remove its own path or pass it on, and may use any host name.
    """

    def __init__(self, app: ASGIApp, address: PublicAddress) -> None:
        """Wrap `app`, which is reached at this public address."""
        self._app, self._path = app, address.path
        self._schemes = {"http": address.origin.scheme, "websocket": address.origin.scheme.replace("http", "ws")}
        self._host = str(address.origin).partition("://")[2].encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its public address."""
        if scope["type"] in self._schemes:
            path: str = scope["path"]
            headers = [(name, value) for name, value in scope["headers"] if name not in (b"host", b"x-forwarded-host")]
            scope = {
                **scope,
                "scheme": self._schemes[scope["type"]],
                "headers": [(b"host", self._host), *headers],
                "path": path if path.startswith(f"{self._path}/") else self._path + path,
                "root_path": self._path,
            }
        await self._app(scope, receive, send)
