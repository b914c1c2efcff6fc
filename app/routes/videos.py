"""Serve orders of videos as OpenAI's Videos API, vLLM-Omni, SGLang and FastVideo do, at `/v1/videos`.

Each is a job of `streaming.background_renders`, as the renders of the studio's takes are, which the server's own owner
finds in the same list.
"""

from __future__ import annotations

import asyncio
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import av
import cv2
from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel

from app.answer_schemas import file_of
from app.dependencies import OwnerOf, ServicesOf
from app.errors import UnknownVideoError, VideoError
from app.services import Services
from app.video_order import (
    Extension,
    NewVideo,
    Ordered,
    Remix,
    extended,
    new_order,
    remixed,
    sent,
    with_picture,
)
from models.errors import UserError
from streaming.render_progress import Render, State
from streaming.render_report import contact_sheet
from streaming.take.take_file import Take, parse

T = TypeVar("T")
STATUS: dict[State, Literal["queued", "in_progress", "completed", "failed"]] = {
    "waiting": "queued",
    "rendering": "in_progress",
    "held": "in_progress",
    "done": "completed",
    "failed": "failed",
    "cancelled": "failed",  # the contract knows no other
}
POLL_AFTER = {"queued": "3000", "in_progress": "1000"}  # milliseconds
_pictures = asyncio.Semaphore(1)  # so that several need no more memory than one


class VideoFailure(BaseModel):
    """Why a video failed."""

    code: str
    message: str


class Video(BaseModel):
    """A video that was ordered."""

    id: str
    object: Literal["video"] = "video"
    model: str
    status: Literal["queued", "in_progress", "completed", "failed"]
    progress: int  # 0 to 100
    created_at: int  # seconds since 1970, as the next two
    completed_at: int | None
    expires_at: int | None
    prompt: str
    size: str  # WIDTHxHEIGHT in pixels
    seconds: str
    remixed_from_video_id: str | None
    error: VideoFailure | None


class VideoList(BaseModel):
    """A page of the videos of a key."""

    object: Literal["list"] = "list"
    data: list[Video]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedVideo(BaseModel):
    """A video that was deleted."""

    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: Literal[True] = True


class VideoErrorFacts(BaseModel):
    """What is wrong."""

    message: str
    """The error in one line for a person."""
    type: str
    param: str | None
    code: str | None


class VideoErrorAnswer(BaseModel):
    """Report an error as the contract has it."""

    error: VideoErrorFacts


_BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"multipart/form-data": {}, "application/json": {}}}
}
router = APIRouter(
    prefix="/v1/videos", responses={"4XX": {"model": VideoErrorAnswer}, "5XX": {"model": VideoErrorAnswer}}
)


@router.post("", openapi_extra=_BODY)
async def create(request: Request, services: ServicesOf, owner: OwnerOf) -> Video:
    """Order a video: `prompt`, `model`, `seconds`, `size`, `input_reference`, `seed`, or a whole `take` (YAML)."""
    new, picture = await sent(request, NewVideo)
    async with _pictures:
        ordered = await asyncio.to_thread(new_order, new, picture)
    name = services.renders.videos.new_name()
    take = ordered.take
    if ordered.picture is not None:
        take = with_picture(take, services.renders.videos.picture(name).name)
        await _written(functools.partial(services.renders.videos.keep_picture, name, ordered.picture))
    return await _queued(services, owner, name, Ordered(take, ordered.prompt, ordered.seconds))


