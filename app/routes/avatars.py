"""Avatars: who can be seen, what they are to say, and their silence."""

from __future__ import annotations

import asyncio
import io
from typing import Annotated, Any
from weakref import WeakKeyDictionary

from fastapi import FastAPI, Header, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from app.services import Studio
from models.pocket.world.portrait import tts
from models.pocket.world.portrait.face import ATTRIBUTES
from models.pocket.world.portrait.gallery import GALLERY, as_png, drawn, face_named
from streaming.render_job import RenderError
from streaming.speech import audio_file
from streaming.speech.avatar_session import LiveAvatar
from streaming.speech.speech_queue import MOST_SECONDS, SpeechQueueError

AT_ONCE = 2  # sounds that are read or spoken at a time: each is a program or a decoder
Key = Annotated[str | None, Header()]


class Text(BaseModel):
    """What is to be said."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[str, Field(min_length=1, max_length=2000)]


class Turns:
    """Who asks first is heard first, however long a sound is on its way or takes to be read.

    An interruption begins a new line: nobody waits for what it was meant for as well.
    """

    def __init__(self) -> None:
        self._lines: WeakKeyDictionary[LiveAvatar, tuple[int, asyncio.Lock]] = WeakKeyDictionary()

    def of(self, avatar: LiveAvatar) -> asyncio.Lock:
        """To be held from the moment a request comes until its sound is handed over; it is taken in that order."""
        epoch, line = self._lines.get(avatar, (-1, asyncio.Lock()))
        if epoch != avatar.epoch:
            line = asyncio.Lock()
            self._lines[avatar] = avatar.epoch, line
        return line


def add(app: FastAPI, studio: Studio) -> None:
    reading, turns = asyncio.Semaphore(AT_ONCE), Turns()

    @app.get("/api/faces")
    def faces() -> dict[str, Any]:
        """The gallery, and what a face can be designed from, the plain value first."""
        return {"gallery": list(GALLERY), "attributes": ATTRIBUTES, "speaks_text": tts.installed()}

    @app.get("/api/faces/{look}")
    def face(look: str) -> Response:
        """A face at rest (PNG): `ada`, or `hair=curly,skin=deep`."""
        try:
            return Response(as_png(drawn(face_named(look[:400]))), media_type="image/png")
        except RenderError as e:
            raise HTTPException(404, str(e)) from None

    @app.post("/api/sessions/{session}/audio", status_code=202)
    async def audio(session: str, request: Request, x_longtake_key: Key = None) -> dict[str, float]:
        """Speak a sound file of any kind, after what is still to be said; how many seconds it has."""
        avatar = _avatar(studio, session, x_longtake_key)
        epoch = avatar.epoch  # before the body, which may be long on its way
        try:
            async with turns.of(avatar):
                body = io.BytesIO(await request.body())
                async with reading:
                    sound = await asyncio.to_thread(audio_file.whole, body, MOST_SECONDS)
                return _say(avatar, sound, epoch)
        except (audio_file.SpeechError, SpeechQueueError) as e:
            raise HTTPException(400, str(e)) from None

    @app.post("/api/sessions/{session}/say", status_code=202)
    async def say(session: str, said: Text, x_longtake_key: Key = None) -> dict[str, float]:
        """Speak a text, read by espeak-ng; 501 where that is not installed."""
        avatar = _avatar(studio, session, x_longtake_key)
        if not tts.installed():
            raise HTTPException(501, "text is read by the program espeak-ng, which is not installed here")
        epoch = avatar.epoch
        try:
            async with turns.of(avatar):
                async with reading:
                    sound = await asyncio.to_thread(tts.speak, said.text, tts.Speaker())
                return _say(avatar, sound, epoch)
        except (tts.SpeechSynthesisError, SpeechQueueError) as e:
            raise HTTPException(400, str(e)) from None

    @app.post("/api/sessions/{session}/interrupt", status_code=202)
    async def interrupt(session: str, x_longtake_key: Key = None) -> dict[str, int]:
        """Silence at once; the epoch that begins."""
        avatar = _avatar(studio, session, x_longtake_key)
        avatar.interrupt("asked to")
        return {"epoch": avatar.epoch}


def _say(avatar: LiveAvatar, sound: audio_file.Sound, epoch: int) -> dict[str, float]:
    """Have it speak what was read for it, unless it was interrupted since `epoch`: who interrupts means that as well."""
    if avatar.epoch != epoch:
        raise HTTPException(409, "it was interrupted meanwhile")
    avatar.say(sound)
    return {"seconds": round(len(sound) / audio_file.RATE, 2)}


def _avatar(studio: Studio, session: str, key: str | None) -> LiveAvatar:
    """The avatar of that session, if the key is its own."""
    avatar = studio.controlled(session, key).session
    if not isinstance(avatar, LiveAvatar):
        raise HTTPException(409, "only an avatar speaks; this session is none")
    if avatar.over:
        raise HTTPException(409, f"the take has {avatar.phase}")
    return avatar
