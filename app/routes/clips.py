"""Serve what can be saved of a session or a take: its last seconds, GIF pictures, and enlarged films."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from app.answer_schemas import file_of
from app.dependencies import ControlledSession, KnownTake, ServicesOf
from app.errors import ConflictError, InvalidRequestError, NotFoundError
from app.services import Services
from streaming.live.recent_film import KEPT_SECONDS, KeptFrame
from streaming.media.clips import MOST_GIF_SECONDS, enlarged, gif_of, mp4_of, pictures_of, png_of
from streaming.take.take_file import Take

router = APIRouter()
_making = asyncio.Semaphore(1)  # so that people who save do not take the processor from those who watch

Seconds = Annotated[float, Query(ge=1, le=KEPT_SECONDS)]


@router.get("/api/sessions/{session}/last.mp4", response_class=Response, responses=file_of("video/mp4"))
async def last_film(hosted: ControlledSession, seconds: Seconds = KEPT_SECONDS) -> Response:
    """Send what was shown in the last seconds (MP4), with its sound; 409 before the first picture."""
    frames, fps = _recent(hosted.session.playout.recent.last(seconds)), hosted.session.playout.fps
    sound = np.concatenate([frame.sound for frame in frames])

    def made() -> bytes:
        return mp4_of((frame.picture() for frame in frames), fps, sound)

    async with _making:
        return _file(await asyncio.to_thread(made), "video/mp4", f"{hosted.session.history.id}-last.mp4")


@router.get("/api/sessions/{session}/last.gif", response_class=Response, responses=file_of("image/gif"))
async def last_gif(hosted: ControlledSession, seconds: Seconds = KEPT_SECONDS) -> Response:
    """Send what was shown in the last seconds (GIF); 409 before the first picture."""
    frames, fps = _recent(hosted.session.playout.recent.last(seconds)), hosted.session.playout.fps
    async with _making:
        made = await asyncio.to_thread(lambda: gif_of((frame.picture() for frame in frames), fps))
    return _file(made, "image/gif", f"{hosted.session.history.id}-last.gif")


@router.get("/api/sessions/{session}/last.png", response_class=Response, responses=file_of("image/png"))
async def last_picture(hosted: ControlledSession, *, alpha: bool = False) -> Response:
    """Send the picture that is on screen (PNG); 409 before the first.

    With `alpha` an avatar's face is sent with nothing behind it.
    """
    session = hosted.session
    (newest,) = _recent(session.playout.recent.last(0))[-1:]
    if alpha and session.avatar is None:
        raise InvalidRequestError("alpha is for an avatar's face; leave it out")
    faces = 1 if session.history.take.layout == "cut" else session.history.take.faces
    async with _making:
        made = await asyncio.to_thread(lambda: png_of(newest.picture(), faces if alpha else None))
    return _file(made, "image/png", f"{session.history.id}.png")


@router.get("/api/takes/{take}/gif", response_class=Response, responses=file_of("image/gif"))
async def gif(take: str, _: KnownTake, services: ServicesOf) -> Response:
    """Send the first 10 seconds of a take's film, or of its newest recording, as a GIF; 404 if there is neither."""
    film = services.archive.newest_film(take)
    if film is None:
        raise NotFoundError("this take has no film and no recording yet; render it first")

    def made() -> bytes:
        pictures = list(islice(pictures_of(film), 1))
        fps = pictures[0][1] if pictures else 1
        return gif_of((picture for picture, _ in islice(pictures_of(film), fps * MOST_GIF_SECONDS)), fps)

    async with _making:
        return _file(await asyncio.to_thread(made), "image/gif", f"{take}.gif")


@router.get("/api/takes/{take}/film/{scale}x", response_class=Response, responses=file_of("video/mp4"))
async def large_film(take: str, scale: Literal["2", "4"], script: KnownTake, services: ServicesOf) -> StreamingResponse:
    """Send the rendered film (MP4) with its pictures resampled to 2 or 4 times their size, while they are made.

    404 if the take was not rendered to its end, and 409 for an avatar's, whose sound would be missing.
    """
    film = _film(services, take, script)
    parts = enlarged(film, int(scale))
    async with _making:
        first = await asyncio.to_thread(next, parts, b"")  # an error is answered as one

    async def sent() -> AsyncIterator[bytes]:
        part = first
        while part:
            yield part
            async with _making:
                part = await asyncio.to_thread(next, parts, b"")

    name = f"{take}-{scale}x-resampled.mp4"
    return StreamingResponse(sent(), media_type="video/mp4", headers=_named(name))


def _film(services: Services, take: str, script: Take) -> Path:
    path = services.archive.file(services.renders.film(take).name)
    if path is None:
        raise NotFoundError("this take was not rendered to its end")
    if script.sound is not None:
        raise ConflictError("an avatar's film is only sent as it is: a larger one would have no sound")
    return path


def _recent(frames: list[KeptFrame]) -> list[KeptFrame]:
    if not frames:
        raise ConflictError("nothing was shown yet; save it once there is a picture")
    return frames


def _file(data: bytes, media_type: str, name: str) -> Response:
    return Response(data, media_type=media_type, headers=_named(name))


def _named(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}
