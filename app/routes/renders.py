"""Serve background renders: start, follow and cancel one, download its film."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Response
from fastapi.responses import FileResponse

from app.answer_schemas import file_of
from app.dependencies import KnownTake, ServicesOf
from app.errors import NotFoundError
from streaming.render_progress import Progress
from streaming.take.take_links import refuse_links

router = APIRouter()


@router.post("/api/takes/{take}/render", status_code=202)
async def render(take: str, script: KnownTake, services: ServicesOf) -> Progress | None:
    """Render a take as `longtake render --no-links` does; asked again, render what was added since."""
    refuse_links(script, services.archive.folder)
    try:
        await services.renders.start(take, script)
    except OSError as e:
        raise HTTPException(507, f"the take cannot be written ({e.strerror}); free some space") from None
    return services.renders.progress(take)


@router.get("/api/takes/{take}/render")
async def render_progress(take: str, _: KnownTake, services: ServicesOf) -> Progress:
    """Report the progress of a render."""
    progress = services.renders.progress(take)
    if progress is None:
        raise NotFoundError("this take was not rendered")
    return progress


@router.delete("/api/takes/{take}/render", status_code=204)
async def cancel_render(take: str, services: ServicesOf) -> None:
    """Cancel a render; finished chunks are kept for the next."""
    try:
        services.renders.cancel(take)
    except KeyError:
        raise NotFoundError("this take is not being rendered") from None


@router.get("/api/takes/{take}/film", response_class=Response, responses=file_of("video/mp4"))
def film(take: str, _: KnownTake, services: ServicesOf) -> FileResponse:
    """Send the film of a take that was rendered to its end (MP4)."""
    path = services.archive.file(services.renders.film(take).name)
    if path is None:
        raise NotFoundError("this take was not rendered to its end")
    return FileResponse(path, media_type="video/mp4", filename=path.name)