@router.get("")
async def videos(
    services: ServicesOf,
    owner: OwnerOf,
    after: Annotated[str | None, Query(max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
) -> VideoList:
    """List the videos of the key, the newest first unless `order` is asc."""
    found = services.renders.of(owner)
    if order == "desc":
        found.reverse()
    names = [render.job.name for render in found]
    if after is not None and after not in names:
        raise VideoError("after: is no video of this key", param="after")
    begin = 0 if after is None else names.index(after) + 1
    data = [_video(services, render) for render in found[begin : begin + limit]]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return VideoList(data=data, first_id=first, last_id=last, has_more=begin + limit < len(found))


@router.post("/extensions", openapi_extra=_BODY)
async def extend(request: Request, services: ServicesOf, owner: OwnerOf) -> Video:
    """Order a video that begins as a completed one and goes on: `prompt`, `seconds`, `video[id]`."""
    asked, picture = await sent(request, Extension)
    _refuse_picture(picture)
    source = _completed(services, asked.video.id, owner)
    take, seconds = extended(_take(source), asked.prompt, asked.seconds)
    name = services.renders.videos.new_name()
    return await _after(services, owner, name, source, Ordered(take, asked.prompt, seconds), extends=source.job.name)


@router.post("/edits", status_code=501, response_model=VideoErrorAnswer)
@router.post("/characters", status_code=501, response_model=VideoErrorAnswer)
async def not_served() -> None:
    """Refuse edits and characters, which the models do not draw."""
    raise HTTPException(501, "edits and characters are not served here; remix or extend a video")


@router.get("/{video}")
async def video(video: str, services: ServicesOf, owner: OwnerOf, response: Response) -> Video:
    """Report how far a video is; `openapi-poll-after-ms` says when to ask again."""
    told = _video(services, _own(services, video, owner))
    if told.status in POLL_AFTER:
        response.headers["openai-poll-after-ms"] = POLL_AFTER[told.status]
    return told


@router.get("/{video}/content", response_class=Response, responses=file_of("video/mp4"))
async def content(
    video: str,
    services: ServicesOf,
    owner: OwnerOf,
    variant: Literal["video", "thumbnail", "spritesheet"] = "video",
) -> Response:
    """Send a completed video (MP4), its first frame (PNG) or a contact sheet of it (JPEG)."""
    render = _completed(services, video, owner)
    film = services.renders.film(render.job.name)
    if variant == "video":
        return FileResponse(film, media_type="video/mp4", filename=film.name)
    draw, media_type = (thumbnail, "image/png") if variant == "thumbnail" else (spritesheet, "image/jpeg")
    async with _pictures:
        return Response(await asyncio.to_thread(draw, film), media_type=media_type)


@router.delete("/{video}")
async def delete(video: str, services: ServicesOf, owner: OwnerOf) -> DeletedVideo:
    """Cancel and delete a video; the take of a studio's render stays."""
    render = _own(services, video, owner)
    await services.renders.delete(render.job.name)
    return DeletedVideo(id=render.job.name)


@router.post("/{video}/remix", openapi_extra=_BODY)
async def remix(video: str, request: Request, services: ServicesOf, owner: OwnerOf) -> Video:
    """Order a completed video anew, of the same seed, under another first prompt."""
    asked, picture = await sent(request, Remix)
    _refuse_picture(picture)
    source = _completed(services, video, owner)
    take = remixed(_take(source), asked.prompt)
    name = services.renders.videos.new_name()
    ordered = Ordered(take, asked.prompt, source.job.seconds)
    return await _after(services, owner, name, source, ordered, remix_of=source.job.name)


def thumbnail(film: Path) -> bytes:
    """Return the first frame of a film as PNG."""
    with av.open(str(film)) as container:
        frame = next(container.decode(video=0)).to_ndarray(format="bgr24")
    return cv2.imencode(".png", frame)[1].tobytes()


def spritesheet(film: Path) -> bytes:
    """Return evenly spaced frames of a film as one JPEG picture."""
    with tempfile.TemporaryDirectory() as folder:
        contact_sheet(film, Path(folder) / "sheet.jpg")
        return (Path(folder) / "sheet.jpg").read_bytes()


async def _after(services: Services, owner: str, name: str, source: Render, ordered: Ordered, **relation: str) -> Video:
    """Queue a video that is made from another one, with copies of its files."""
    folder = services.renders.film(source.job.name).parent
    take = await _written(functools.partial(services.renders.videos.with_own_files, name, ordered.take, folder))
    return await _queued(services, owner, name, Ordered(take, ordered.prompt, ordered.seconds), **relation)


async def _queued(services: Services, owner: str, name: str, ordered: Ordered, **relation: str) -> Video:
    renders = services.renders
    try:
        render = await renders.order(name, ordered.take, owner, ordered.prompt, ordered.seconds, **relation)
    except BaseException as e:
        await asyncio.to_thread(renders.videos.delete, name)
        if isinstance(e, OSError):
            raise HTTPException(507, f"the video cannot be stored ({e.strerror}); free some space") from None
        raise
    return _video(services, render)


async def _written(write: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(write)
    except OSError as e:
        raise HTTPException(507, f"the picture cannot be stored ({e.strerror}); free some space") from None


def _refuse_picture(picture: bytes | None) -> None:
    if picture is not None:
        raise VideoError("input_reference: is not used here", param="input_reference", code="unknown_parameter")


def _own(services: Services, name: str, owner: str) -> Render:
    render = services.renders.job(name, owner)
    if render is None:
        raise UnknownVideoError("no video of this key has this id", param="video_id", code="video_not_found")
    return render


def _completed(services: Services, name: str, owner: str) -> Render:
    render = _own(services, name, owner)
    if render.state != "done" or not services.renders.film(render.job.name).is_file():
        raise VideoError(
            f"the video is not completed ({STATUS[render.state]})", param="video_id", code="video_not_ready"
        )
    return render


def _take(source: Render) -> Take:
    try:
        return parse(source.job.take, "the take")
    except UserError:  # of a job of an earlier release
        raise VideoError("the take of this video is gone", param="video_id") from None


def _video(services: Services, render: Render) -> Video:
    job, progress = render.job, services.renders.progress(render.job.name)
    done = progress.done if progress is not None else 0
    whole = render.state == "done"
    failed = STATUS[render.state] == "failed"
    why = "it was cancelled" if render.state == "cancelled" else render.why
    return Video(
        id=job.name,
        model=job.model,
        status=STATUS[render.state],
        progress=100 if whole else min(99, 100 * done // max(1, job.chunks)),
        created_at=int(job.asked),
        completed_at=int(job.ended) if whole and job.ended is not None else None,
        expires_at=int(job.expires) if job.expires is not None else None,
        prompt=job.prompt,
        size=job.size,
        seconds=job.seconds,
        remixed_from_video_id=job.remix_of,
        error=VideoFailure(code=render.state, message=why) if failed else None,
    )
