"""Serve viewers without control: the page of a share link, and WHEP (draft-ietf-wish-whep) for other players."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import HTMLResponse

from app.answer_schemas import body_of, file_of
from app.dependencies import ServicesOf, WatchedSession, watched_session
from app.errors import NotFoundError
from app.page_folder import PAGE

router = APIRouter()


async def sdp_body(request: Request) -> str:
    """Return the body of a request that carries an SDP offer; 415 for another content type."""
    if request.headers.get("content-type", "").split(";")[0] != "application/sdp":
        raise HTTPException(415, "send the offer with the content type application/sdp")
    return (await request.body()).decode("utf-8", "replace")


@router.get("/watch/{session}", response_class=HTMLResponse, dependencies=[Depends(watched_session)])
async def watch_page() -> str:
    """Send the page of a share link."""
    return (PAGE / "watch.html").read_text(encoding="utf-8")


@router.post(
    "/whep/{session}",
    status_code=201,
    response_class=Response,
    responses=file_of("application/sdp", 201),
    openapi_extra=dict(body_of("application/sdp")),
)
async def whep(
    session: str, sdp: Annotated[str, Depends(sdp_body)], hosted: WatchedSession, services: ServicesOf
) -> Response:
    """Answer the offer of any WHEP player (draft-ietf-wish-whep), such as OBS or GStreamer."""
    resource, answer = await services.join(hosted, sdp)
    return Response(answer, 201, {"Location": f"/whep/{session}/{resource}"}, "application/sdp")


@router.delete("/whep/{session}/{resource}", response_class=Response)
async def leave(session: str, resource: str, services: ServicesOf) -> Response:
    """Stop watching."""
    peer = services.peers.get(resource)
    if peer is None or peer.session.id != session:
        raise NotFoundError("no such viewer")
    await peer.close()
    return Response()
