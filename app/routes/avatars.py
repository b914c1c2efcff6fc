"""Serve avatars: list and draw faces, speak, interrupt."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Query, Request, Response
from pydantic import BaseModel, Field

from app.answer_schemas import body_of, file_of
from app.dependencies import ControlledAvatar, ServicesOf
from app.errors import ConflictError, InvalidRequestError, NotFoundError
from app.request_body import RequestBody
from models.pocket.world.portrait.face import ATTRIBUTES
from models.pocket.world.portrait.gallery import GALLERY, FaceError, as_png, cut_out_png, drawn, face_named
from streaming.speech import audio_file
from streaming.speech.avatar import Avatar, Place
from streaming.speech.dialogue_file import MOST_PAUSE, usual_voices
from streaming.speech.fullband import RATE
from streaming.speech.speech_queue import MOST_SECONDS
from streaming.speech.spoken_text import speak_text
from streaming.speech.utterance import Utterance
from streaming.speech.voices.text_voice import VoiceWish
from streaming.take.speakers import SpeakerName
from streaming.transport.events import HeardPart
from streaming.transport.sound_messages import MOST_TEXT, NAME, Name, StartMessage
from streaming.transport.sound_socket import StreamedUtterance

router = APIRouter()


class Faces(BaseModel):
    """The faces that an avatar can have."""

    gallery: list[str]
    attributes: dict[str, list[str]]  # of a designed face → values, the default first
    speaks_text: bool  # whether a voice for texts is installed here
    voice: str  # the kind of that voice: espeak-ng, hibari, command or server


class Text(RequestBody):
    """A text that an avatar speaks."""

    text: Annotated[str, Field(min_length=1, max_length=MOST_TEXT)]
    utterance: Name | None = None  # its name; the server gives one if it is absent
    queue: Annotated[Place, Field(strict=False)] = Place.APPEND  # JSON has no enumerations: read from its name
    speaker: SpeakerName | None = None  # of a dialogue, whose first speaks if it is absent
    # seconds of silence before it in a dialogue, 0.25 after another speaker if it is absent
    pause: Annotated[float, Field(ge=0, le=MOST_PAUSE)] | None = None
    # what the server's voice does not know of these it refuses; espeak-ng knows all
    language: Annotated[str, Field(max_length=20, pattern=r"^[a-z]{2,3}(-[a-z0-9]+)*$")] | None = None
    voice: Annotated[str, Field(max_length=60, pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")] | None = None
    speed: Annotated[int, Field(ge=80, le=300)] | None = None  # words a minute
    pitch: Annotated[int, Field(ge=0, le=99)] | None = None

    @property
    def wish(self) -> VoiceWish:
        """Return how the text is to be spoken."""
        return VoiceWish(self.language, self.voice, self.speed, self.pitch)


class Spoken(BaseModel):
    """The length of a sound that an avatar will speak, and what its file did not hold."""

    utterance: str
    seconds: float
    notes: list[str] = []


class Silenced(BaseModel):
    """The number of interruptions so far, and what was heard of the utterances that this one ended."""

    epoch: int
    heard: list[HeardPart]


class Cleared(BaseModel):
    """The names of utterances that will not be spoken."""

    cleared: list[str]


UtteranceName = Annotated[str | None, Query(pattern=NAME)]
Speaking = Annotated[SpeakerName | None, Query()]  # a speaker of a dialogue


@router.get("/api/faces")
def faces(services: ServicesOf) -> Faces:
    """List the faces of the gallery, and the attributes of a designed face."""
    attributes = {name: list(values) for name, values in ATTRIBUTES.items()}
    voice = services.voice
    return Faces(gallery=list(GALLERY), attributes=attributes, speaks_text=voice.ready, voice=voice.kind)


@router.get("/api/faces/{look}", response_class=Response, responses=file_of("image/png"))
def face(look: str, *, alpha: bool = False) -> Response:
    """Draw a face at rest (PNG): `ada`, or `hair=curly,skin=deep`. With `alpha` nothing is behind it."""
    try:
        found = face_named(look[:400])
    except FaceError as e:
        raise NotFoundError(str(e)) from None
    return Response(cut_out_png(found) if alpha else as_png(drawn(found)), media_type="image/png")


@router.post("/api/sessions/{session}/audio", status_code=202, openapi_extra=dict(body_of("application/octet-stream")))
async def audio(
    request: Request,
    avatar: ControlledAvatar,
    services: ServicesOf,
    queue: Place = Place.APPEND,
    utterance: UtteranceName = None,
    speaker: Speaking = None,
) -> Spoken:
    """Speak a sound file after the sounds that wait; 409 if the avatar is interrupted before the file has arrived.

    A body of `audio/pcm; rate=24000` (or 16000, 48000; 16 bits, little-endian, mono) is spoken while it arrives.
    """
    face = avatar.speaker(speaker)
    epoch = face.epoch  # before the body, which may take long to arrive
    if (rate := _pcm_rate(request.headers.get("content-type", ""))) is not None:
        return await _streamed(request, face, StartMessage(type="start", utterance=utterance, rate=rate, queue=queue))
    async with services.speech_order.of(face.conversation):
        body = io.BytesIO(await request.body())
        async with services.speech_order.decoding:
            sound, notes = await asyncio.to_thread(audio_file.whole, body, MOST_SECONDS)
        said = Utterance(utterance or face.new_name())
        said.add(sound)
        return _say(face, said, queue, epoch, notes)


@router.post("/api/sessions/{session}/say", status_code=202)
async def say(said: Text, avatar: ControlledAvatar, services: ServicesOf) -> Spoken:
    """Speak a text with the server's voice while it is synthesised; 501 where espeak-ng is not installed, 502 if a
    program or another server fails to speak it, 409 if the avatar is interrupted meanwhile.
    """
    voice, face = services.voice, avatar.speaker(said.speaker)
    epoch = face.epoch
    if said.pause is not None and not avatar.speakers:
        raise InvalidRequestError("a pause is the silence between turns of a dialogue, and this avatar is alone")
    if said.pause is not None and said.queue is Place.REPLACE:
        raise InvalidRequestError("a turn that replaces others begins at once: leave out its pause")
    if not voice.ready:
        raise HTTPException(501, "speaking a text needs the program espeak-ng, which is not installed on the server")
    wish = said.wish
    if wish.voice is None and avatar.speakers and voice.kind == "espeak-ng":
        wish = replace(wish, voice=usual_voices(avatar.speakers)[(said.speaker or avatar.speakers[0]).casefold()])
    async with services.speech_order.of(face.conversation):
        _require_uninterrupted(face, epoch)
        utterance = Utterance(said.utterance or face.new_name())
        utterance.pause = None if said.pause is None else round(said.pause * RATE)
        await speak_text(face, utterance, said.queue, said.text, voice, wish)
        return _spoken(utterance)


@router.delete("/api/sessions/{session}/utterances")
async def clear(avatar: ControlledAvatar) -> Cleared:
    """Drop the utterances that wait; the one that is being spoken goes on to its end."""
    return Cleared(cleared=[part.utterance for part in avatar.clear()])


@router.delete("/api/sessions/{session}/utterances/{utterance}")
async def cancel(utterance: str, avatar: ControlledAvatar) -> Cleared:
    """Drop an utterance, or interrupt it if it is being spoken; 404 if it has ended."""
    found = avatar.find(utterance)
    if found is None:
        raise NotFoundError("no utterance of this name is being spoken or waits")
    avatar.cancel(found)
    return Cleared(cleared=[found.name])


@router.post("/api/sessions/{session}/interrupt", status_code=202)
async def interrupt(avatar: ControlledAvatar, speaker: Speaking = None) -> Silenced:
    """Silence the avatar at once, or one speaker of a dialogue, and tell what was heard of what it was saying."""
    silenced = avatar if speaker is None else avatar.speaker(speaker)
    heard = silenced.interrupt("asked to")
    return Silenced(epoch=avatar.epoch, heard=heard)


def _say(avatar: Avatar, utterance: Utterance, place: Place, epoch: int, notes: Sequence[str] = ()) -> Spoken:
    """Give the avatar a sound that was requested in `epoch`; ConflictError if it was interrupted since."""
    _require_uninterrupted(avatar, epoch)
    avatar.begin(utterance, place)
    avatar.commit(utterance)
    return _spoken(utterance, notes)


def _require_uninterrupted(avatar: Avatar, epoch: int) -> None:
    if avatar.epoch != epoch:
        raise ConflictError("the avatar was interrupted before this sound was read")


def _spoken(utterance: Utterance, notes: Sequence[str] = ()) -> Spoken:
    return Spoken(utterance=utterance.name, seconds=round(utterance.arrived / RATE, 2), notes=list(notes))


async def _streamed(request: Request, avatar: Avatar, start: StartMessage) -> Spoken:
    """Speak the body of a request while it arrives; what has arrived is spoken if the sender vanishes."""
    said, whole = StreamedUtterance(avatar, start), False
    try:
        async for piece in request.stream():
            said.add(piece)
        whole = True
    finally:
        said.commit(lost=not whole)
    return Spoken(utterance=said.utterance.name, seconds=round(said.samples / start.rate, 2))


def _pcm_rate(content_type: str) -> Literal[16000, 24000, 48000] | None:
    """Return the rate of a body of raw sound; None for a body of another type; InvalidRequestError for a bad one."""
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    if kind != "audio/pcm":
        return None
    given = dict(p.partition("=")[::2] for p in parameters)
    if given.pop("channels", "1") != "1" or set(given) != {"rate"}:
        raise InvalidRequestError("raw sound is mono: send audio/pcm; rate=24000, with rate 16000, 24000 or 48000")
    match given["rate"]:
        case "16000":
            return 16000
        case "24000":
            return 24000
        case "48000":
            return 48000
    raise InvalidRequestError(f"raw sound of rate {given['rate'][:20]}; send it at 16000, 24000 or 48000")
