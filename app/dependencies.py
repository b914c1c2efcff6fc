"""Resolve parameters of endpoints (FastAPI dependencies): services, and the session, avatar or take of the path."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header
from starlette.requests import HTTPConnection

from app.credentials import Credentials, network_of
from app.errors import ConflictError, NotAllowedError
from app.services import Services
from app.settings import Settings
from app.share_links import ShareLink, is_link
from streaming.live.admission import HostedSession
from streaming.speech.any_avatar import AnyAvatar
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


async def address_of(connection: HTTPConnection) -> str | None:
    """Return the address that a request comes from, as the socket or a trusted proxy sees it."""
    return connection.client.host if connection.client is not None else None


async def askers_of(connection: HTTPConnection) -> frozenset[str]:
    """Return the names under which whoever sends a request waits in line: its network, and its login if it has one."""
    credentials: Credentials = connection.app.state.credentials
    address = await address_of(connection)
    networks = [f"network {network_of(address)}"] if address is not None else []
    return frozenset([*networks, *(f"login {number}" for number in credentials.logins(connection.headers))])


async def owner_of(connection: HTTPConnection) -> str:
    """Return whose videos a request may order and see: the name of its key, or nothing for the server's own."""
    credentials: Credentials = connection.app.state.credentials
    return credentials.owner(connection.headers) or ""


OwnerOf = Annotated[str, Depends(owner_of)]
AddressOf = Annotated[str | None, Depends(address_of)]
AskersOf = Annotated[frozenset[str], Depends(askers_of)]


@dataclass(frozen=True)
class Watched:
    """Hold a session that a request may watch, and the share link that permits it."""

    hosted: HostedSession
    link: ShareLink | None  # None: the server's token or the session's key permits it


async def watched(session: str, connection: HTTPConnection, services: ServicesOf) -> Watched:
    """Return the session of the path, in which a share link may stand instead of the session's id.

    Without a link the request needs the session's key or what the server as a whole needs, which may be nothing; raise
    NotAllowedError otherwise, GoneError for a link that is no longer valid.
    """
    if is_link(session):
        link = services.links.valid(session)
        return Watched(services.session(link.session), link)
    credentials: Credentials = connection.app.state.credentials
    key = connection.headers.get("x-longtake-key", "")
    address = await address_of(connection) or "?"
    if not services.holds_key(session, key) and not credentials.accept(connection.headers, address):
        raise NotAllowedError("watching needs a share link, the session's key or the server's token")
    return Watched(services.session(session), None)


WatchedByRequest = Annotated[Watched, Depends(watched)]


async def watched_session(found: WatchedByRequest) -> HostedSession:
    """Return the session of the path to a request that may watch it."""
    return found.hosted


async def controlled_session(
    session: str, services: ServicesOf, x_longtake_key: Annotated[str | None, Header()] = None
) -> AsyncIterator[HostedSession]:
    """Yield the session of the path if the request carries its key; raise NotAllowedError otherwise.

    The session does not end for lack of viewers while the request is answered, which may take a long upload.
    """
    hosted = services.controlled(session, x_longtake_key)
    with services.sessions.answering(hosted):
        yield hosted


WatchedSession = Annotated[HostedSession, Depends(watched_session)]
ControlledSession = Annotated[HostedSession, Depends(controlled_session)]


def avatar_of(hosted: HostedSession) -> AnyAvatar:
    """Return the avatar, or the dialogue, of a session; ConflictError if it cannot speak."""
    session = hosted.session
    if session.avatar is None:
        raise ConflictError("only an avatar speaks; this session is none")
    if session.over:
        raise ConflictError(f"the take has {session.state}")
    return session.avatar


async def controlled_avatar(hosted: ControlledSession) -> AnyAvatar:
    """Return the avatar session of the path if the request carries its key; raise ConflictError if it cannot speak."""
    return avatar_of(hosted)


async def known_take(take: str, services: ServicesOf) -> Take:
    """Return the take of the path, which may be running or stored in the data folder."""
    return await services.take(take)


ControlledAvatar = Annotated[AnyAvatar, Depends(controlled_avatar)]
KnownTake = Annotated[Take, Depends(known_take)]
