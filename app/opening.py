"""Answer requests with a page that names what is loading until the studio is ready.

A server starts with this application. The studio is built in a thread, since imports take seconds; once it is built,
every request is passed on to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from html import escape

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Receive, Scope, Send

from app.standing_page import standing_page

log = logging.getLogger(__name__)

Build = Callable[[Callable[[str], None]], Starlette]  # gets a function to call with what is loading now
RETRY = {"Retry-After": "1", "Cache-Control": "no-store"}


class Opening:
    """Answer for a server that is starting (ASGI application), and pass requests on once the studio is built."""

    def __init__(self, build: Build, stop: Callable[[], None]) -> None:
        """Prepare to call `build` in a thread of its own, and `stop` on the event loop if it raises."""
        self._build, self._stop = build, stop
        self._began = time.monotonic()
        self._page = standing_page("opening")
        self._studio: Starlette | None = None
        self._leave = asyncio.Event()
        self.stage = "Longtake"  # what is loading
        self.failure: BaseException | None = None  # why the studio could not be built

    @property
    def loading(self) -> bool:
        """Return whether the thread that builds the studio may still run."""
        return self._studio is None and self.failure is None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on to the studio."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._studio is not None:
            await self._studio(scope, receive, send)
        elif scope["type"] == "websocket":
            # a client can read the reason only of a socket that was accepted
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": 1013, "reason": self._reason()})  # try again later
        else:
            await self._answer(scope)(scope, receive, send)

    def _reason(self) -> str:
        return f"Longtake is starting: loading {self.stage}"

    def _answer(self, scope: Scope) -> Response:
        path, seconds = scope["path"], round(time.monotonic() - self._began, 1)
        if path == "/healthz":
            return JSONResponse({"status": "ok"})
        if path == "/readyz":
            return JSONResponse({"ready": False, "reason": self._reason(), "seconds": seconds}, 503, headers=RETRY)
        if scope["method"] in ("GET", "HEAD") and "text/html" in Headers(scope=scope).get("accept", ""):
            base = "../" * (path.count("/") - 1) or "./"  # addresses are relative: a proxy may serve them below a path
            page = self._page.replace("{{stage}}", escape(self.stage)).replace("{{base}}", base)
            return HTMLResponse(page, 503, headers=RETRY)
        return JSONResponse({"error": self._reason()}, 503, headers=RETRY)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Handle the ASGI lifespan: report the start at once, and the end when the studio's own lifespan has ended."""
        await receive()
        running = asyncio.create_task(self._run())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._leave.set()
        if not self.loading:
            await running
        await send({"type": "lifespan.shutdown.complete"})

    async def _run(self) -> None:
        """Build the studio, and keep its lifespan open until the server ends."""
        try:
            studio = await self._built()
            async with studio.router.lifespan_context(studio):
                self._studio = studio
                log.info("ready after %.1f s", time.monotonic() - self._began)
                await self._leave.wait()
        except BaseException as e:
            self.failure = e
            self._stop()

    async def _built(self) -> Starlette:
        loop = asyncio.get_running_loop()
        built: asyncio.Future[Starlette] = loop.create_future()

        def say(stage: str) -> None:
            log.info("loading %s", stage)
            self.stage = stage

        def finish(studio: Starlette | None, error: BaseException | None) -> None:
            if built.done():
                return
            if studio is not None:
                built.set_result(studio)
            elif error is not None:
                built.set_exception(error)

        def work() -> None:
            studio, error = None, None
            try:
                studio = self._build(say)
            except BaseException as e:
                error = e
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(finish, studio, error)

        # a daemon thread, so that stopping a server that still loads does not wait for imports
        threading.Thread(target=work, name="opening", daemon=True).start()
        return await built
