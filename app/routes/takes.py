"""Serve the takes of the data folder, interrupted ones included: list, download, continue."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Query, Response
from fastapi.responses import FileResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel, Field

from app.answer_schemas import BUSY, file_of
from app.dependencies import AskersOf, KnownTake, ServicesOf
from app.errors import ConflictError, NotFoundError
from app.growing_file import film_so_far, wav_so_far
from app.request_body import LookAheadName, RequestBody
from app.routes.sessions import StartedSession, started
from app.services import Services
from models import catalog
from models.errors import UserError
from models.time_grid import frames_before
from streaming.live.pacing import LookAhead
from streaming.live.session_loras import forget_loras
from streaming.media.clips import pictures_of
from streaming.render_progress import Progress
from streaming.take.history import JournalSummary, TakeHistory
from streaming.take.take_file import Take
from streaming.take.take_links import refuse_links
from streaming.take.take_loras import changed_loras, lora_names, lora_record, recorded_loras, use_loras
from streaming.take.take_shelf import MOST_NAME, delete_take, name_of, picture_file, rename, write_picture
from streaming.take.uploaded_files import is_uploaded

router = APIRouter()
PICTURE_AT = 16  # frames into a film
_writing = asyncio.Semaphore(1)  # two who write one file would take its temporary name from each other


class TakeSummary(BaseModel):
    """A take of the data folder."""

    id: str
    model: str
    name: str  # that a person gave it; empty if none did
    parent: str | None  # TAKE@LATENT, of a branch
    parent_seconds: float | None  # into its parent at which it branched; None as for `seconds`
    latents: int
    seconds: float | None  # None for a model that the catalog no longer has
    sound: bool
    prompts: list[str]
    changed: float  # when it was last written, in seconds since 1970
    state: Literal["live", "ended", "cut off"]
    render: Progress | None
    recordings: list[int]
    picture: bool  # whether a small picture of it is kept


class TakeChange(RequestBody):
    """What a person changes of a take."""

    name: Annotated[str, Field(max_length=MOST_NAME)]


class Continuation(RequestBody):
    """The choices with which a take is continued."""

    look_ahead: LookAheadName = LookAhead.SMOOTH
    latent: Annotated[int, Field(ge=1)] | None = None  # to branch at, on a chunk border before it; by default the end
    ticket: Annotated[str, Field(max_length=60)] | None = None  # from a 503: keeps the place in line


@router.get("/api/takes")
def takes(services: ServicesOf) -> list[TakeSummary]:
    """List the takes, the newest first, at most 100."""
    running = {h.session.history.id for h in list(services.sessions.hosted.values()) if not h.session.over}
    found = list[TakeSummary]()
    for told in services.archive.newest():
        with contextlib.suppress(FileNotFoundError):  # it is deleted now, by another request
            found.append(_summary(services, told, live=told.history.id in running))
    return found


@router.get("/api/takes/{take}", response_class=PlainTextResponse)
async def take_file(take: str, script: KnownTake) -> PlainTextResponse:
    """Send the take file (YAML), which `longtake render` replays to the same latents."""
    return PlainTextResponse(script.dumped(), headers={"Content-Disposition": f'attachment; filename="{take}.yaml"'})


@router.patch("/api/takes/{take}", status_code=204)
async def rename_take(take: str, change: TakeChange, _: KnownTake, services: ServicesOf) -> None:
    """Give a take a name, or take it away with an empty one; 507 if the disk does not take it."""
    try:
        async with _writing:
            await asyncio.to_thread(rename, services.archive.folder, take, " ".join(change.name.split()))
    except OSError as e:
        raise HTTPException(507, f"the name cannot be written ({e.strerror}); free some space") from None


@router.delete("/api/takes/{take}", status_code=204)
async def delete(take: str, _: KnownTake, services: ServicesOf) -> None:
    """Delete a take, its film and its recordings; 409 while a session or a render needs it.

    Files of its cues stay while a branch of it needs them.
    """
    if any(take in (h.session.history.id, h.session.began_as) for h in services.sessions.hosted.values()):
        raise ConflictError("this take is live, or a live one began with it; end that first")
    try:
        await services.renders.forget(take)
        await asyncio.to_thread(delete_take, services.archive.folder, take)
    except KeyError:
        raise ConflictError("this take is being rendered; cancel that first") from None
    except OSError as e:
        raise HTTPException(500, f"not all of the take could be deleted ({e.strerror})") from None


@router.get("/api/takes/{take}/picture", response_class=Response, responses=file_of("image/webp"))
async def picture(take: str, _: KnownTake, services: ServicesOf) -> FileResponse:
    """Send a small picture of a take (WebP); one of an older take is made of its film or recording, and kept."""
    archive = services.archive
    name = picture_file(archive.folder, take).name
    path = archive.file(name)
    if path is None and (film := archive.newest_film(take)) is not None:
        async with _writing:
            if archive.file(name) is None:  # another request may have made it meanwhile
                await asyncio.to_thread(_picture_from, film, archive.folder, take)
        path = archive.file(name)
    if path is None:
        raise NotFoundError("there is no picture of this take")
    return FileResponse(path, media_type="image/webp", headers={"Cache-Control": "private, max-age=3600"})


@router.get("/api/takes/{take}/recordings/{number}", response_class=Response, responses=file_of("video/mp4"))
def recording(take: str, number: int, _: KnownTake, services: ServicesOf) -> StreamingResponse:
    """Send a recording (MP4) as it is now; it may still be growing."""
    path = next((p for p in services.archive.recordings(take) if p.stem == f"{take}-{number}"), None)
    if path is None:
        raise NotFoundError("no such recording")
    return film_so_far(path)


@router.get("/api/takes/{take}/sound", response_class=Response, responses=file_of("audio/wav"))
def sound(script: KnownTake, services: ServicesOf) -> StreamingResponse:
    """Send the speech of an avatar so far (WAV)."""
    return wav_so_far(_beside(services, script.sound))


@router.get("/api/takes/{take}/reference", response_class=Response, responses=file_of("image/png"))
def reference(script: KnownTake, services: ServicesOf) -> FileResponse:
    """Send the portrait of an avatar's take (PNG)."""
    path = _beside(services, script.reference)
    return FileResponse(path, media_type="image/png", filename=path.name)


