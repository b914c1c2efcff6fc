"""Endpoints through which a camera is connected to a session (WHIP, RFC 9725)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response

from app import webrtc_http
from app.answer_schemas import body_of, file_of
from app.dependencies import AddressOf, ServicesOf
from app.services import Services
from streaming.live.admission import HostedSession
from streaming.transport.camera import CameraPeer
from streaming.transport.offer import OfferError

router = APIRouter()


async def publishing_session(
    session: str,
    services: ServicesOf,
    authorization: Annotated[str | None, Header()] = None,
    x_longtake_key: Annotated[str | None, Header()] = None,
) -> HostedSession:
    """Return the session of the path to a publisher that sends its key, as a bearer token or as X-Longtake-Key."""
    return services.controlled(session, x_longtake_key or _bearer(authorization))


PublishingSession = Annotated[HostedSession, Depends(publishing_session)]


@router.post(
    "/whip/{session}",
    status_code=201,
    response_class=Response,
    responses=file_of(webrtc_http.SDP, 201),
    openapi_extra=dict(body_of(webrtc_http.SDP)),
)
async def whip(
    session: str,
    sdp: Annotated[str, Depends(webrtc_http.sdp_body)],
    hosted: PublishingSession,
    near: AddressOf,
    services: ServicesOf,
) -> Response:
    """Answer the offer of a camera or of a program such as OBS or GStreamer, which sends H.264 or VP8.

    The bearer token is the session's key. A newer camera takes the place of the one before. 406 names what an offer
    lacks to be answered, 400 what is wrong with its SDP.
    """
    try:
        resource, answer = await services.publish(hosted, sdp, near)
    except OfferError as e:
        raise webrtc_http.refused(e) from None
    return webrtc_http.created(session, resource, answer, services)


@router.options("/whip/{session}", status_code=204, response_class=Response)
async def whip_options(
    session: str,
    services: ServicesOf,
    authorization: Annotated[str | None, Header()] = None,
    x_longtake_key: Annotated[str | None, Header()] = None,
) -> Response:
    """Tell what the endpoint accepts, and the ICE servers to a publisher that sends the session's key."""
    services.session(session)
    key = x_longtake_key or _bearer(authorization) or ""
    return webrtc_http.options(services, permitted=services.holds_key(session, key))


@router.patch(
    "/whip/{session}/{resource}",
    status_code=204,
    response_class=Response,
    responses=file_of(webrtc_http.FRAGMENT, 200),
    openapi_extra=dict(body_of(webrtc_http.FRAGMENT)),
)
async def trickle(
    session: str, resource: str, request: Request, hosted: PublishingSession, services: ServicesOf
) -> Response:
    """Add ICE candidates that the camera found after its offer, or restart ICE."""
    return await webrtc_http.patch(request, _camera(services, session, resource))


@router.options("/whip/{session}/{resource}", status_code=204, response_class=Response)
async def resource_options(session: str, resource: str, services: ServicesOf) -> Response:
    """Tell what a connection accepts."""
    _camera(services, session, resource)
    return webrtc_http.resource_options()


@router.delete("/whip/{session}/{resource}", response_class=Response)
async def leave(session: str, resource: str, hosted: PublishingSession, services: ServicesOf) -> Response:
    """Disconnect the camera."""
    await _camera(services, session, resource).close()
    return Response()


@router.api_route("/whip/{session}", methods=["GET", "PUT", "PATCH", "DELETE"], include_in_schema=False)
async def no_endpoint_method() -> None:
    """Refuse other methods; without this the studio's page, mounted at the root, would answer 404."""
    raise webrtc_http.wrong_method(webrtc_http.ENDPOINT_METHODS)


@router.api_route("/whip/{session}/{resource}", methods=["GET", "PUT", "POST"], include_in_schema=False)
async def no_resource_method() -> None:
    """Refuse other methods."""
    raise webrtc_http.wrong_method(webrtc_http.RESOURCE_METHODS)


def _camera(services: Services, session: str, resource: str) -> CameraPeer:
    found = webrtc_http.connection(services, session, resource, CameraPeer)
    assert isinstance(found, CameraPeer)
    return found


def _bearer(authorization: str | None) -> str | None:
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
