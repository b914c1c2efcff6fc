"""Serve the files of a session's take: take in pictures, films and LoRAs that its cues name, list and delete them."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from pydantic import BaseModel

from app.answer_schemas import file_body
from app.dependencies import ControlledSession
from app.errors import ConflictError
from app.form_file import FormError, FormFile, is_form
from streaming.live.admission import HostedSession
from streaming.take.uploaded_files import (
    DamagedFileError,
    Kind,
    NoRoomError,
    UnknownFormatError,
    UploadedFile,
    UploadedFiles,
)

router = APIRouter()
_checking = asyncio.Semaphore(1)  # so that several uploads need no more memory than one

FileLabel = Annotated[str, Query(min_length=1, max_length=200)]


class SessionFile(BaseModel):
    """A picture, a film or a LoRA that was uploaded for a session's take."""

    name: str  # by which the commands start, source and lora, and cues, name it
    kind: Kind
    bytes: int
    notes: list[str]  # on how it was read


@router.post("/api/sessions/{session}/files", status_code=201, openapi_extra=dict(file_body()))
async def upload(request: Request, hosted: ControlledSession, name: FileLabel | None = None) -> SessionFile:
    """Take in the picture, film or LoRA in the body, which becomes a file of the take; a mask is a picture.

    The body is the file, or a form (multipart/form-data) with the file in it, whose name then stands there.

    413 if the file is too large or the session has its most files, 415 if it is no picture, film or LoRA, 422 if it is
    damaged, does not fit the model or stands in no such form.
    """
    files, content_type = _files(hosted), request.headers.get("content-type", "")
    if name is None and not is_form(content_type):
        raise HTTPException(422, "name: say what the file is called, or send it in a form")
    try:
        arriving = files.begin()
    except NoRoomError as e:
        raise HTTPException(413, str(e), {"Connection": "close"}) from None
    try:
        form = FormFile(content_type, arriving.write) if is_form(content_type) else None
        async for block in request.stream():
            (form.feed if form is not None else arriving.write)(block)
        label = name or (form.finish() if form is not None else "")
        label = "".join(c if c.isprintable() else "?" for c in label[:200]) or "the file"
        async with _checking:
            checked = await asyncio.to_thread(files.checked, arriving, label)
        if hosted.session.over:
            raise ConflictError(f"the take has {hosted.session.state}")
        return _described(await hosted.session.keep_file(arriving, checked))
    except NoRoomError as e:
        raise HTTPException(413, str(e), {"Connection": "close"}) from None
    except UnknownFormatError as e:
        raise HTTPException(415, str(e)) from None
    except (DamagedFileError, FormError) as e:
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
    _files(hosted)
    await hosted.session.delete_file(name)


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
