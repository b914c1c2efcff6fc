"""Put the HTTP server together: routes, error answers, checks. It documents itself at /docs (OpenAPI)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from app import __version__
from app.answer_schemas import ERRORS
from app.errors import add_handlers
from app.page_folder import PageFiles
from app.routes import avatars, health, ingest, login, models, renders, sessions, takes, watch, websocket
from app.security import Guard
from app.services import Services
from app.settings import Settings


def create(services: Services, settings: Settings, *, local: bool = False) -> FastAPI:
    """Return the server without the studio page, which `app.gradio_page` mounts.

    `local` says that it listens on this machine's own address.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with services.running():
            yield

    app = FastAPI(title="Longtake", version=__version__, lifespan=lifespan, responses=ERRORS)
    app.state.services, app.state.settings = services, settings
    app.add_middleware(Guard, token=settings.token, local=local)
    add_handlers(app)
    for routes in (models, sessions, websocket, watch, ingest, avatars, takes, renders, health, login):
        app.include_router(routes.router)
    app.mount("/page", PageFiles())
    return app
