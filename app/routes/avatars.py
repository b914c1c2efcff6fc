"""Serve avatars: list and draw faces, speak, interrupt."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import BaseModel, Field

from app.answer_schemas import body_of, file_of
from app.dependencies import ControlledAvatar, ServicesOf
from app.errors import ConflictError, NotFoundError
from app.request_body import RequestBody
from models.pocket.world.portrait import tts
from models.pocket.world.portrait.face import ATTRIBUTES
from models.pocket.world.portrait.gallery import GALLERY, FaceError, as_png, drawn, face_named
from streaming.speech import audio_file
from streaming.speech.avatar import Avatar
from streaming.speech.fullband import RATE, Samples
from streaming.speech.speech_queue import MOST_SECONDS
from streaming.speech.spoken_text import spoken

router = APIRouter()


class Faces(BaseModel):
    """The faces that an avatar can have."""

    gallery: list[str]
    attributes: dict[str, list[str]]  # of a designed face → values, the default first
    speaks_text: bool  # whether espeak-ng is installed here


class Text(RequestBody):
    """A text that an avatar speaks."""

    text: Annotated[str, Field(min_length=1, max_length=2000)]


class Spoken(BaseModel):
    """The length of a sound that an avatar will speak, and what its file did not hold."""

    seconds: float
    notes: list[str] = []


class Silenced(BaseModel):
    """The number of interruptions so far."""

    epoch: int


@router.get("/api/faces")
def faces() -> Faces:
    """List the faces of the gallery, and the attributes of a designed face."""
    attributes = {name: list(values) for name, values in ATTRIBUTES.items()}
    return Faces(gallery=list(GALLERY), attributes=attributes, speaks_text=tts.installed())


@router.get("/api/faces/{look}", response_class=Response, responses=file_of("image/png"))
def face(look: str) -> Response:
    """Draw a face at rest (PNG): `ada`, or `hair=curly,skin=deep`."""
    try:
        return Response(as_png(drawn(face_named(look[:400]))), media_type="image/png")
    except FaceError as e:
        raise NotFoundError(str(e)) from None


@router.post("/api/sessions/{session}/audio", status_code=202, openapi_extra=dict(body_of("application/octet-stream")))
async def audio(request: Request, avatar: ControlledAvatar, services: ServicesOf) -> Spoken:
    """Speak a sound file after the sounds that wait; 409 if the avatar is interrupted before the file has arrived."""
    epoch = avatar.epoch  # before the body, which may take long to arrive
    async with services.speech_order.of(avatar):
        body = io.BytesIO(await request.body())
        async with services.speech_order.decoding:
            sound, notes = await asyncio.to_thread(audio_file.whole, body, MOST_SECONDS)
        return _say(avatar, sound, epoch, notes)


@router.post("/api/sessions/{session}/say", status_code=202)
async def say(said: Text, avatar: ControlledAvatar, services: ServicesOf) -> Spoken:
    """Speak a text, synthesised by espeak-ng, after the sounds that wait; 501 where espeak-ng is not installed."""
    if not tts.installed():
        raise HTTPException(501, "speaking a text needs the program espeak-ng, which is not installed on the server")
    epoch = avatar.epoch
    async with services.speech_order.of(avatar):
        async with services.speech_order.decoding:
            sound = await asyncio.to_thread(spoken, said.text, tts.Speaker())
        return _say(avatar, sound, epoch)


@router.post("/api/sessions/{session}/interrupt", status_code=202)
async def interrupt(avatar: ControlledAvatar) -> Silenced:
    """Silence the avatar at once."""
    avatar.interrupt("asked to")
    return Silenced(epoch=avatar.epoch)


def _say(avatar: Avatar, sound: Samples, epoch: int, notes: Sequence[str] = ()) -> Spoken:
    """Give the avatar a sound that was requested in `epoch`; ConflictError if it was interrupted since."""
    if avatar.epoch != epoch:
        raise ConflictError("the avatar was interrupted before this sound was read")
    avatar.say(sound)
    return Spoken(seconds=round(len(sound) / RATE, 2), notes=list(notes))
