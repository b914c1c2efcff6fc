"""Assemble the HTTP server from routes, error answers and checks; its documentation is at /docs (OpenAPI)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app import __version__, osc_input
from app.answer_headers import AnswerHeaders
from app.answer_schemas import ERRORS
from app.bounded_connections import DescriptorErrors
from app.credentials import Credentials
from app.error_shape import ErrorShape, fallback
from app.errors import add_handlers
from app.head_requests import HeadRequests
from app.page_folder import PageFiles
from app.public_path import PublicPath
from app.routes import (
    avatars,
    clips,
    files,
    health,
    ingest,
    login,
    models,
    renders,
    sessions,
    share_links,
    takes,
    videos,
    watch,
    websocket,
)
from app.security import Guard
from app.services import Services
from app.settings import Settings


def create(services: Services, settings: Settings, *, local: bool = False, osc: socket.socket | None = None) -> FastAPI:
    """Return the server without the studio page, which `app.gradio_page` mounts.

    `local` is true if the server listens only on this machine's own address; `osc` is a socket of `app.osc_input`.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        asyncio.get_running_loop().set_exception_handler(DescriptorErrors())
        async with services.running(), osc_input.obeying(services, osc):
            yield

    app: FastAPI = FastAPIOffline(  # its /docs loads nothing from other sites
        title="Longtake",
        version=__version__,
        lifespan=lifespan,
        responses=ERRORS,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would contain the proxy's internal host name
    )
    credentials = Credentials(settings.token, video_keys=settings.video_keys)
    app.state.services, app.state.settings, app.state.credentials = services, settings, credentials
    _add_checks(app, services, settings, credentials, local=local)
    add_handlers(app)
    live = (models, sessions, share_links, websocket, watch, ingest, files, avatars)
    modules = (*live, takes, clips, renders, videos, health, login)
    for module in modules:
        app.include_router(module.router)
    app.include_router(fallback([module.router for module in modules]))
    app.mount("/page", PageFiles())
    return app


def _add_checks(app: FastAPI, services: Services, settings: Settings, credentials: Credentials, *, local: bool) -> None:
    """Add the middleware that every request and answer passes; the last one added is the outermost."""
    trusted = settings.origins if settings.public is None else (*settings.origins, settings.public.origin)
    app.add_middleware(Guard, credentials=credentials, holds_key=services.holds_key, origins=trusted, local=local)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=[str(origin) for origin in settings.origins],
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["authorization", "content-type", "if-match", "x-longtake-key"],
            expose_headers=["etag", "link", "location", "retry-after"],
        )
    app.add_middleware(ErrorShape)
    app.add_middleware(AnswerHeaders, embedders=settings.origins)
    app.add_middleware(HeadRequests)
    if settings.public is not None:
        app.add_middleware(PublicPath, address=settings.public)
    if settings.proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=list(settings.proxies))
