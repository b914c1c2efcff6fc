"""Serve a session's share links to the holder of its key: make, list and revoke them."""

from __future__ import annotations

import io
from typing import Annotated

import segno
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from app.answer_schemas import file_of
from app.audience import MOST_OF_SESSION
from app.dependencies import ControlledSession, ServicesOf
from app.errors import NotFoundError
from app.request_body import RequestBody
from app.services import Services
from app.share_links import ShareLink

MOST_MINUTES = 7 * 24 * 60

router = APIRouter()


class NewLink(RequestBody):
    """What a share link permits."""

    minutes: Annotated[int, Field(ge=1, le=MOST_MINUTES)] = 60
    viewers: Annotated[int, Field(ge=1, le=MOST_OF_SESSION)] = 10


class LinkFacts(BaseModel):
    """A share link of a session."""

    number: int
    link: str  # stands instead of the session's id in addresses for watching
    watch: str  # path of its page, relative to the server's root
    whep: str  # path of its WHEP endpoint, relative to the server's root
    expires: int  # in seconds since 1970
    viewers: int  # at the same time
    watching: int  # viewers now


@router.post("/api/sessions/{session}/links", status_code=201)
async def share(new: NewLink, hosted: ControlledSession, services: ServicesOf) -> LinkFacts:
    """Make a share link; 409 if the session has the most already."""
    return _facts(services, services.links.issue(hosted.session.id, 60 * new.minutes, new.viewers))


@router.get("/api/sessions/{session}/links")
async def links(hosted: ControlledSession, services: ServicesOf) -> list[LinkFacts]:
    """List the share links that are valid now, the oldest first."""
    return [_facts(services, link) for link in services.links.of(hosted.session.id)]


@router.get(
    "/api/sessions/{session}/links/{number}/qr", response_class=Response, responses=file_of("image/svg+xml", 200)
)
async def code(
    number: int,
    root: Annotated[str, Query(max_length=300, pattern=r"^https?://[!-~]+/$")],
    hosted: ControlledSession,
    services: ServicesOf,
) -> Response:
    """Draw the address of a link's page as a QR code (ISO/IEC 18004); `root` is the server as its viewers reach it."""
    link = next((link for link in services.links.of(hosted.session.id) if link.number == number), None)
    if link is None:
        raise NotFoundError("no such link, or it is no longer valid")
    picture = io.BytesIO()
    segno.make(f"{root}watch/{link.text}", micro=False).save(picture, kind="svg", scale=4, border=4, light="#fff")
    return Response(picture.getvalue(), media_type="image/svg+xml")


@router.delete("/api/sessions/{session}/links/{number}", status_code=204)
async def revoke(number: int, hosted: ControlledSession, services: ServicesOf) -> None:
    """Revoke a share link; its viewers are disconnected."""
    services.links.revoke(hosted.session.id, number)
    services.audience.dismiss(number)


def _facts(services: Services, link: ShareLink) -> LinkFacts:
    return LinkFacts(
        number=link.number,
        link=link.text,
        watch=f"watch/{link.text}",
        whep=f"whep/{link.text}",
        expires=link.expires,
        viewers=link.viewers,
        watching=services.audience.watching(link),
    )
