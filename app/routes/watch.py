"""Serve viewers without control: the page of a share link, and WHEP (draft-ietf-wish-whep) for other players."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse

from app import webrtc_http
from app.answer_schemas import body_of, file_of
from app.dependencies import AddressOf, ServicesOf, WatchedByRequest, watched
from app.errors import NotFoundError
from app.page_folder import PAGE
from app.share_links import GoneError
from streaming.transport.offer import OfferError
from streaming.transport.peers import Peer

router = APIRouter()


@router.get("/watch/{session}", response_class=HTMLResponse)
async def watch_page(session: str, request: Request, services: ServicesOf) -> HTMLResponse:
    """Send the page of a share link; 410 if the link is no longer valid, of which the page tells a person."""
    status = 200
    try:
        await watched(session, request, services)
    except (GoneError, NotFoundError) as e:
        if "text/html" not in request.headers.get("accept", ""):
            raise
        status = e.status_code if isinstance(e, GoneError) else 404
    return HTMLResponse((PAGE / "watch.html").read_text(encoding="utf-8"), status)


@router.post(
    "/whep/{session}",
    status_code=201,
    response_class=Response,
    responses=file_of(webrtc_http.SDP, 201),
    openapi_extra=dict(body_of(webrtc_http.SDP)),
)
async def whep(
    session: str,
    sdp: Annotated[str, Depends(webrtc_http.sdp_body)],
    found: WatchedByRequest,
    near: AddressOf,
    services: ServicesOf,
) -> Response:
    """Answer the offer of a WHEP player (draft-ietf-wish-whep), such as GStreamer or a page of another site.

    406 names what an offer lacks to be answered, 400 what is wrong with its SDP.
    """
    try:
        resource, answer = await services.join(found.hosted, sdp, link=found.link, near=near)
    except OfferError as e:
        raise webrtc_http.refused(e) from None
    return webrtc_http.created(session, resource, answer, services, found.link)


@router.options("/whep/{session}", status_code=204, response_class=Response)
async def whep_options(found: WatchedByRequest, services: ServicesOf) -> Response:
    """Tell what the endpoint accepts, and the ICE servers."""
    return webrtc_http.options(services, link=found.link)


@router.patch(
    "/whep/{session}/{resource}",
    status_code=204,
    response_class=Response,
    responses=file_of(webrtc_http.FRAGMENT, 200),
    openapi_extra=dict(body_of(webrtc_http.FRAGMENT)),
)
async def trickle(session: str, resource: str, request: Request, services: ServicesOf) -> Response:
    """Add ICE candidates that the player found after its offer, or restart ICE."""
    return await webrtc_http.patch(request, webrtc_http.connection(services, session, resource, Peer))


@router.options("/whep/{session}/{resource}", status_code=204, response_class=Response)
async def resource_options(session: str, resource: str, services: ServicesOf) -> Response:
    """Tell what a connection accepts."""
    webrtc_http.connection(services, session, resource, Peer)
    return webrtc_http.resource_options()


@router.delete("/whep/{session}/{resource}", response_class=Response)
async def leave(session: str, resource: str, services: ServicesOf) -> Response:
    """Stop watching."""
    await webrtc_http.connection(services, session, resource, Peer).close()
    return Response()


@router.api_route("/whep/{session}", methods=["GET", "PUT", "PATCH", "DELETE"], include_in_schema=False)
async def no_endpoint_method() -> None:
    """Refuse other methods; without this the studio's page, mounted at the root, would answer 404."""
    raise webrtc_http.wrong_method(webrtc_http.ENDPOINT_METHODS)


@router.api_route("/whep/{session}/{resource}", methods=["GET", "PUT", "POST"], include_in_schema=False)
async def no_resource_method() -> None:
    """Refuse other methods."""
    raise webrtc_http.wrong_method(webrtc_http.RESOURCE_METHODS)
