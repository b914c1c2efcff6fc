"""Resolve parameters of endpoints (FastAPI dependencies): services, and the session, avatar or take of the path."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header
from starlette.requests import HTTPConnection

from app.errors import ConflictError
from app.services import Services
from app.settings import Settings
from streaming.live.admission import HostedSession
from streaming.speech.avatar import Avatar
from streaming.take.take_file import Take

# every function here is a coroutine, so that requests keep their order: FastAPI runs plain functions in a thread pool


async def services_of(connection: HTTPConnection) -> Services:
    """Return the services of the server that answers."""
    services: Services = connection.app.state.services
    return services


async def settings_of(connection: HTTPConnection) -> Settings:
    """Return the settings that the server was started with."""
    settings: Settings = connection.app.state.settings
    return settings


ServicesOf = Annotated[Services, Depends(services_of)]
SettingsOf = Annotated[Settings, Depends(settings_of)]


async def watched_session(session: str, services: ServicesOf) -> HostedSession:
    """Return the session of the path; to watch it, its id suffices."""
    return services.session(session)


async def controlled_session(
    session: str, services: ServicesOf, x_longtake_key: Annotated[str | None, Header()] = None
) -> HostedSession:
    """Return the session of the path if the request carries its key; raise NotAllowedError otherwise."""
    return services.controlled(session, x_longtake_key)


WatchedSession = Annotated[HostedSession, Depends(watched_session)]
ControlledSession = Annotated[HostedSession, Depends(controlled_session)]


async def controlled_avatar(hosted: ControlledSession) -> Avatar:
    """Return the avatar session of the path if the request carries its key; raise ConflictError if it cannot speak."""
    session = hosted.session
    if session.avatar is None:
        raise ConflictError("only an avatar speaks; this session is none")
    if session.over:
        raise ConflictError(f"the take has {session.state}")
    return session.avatar


async def known_take(take: str, services: ServicesOf) -> Take:
    """Return the take of the path, which may be running or stored in the data folder."""
    return await services.take(take)


ControlledAvatar = Annotated[Avatar, Depends(controlled_avatar)]
KnownTake = Annotated[Take, Depends(known_take)]
