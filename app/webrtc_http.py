"""Implement HTTP details of WHEP and WHIP (draft-ietf-wish-whep, RFC 9725): media types, entity tags, ICE links."""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence

from fastapi import HTTPException, Request, Response

from app.errors import NotFoundError
from app.services import Services
from app.share_links import ShareLink
from streaming.transport.connection import RestartError, WebRtcConnection
from streaming.transport.ice_server import IceServer
from streaming.transport.offer import NotAnswerableError, OfferError

SDP, FRAGMENT = "application/sdp", "application/trickle-ice-sdpfrag"
ENDPOINT_METHODS, RESOURCE_METHODS = "OPTIONS, POST", "DELETE, OPTIONS, PATCH"


def media_type(request: Request) -> str:
    """Return the media type of a request's body in lower case, without parameters (RFC 9110, section 8.3.1)."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def sdp_body(request: Request) -> str:
    """Return the SDP offer in a request's body; answer 415 for another content type."""
    if media_type(request) != SDP:
        raise HTTPException(415, f"send the offer with the content type {SDP}", {"Accept-Post": SDP})
    return (await request.body()).decode("utf-8", "replace")


def created(session: str, resource: str, answer: str, services: Services, link: ShareLink | None = None) -> Response:
    """Return the answer to an offer, with the address of the connection and what it accepts.

    The address is relative to that of the request, so that it stays valid behind a proxy and under a sub-path.
    """
    headers = {
        "Location": f"{session}/{resource}",
        "ETag": services.peers[resource].etag,
        "Accept-Patch": FRAGMENT,
        **ice_links(services.ice_for(link)),
    }
    return Response(answer, 201, headers, SDP)


def refused(error: OfferError) -> HTTPException:
    """Return the error for an offer without acceptable media (406) or a body that is no offer (400)."""
    return HTTPException(406 if isinstance(error, NotAnswerableError) else 400, str(error))


def options(services: Services, *, permitted: bool = True, link: ShareLink | None = None) -> Response:
    """Answer an OPTIONS request to an endpoint: methods, media types and, if it is `permitted` to connect, ICE servers.

    The servers come with credentials, which work for others as well.
    """
    links = ice_links(services.ice_for(link)) if permitted else {}
    return Response(status_code=204, headers={"Allow": ENDPOINT_METHODS, "Accept-Post": SDP, **links})


def resource_options() -> Response:
    """Answer an OPTIONS request to a connection: methods and media types."""
    return Response(status_code=204, headers={"Allow": RESOURCE_METHODS, "Accept-Patch": FRAGMENT})


def wrong_method(allowed: str) -> HTTPException:
    """Return the error (405) for a method that an address does not support."""
    return HTTPException(405, f"this address answers to {allowed} only", {"Allow": allowed})


def connection(services: Services, session: str, resource: str, kind: type[WebRtcConnection]) -> WebRtcConnection:
    """Return the connection of this kind and name; raise NotFoundError if the session has none."""
    found = services.peers.get(resource)
    if not isinstance(found, kind) or found.session.id != services.watched_as(session):
        raise NotFoundError("no such connection; it has ended")
    return found


async def patch(request: Request, found: WebRtcConnection) -> Response:
    """Add the candidates in the body of a request to a connection, or restart its ICE (RFC 9725, section 4.3).

    A restart is answered with an SDP fragment and a new ETag. Errors: 415 for another content type, 428 without
    If-Match, 412 for another ICE session, 422 for a restart that is not possible: the client has to send a new offer.
    """
    if media_type(request) != FRAGMENT:
        raise HTTPException(415, f"send the candidates with the content type {FRAGMENT}", {"Accept-Patch": FRAGMENT})
    asked = request.headers.get("if-match")
    if asked is None:
        raise HTTPException(428, "send If-Match with the ETag of the answer")
    if asked.strip() not in (found.etag, "*", '"*"'):  # RFC 9725 writes the star in quotes
        raise HTTPException(412, "If-Match names another ICE session than the connection has")
    fragment = (await request.body()).decode("utf-8", "replace")
    try:
        if found.restarts(fragment):
            near = request.client.host if request.client is not None else None
            return Response(await found.restart(fragment, near), 200, {"ETag": found.etag}, FRAGMENT)
        await found.trickle(fragment)
    except RestartError as e:
        raise HTTPException(422, str(e)) from None
    return Response(status_code=204, headers={"ETag": found.etag})


def ice_links(servers: Sequence[IceServer]) -> dict[str, str]:
    """Return a Link header that names the ICE servers (RFC 9725, section 4.4), or nothing if there are none."""
    links = []
    for server in servers:
        for url in server.addresses:
            link = f'<{urllib.parse.quote(url, safe=":/?&=,.[]@%-_~")}>; rel="ice-server"'
            if server.username is not None and server.credential is not None:
                link += f'; username="{_quoted(server.username)}"; credential="{_quoted(server.credential)}"'
                link += '; credential-type="password"'
            links.append(link)
    return {"Link": ", ".join(links)} if links else {}


def _quoted(text: str) -> str:
    """Return the printable ASCII of a text, escaped for a quoted string of a header (RFC 9110, section 5.6.4)."""
    kept = "".join(c for c in text if " " <= c <= "~")
    return kept.replace("\\", "\\\\").replace('"', '\\"')