@router.get("/api/takes/{take}/files", response_class=Response, responses=file_of("application/octet-stream"))
def used_file(script: KnownTake, name: Annotated[str, Query(max_length=200)], services: ServicesOf) -> FileResponse:
    """Send a picture, a film, a record of a camera or an uploaded LoRA that a cue of the take names."""
    path = services.archive.folder / name
    loras = [lora for lora in lora_names(script) if is_uploaded(lora)]  # others lie anywhere on the server
    if not any(name in (*cue.files(), *loras) for cue in script.cues) or not _is_plain(path):
        raise NotFoundError("this take has no such file")
    return FileResponse(path, media_type="application/octet-stream", filename=path.name)


@router.post("/api/takes/{take}/continue", status_code=201, response_model_exclude_none=True, responses=BUSY)
async def continue_take(
    take: str, how: Continuation, script: KnownTake, services: ServicesOf, askers: AskersOf
) -> StartedSession:
    """Start a session that branches at the end of a take; 503 with a ticket while the device is busy, 429 without."""
    if script.sound is not None:
        raise ConflictError("an avatar's take cannot be continued; render it, or begin a new one")
    try:
        past = (await asyncio.to_thread(services.archive.told, take)).history
    except KeyError:  # it runs, and its journal has no chunk yet, or the disk took none
        raise ConflictError("no chunk of this take is on the server's disk; continue it once it has one") from None
    past = _shortened(past, how.latent)
    refuse_links(script, services.archive.folder)
    async with _with_its_loras(services, past, script) as names:
        hosted = await services.sessions.create(
            past.take, how.look_ahead, how.ticket, past=past, askers=askers, loras=names
        )
        return started(services, hosted)


def _shortened(past: TakeHistory, latent: int | None) -> TakeHistory:
    """Return the past up to the chunk border at or before `latent`; ConflictError if nothing is left of it."""
    if latent is None or latent >= past.length:
        return past
    at = max((first for first in past.hashes if first <= latent), default=0)
    if at == 0:
        raise ConflictError("there is nothing before the first chunk; begin a new take with its prompt")
    return replace(past.branched(at), id=past.id, parent=past.parent)


def _picture_from(film: Path, folder: Path, take: str) -> None:
    """Keep the picture that stands a second into a film, or its last one before that."""
    frames = list(islice(pictures_of(film), PICTURE_AT))
    if frames:
        write_picture(folder, take, frames[-1][0])


@contextlib.asynccontextmanager
async def _with_its_loras(services: Services, past: TakeHistory, script: Take) -> AsyncIterator[list[str]]:
    """Let the take's model merge the LoRAs that its cues name, and forget them if the body fails; give their names.

    ConflictError if a file is gone or has changed.
    """
    names = lora_names(script)
    if not names:
        yield []
        return
    model = await services.library.load(past.take.model)
    try:
        await asyncio.to_thread(use_loras, model, script, services.archive.folder)
    except UserError as e:
        raise ConflictError(f"the take cannot go on: {e}") from None
    try:
        if changed := changed_loras(recorded_loras(script), lora_record(model, names)):
            files = ", ".join(changed)
            raise ConflictError(f"the take cannot go on: {files} is another file than the take was made with")
        yield names
    except BaseException:  # a request that is cancelled too
        await forget_loras(model, services.library.thread, names)
        raise


def _summary(services: Services, told: JournalSummary, *, live: bool) -> TakeSummary:
    history = told.history
    fps = catalog.ENTRIES[history.take.model].fps if history.take.model in catalog.ENTRIES else None
    return TakeSummary(
        id=history.id,
        model=history.take.model,
        name=name_of(services.archive.folder, history.id),
        parent=history.parent,
        parent_seconds=round(frames_before(_branched_at(history)) / fps, 1) if fps and history.parent else None,
        latents=history.length,
        seconds=round(frames_before(history.length) / fps, 1) if fps else None,
        sound=history.take.sound is not None,
        prompts=[e.prompt for e in history.landed if e.prompt],
        changed=services.archive.changed(history.id),
        state="live" if live else "ended" if told.ended else "cut off",
        render=services.renders.progress(history.id),
        recordings=[int(p.stem.partition("-")[2]) for p in services.archive.recordings(history.id)],
        picture=services.archive.file(picture_file(services.archive.folder, history.id).name) is not None,
    )


def _branched_at(history: TakeHistory) -> int:
    """Return the latent of its parent at which a branch begins."""
    latent = (history.parent or "").partition("@")[2]
    return int(latent) if latent.isdecimal() else 0


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and not path.parent.is_symlink()


def _beside(services: Services, name: str | None) -> Path:
    """Return the file `name` beside the take file; NotFoundError if the take names no file or the file is gone."""
    path = services.archive.file(name) if name is not None else None
    if path is None:
        raise NotFoundError("this take has no such file")
    return path
