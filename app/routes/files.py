"""Serve the files of a session's take: take in pictures and films that its cues name, list and delete them."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Query, Request
from pydantic import BaseModel

from app.answer_schemas import body_of
from app.dependencies import ControlledSession
from app.errors import ConflictError
from streaming.live.admission import HostedSession
from streaming.take.uploaded_files import (
    DamagedFileError,
    NoRoomError,
    UnknownFormatError,
    UploadedFile,
    UploadedFiles,
)

router = APIRouter()
_checking = asyncio.Semaphore(1)  # so that several uploads need no more memory than one

FileLabel = Annotated[str, Query(min_length=1, max_length=200)]


class SessionFile(BaseModel):
    """A picture or a film that was uploaded for a session's take."""

    name: str  # by which the commands start and source, and cues, name it
    kind: Literal["picture", "film"]
    bytes: int
    notes: list[str]  # on how it was read


@router.post("/api/sessions/{session}/files", status_code=201, openapi_extra=dict(body_of("application/octet-stream")))
async def upload(request: Request, hosted: ControlledSession, name: FileLabel) -> SessionFile:
    """Take in the picture or film in the body, which becomes a file of the take; a mask is a picture.

    413 if the file is too large or the session has its most files, 415 if it is neither a picture nor a film, 422 if it
    is damaged.
    """
    files, label = _files(hosted), "".join(c if c.isprintable() else "?" for c in name)
    try:
        arriving = files.begin()
    except NoRoomError as e:
        raise HTTPException(413, str(e), {"Connection": "close"}) from None
    try:
        async for block in request.stream():
            arriving.write(block)
        async with _checking:
            suffix, found = await asyncio.to_thread(files.checked, arriving, label)
        if hosted.session.over:
            raise ConflictError(f"the take has {hosted.session.state}")
        return _described(files.keep(arriving, suffix, found))
    except NoRoomError as e:
        raise HTTPException(413, str(e), {"Connection": "close"}) from None
    except UnknownFormatError as e:
        raise HTTPException(415, str(e)) from None
    except DamagedFileError as e:
        raise HTTPException(422, str(e)) from None
    except OSError as e:
        if hosted.session.over:  # which deletes what is arriving
            raise ConflictError(f"the take has {hosted.session.state}") from None
        raise HTTPException(507, f"the disk does not take the file ({e.strerror or type(e).__name__})") from None
    finally:
        files.drop(arriving)


@router.get("/api/sessions/{session}/files")
async def uploaded(hosted: ControlledSession) -> list[SessionFile]:
    """List the files that were uploaded for the take, in the order in which they came."""
    return [_described(file) for file in _files(hosted).listed()]


@router.delete("/api/sessions/{session}/files", status_code=204)
async def delete(hosted: ControlledSession, name: FileLabel) -> None:
    """Delete a file that the take has not used; 409 if a cue of it has landed."""
    _files(hosted).delete(name, hosted.session.producer.footage.used)


def _files(hosted: HostedSession) -> UploadedFiles:
    session = hosted.session
    if session.over:
        raise ConflictError(f"the take has {session.state}")
    if session.avatar is not None:
        raise ConflictError("an avatar takes no files; its portrait is chosen when it starts")
    if session.files is None:
        raise ConflictError("takes are not kept on disk here, so that no file can be")
    return session.files


def _described(file: UploadedFile) -> SessionFile:
    return SessionFile(name=file.name, kind=file.kind, bytes=file.size, notes=list(file.notes))
