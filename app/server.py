"""The HTTP side of the studio: sessions, signalling, takes, health and metrics. OpenAPI documentation at /docs."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.types import Lifespan

from app.routes import avatars, health, sessions, stream, takes
from app.security import Guard
from app.services import Studio

log = logging.getLogger(__name__)


def create(studio: Studio, token: str | None, *, local: bool = False) -> FastAPI:
    """The server's routes; the studio page is mounted by `app.gradio_page`.

    `local`: it listens on this machine's own address.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with studio.running():
            yield

    life: Lifespan[FastAPI] = lifespan
    app = FastAPI(title="Longtake", version="0.1.0", lifespan=life)
    app.add_middleware(Guard, token=token, local=local)

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> JSONResponse:
        log.error("a request failed", exc_info=error)
        return JSONResponse({"error": "the server failed; its log says more"}, 500)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]  # without the input: it may be large, or not even JSON
        field = ".".join(str(p) for p in first["loc"] if p != "body")
        return JSONResponse({"error": f"{field}: {first['msg']}" if field else first["msg"]}, 422)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)

    sessions.add(app, studio)
    avatars.add(app, studio)
    stream.add(app, studio)
    takes.add(app, studio)
    health.add(app, studio, token)
    return app
