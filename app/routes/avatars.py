"""Avatars: the faces there are, what an avatar says, and its silence."""

from __future__ import annotations

import asyncio
import io
from typing import Annotated

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from app.dependencies import ControlledAvatar, ServicesOf
from app.errors import ConflictError, NotFoundError
from models.pocket.world.portrait import tts
from models.pocket.world.portrait.face import ATTRIBUTES
from models.pocket.world.portrait.gallery import GALLERY, FaceError, as_png, drawn, face_named
from streaming.speech import audio_file
from streaming.speech.avatar import Avatar
from streaming.speech.speech_queue import MOST_SECONDS

router = APIRouter()


class Faces(BaseModel):
    """The faces that an avatar can have."""

    gallery: list[str]
    attributes: dict[str, list[str]]  # what a face is designed from; the plain value stands first
    speaks_text: bool  # whether espeak-ng is installed here


class Text(BaseModel):
    """A text that an avatar speaks."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[str, Field(min_length=1, max_length=2000)]


class Spoken(BaseModel):
    """The length of a sound that was handed to an avatar."""

    seconds: float


class Silenced(BaseModel):
    """The number of the epoch that begins with an interruption."""

    epoch: int


@router.get("/api/faces")
def faces() -> Faces:
    """List the gallery, and what a face can be designed from."""
    attributes = {name: list(values) for name, values in ATTRIBUTES.items()}
    return Faces(gallery=list(GALLERY), attributes=attributes, speaks_text=tts.installed())


@router.get("/api/faces/{look}")
def face(look: str) -> Response:
    """Draw a face at rest (PNG): `ada`, or `hair=curly,skin=deep`."""
    try:
        return Response(as_png(drawn(face_named(look[:400]))), media_type="image/png")
    except FaceError as e:
        raise NotFoundError(str(e)) from None


@router.post("/api/sessions/{session}/audio", status_code=202)
async def audio(request: Request, avatar: ControlledAvatar, services: ServicesOf) -> Spoken:
    """Speak a sound file of any kind after what waits; 409 if the avatar is interrupted before the file has arrived."""
    epoch = avatar.epoch  # before the body, which may be long on its way
    async with services.speech_order.of(avatar):
        body = io.BytesIO(await request.body())
        async with services.speech_order.decoding:
            sound = await asyncio.to_thread(audio_file.whole, body, MOST_SECONDS)
        return _say(avatar, sound, epoch)


@router.post("/api/sessions/{session}/say", status_code=202)
async def say(said: Text, avatar: ControlledAvatar, services: ServicesOf) -> Spoken:
    """Speak a text, read by espeak-ng, after what waits; 501 where espeak-ng is not installed."""
    if not tts.installed():
        raise HTTPException(501, "text is read by the program espeak-ng, which is not installed here")
    epoch = avatar.epoch
    async with services.speech_order.of(avatar):
        async with services.speech_order.decoding:
            sound = await asyncio.to_thread(tts.speak, said.text, tts.Speaker())
        return _say(avatar, sound, epoch)


@router.post("/api/sessions/{session}/interrupt", status_code=202)
async def interrupt(avatar: ControlledAvatar) -> Silenced:
    """Silence the avatar at once."""
    avatar.interrupt("asked to")
    return Silenced(epoch=avatar.epoch)


def _say(avatar: Avatar, sound: audio_file.Sound, epoch: int) -> Spoken:
    """Hand over a sound that was asked for in `epoch`; ConflictError if the avatar was interrupted since."""
    if avatar.epoch != epoch:
        raise ConflictError("it was interrupted meanwhile")
    avatar.say(sound)
    return Spoken(seconds=round(len(sound) / audio_file.RATE, 2))
