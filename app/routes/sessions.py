"""Serve sessions: start one, read its status, connect by WebRTC, command it, end it."""

from __future__ import annotations

import asyncio
import secrets
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import Base64Bytes, BaseModel, Field, ValidationError

from app.answer_schemas import BUSY, body_of
from app.dependencies import (
    AddressOf,
    AskersOf,
    ControlledSession,
    ServicesOf,
    WatchedByRequest,
    WatchedSession,
    watched,
)
from app.errors import InvalidRequestError, validation_message
from app.portrait_choice import portrait_for
from app.request_body import LookAheadName, RequestBody
from app.services import Services
from app.vocabulary import prompt_notes
from models import catalog
from models.catalog import AVATAR_PROMPT
from models.cue import Reference, Setting
from models.text.emphasis import parse_emphasis
from streaming.live.admission import HostedSession
from streaming.live.pacing import LookAhead
from streaming.speech.barge_in import BargeIn, Listening
from streaming.speech.portrait_check import DRAWS, Trial, require_separable
from streaming.speech.portrait_file import Portrait
from streaming.speech.voice_activity import Detector
from streaming.take.speakers import MOST_SPEAKERS, LayoutName, SpeakerName, TakeSpeaker
from streaming.take.take_file import CueLine, Take
from streaming.take.take_notes import require_drawable
from streaming.transport import commands
from streaming.transport.events import StatusEvent, TimelineEvent
from streaming.transport.ice_server import IceServer

MOST_PIXELS = 4  # times those of a model's own size

# a random text by which a page that connects anew takes the place of its former connection
Viewer = Annotated[str, Field(min_length=16, max_length=64)]

router = APIRouter()


class NewSpeaker(RequestBody):
    """Name a speaker of a dialogue, and choose a face: by default that of the gallery with the name."""

    name: SpeakerName
    face: Annotated[str, Field(max_length=400)] | None = None
    portrait: Annotated[Base64Bytes, Field(strict=False)] | None = None


class NewSession(RequestBody):
    """The choices with which a session is started."""

    prompt: Annotated[str, Field(min_length=1, max_length=4000)] | None = None
    model: Annotated[str, Field(max_length=60)] = "pocket"
    face: Annotated[str, Field(max_length=400)] | None = None  # of an avatar: ada, or hair=curly,skin=deep
    portrait: Annotated[Base64Bytes, Field(strict=False)] | None = None  # or a picture file, base64
    # of a dialogue: who speaks, instead of face and portrait, and whether all are shown or the film cuts to the speaker
    speakers: Annotated[list[NewSpeaker], Field(min_length=2, max_length=MOST_SPEAKERS)] | None = None
    layout: LayoutName | None = None
    # of an avatar: the colour that takes the place of what is behind the face, such as #00b140
    background: Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    size: Annotated[str, Field(max_length=12)] | None = None  # WIDTHxHEIGHT in pixels
    look_ahead: LookAheadName = LookAhead.SMOOTH
    set: dict[Setting, Annotated[str, Field(max_length=40)]] = Field(default_factory=dict)
    # of an avatar: what the voice of a listener does to it (by default stop), and what detects that voice
    barge_in: Annotated[BargeIn, Field(strict=False)] | None = None
    detector: Annotated[Detector, Field(strict=False)] | None = None  # by default the best that is installed
    ticket: Annotated[str, Field(max_length=60)] | None = None  # from a 503: keeps the place in line


class StartedSession(BaseModel):
    """A session, described to the client that started it."""

    id: str
    key: str  # controls the session
    take: str
    seed: int
    ice: list[IceServer]
    sound: bool
    note: str | None = None  # a warning, such as that a portrait holds no face or a word is not known


class SessionStatus(StatusEvent):
    """The newest status event of a session, and its timeline."""

    timeline: TimelineEvent


class Offer(RequestBody):
    """A WebRTC offer; with the session's key the peer may control it."""

    sdp: str
    key: Annotated[str, Field(max_length=100)] | None = None
    viewer: Viewer | None = None


class Answer(BaseModel):
    """The answer to an offer, as a browser's `setRemoteDescription` takes it, and where to send later candidates."""

    type: str = "answer"
    sdp: str
    resource: str  # takes PATCH with candidates, and DELETE, at /whep/{session}/{resource}
    etag: str  # of the ICE session, for If-Match


class Accepted(BaseModel):
    """The number of a command that was accepted."""

    accepted: int


@router.post("/api/sessions", status_code=201, response_model_exclude_none=True, responses=BUSY)
async def create_session(new: NewSession, services: ServicesOf, askers: AskersOf) -> StartedSession:
    """Start a session; 503 with a ticket and a place in line while the device is busy, 429 if there is no place."""
    entry = catalog.find(new.model)
    take = first_take(new, entry)
    if entry.driving_features is None:
        notes = prompt_notes(entry, take)
        take = await services.library.with_loras(take)
        hosted = await services.sessions.create(take, new.look_ahead, new.ticket, askers=askers)
        return started(services, hosted, "; ".join(notes) or None)
    if new.speakers is not None:
        return await _create_dialogue(new, new.speakers, take, services, askers)
    portrait = await asyncio.to_thread(_portrait, new.face, new.portrait, take)  # may take a while
    listening = Listening(new.barge_in or BargeIn.STOP, new.detector)
    hosted = await services.sessions.create_avatar(
        take, portrait.reference, services.face_reader, new.ticket, askers=askers, listening=listening
    )
    doubt = await _portrait_note(services, hosted, portrait.reference) if new.portrait is not None else None
    notes = [*portrait.notes, *([doubt] if doubt else [])]
    return started(services, hosted, "; ".join(notes) or None)


async def _create_dialogue(
    new: NewSession, speakers: list[NewSpeaker], take: Take, services: Services, askers: frozenset[str]
) -> StartedSession:
    """Start a session in which several faces speak in turn."""
    portraits: dict[str, Reference] = {}
    notes: list[str] = []
    for one in speakers:
        face = one.face if one.face is not None or one.portrait is not None else one.name.casefold()
        portrait = await asyncio.to_thread(_portrait, face, one.portrait, take)  # may take a while
        portraits[one.name] = portrait.reference
        notes += [f"{one.name}: {note}" for note in portrait.notes]
    listening = Listening(new.barge_in or BargeIn.STOP, new.detector)
    hosted = await services.sessions.create_dialogue(
        take, portraits, services.face_reader, new.ticket, askers=askers, listening=listening
    )
    return started(services, hosted, "; ".join(notes) or None)


@router.get("/api/sessions/{session}", response_model_exclude_unset=True)
async def status(hosted: WatchedSession) -> SessionStatus:
    """Report where a session is and what it measures: its newest status event, and its timeline."""
    status, timeline = hosted.session.status(), hosted.session.timeline()
    return SessionStatus.model_validate({**status.wire(), "timeline": timeline.wire()})


@router.get("/api/sessions/{session}/ice", response_model_exclude_none=True)
async def ice(found: WatchedByRequest, services: ServicesOf) -> list[IceServer]:
    """Name the ICE servers, for a viewer or for connecting once more.

    Their credentials are valid for an hour, and no longer than the share link of the path.
    """
    return services.ice_for(found.link)


@router.post("/api/sessions/{session}/offer")
async def offer(session: str, body: Offer, request: Request, near: AddressOf, services: ServicesOf) -> Answer:
    """Answer a WebRTC offer; 503 if the share link, the session or the server has its most viewers."""
    if body.key is not None:
        hosted = services.controlled(session, body.key)
        resource, answer = await services.join(hosted, body.sdp, hosted.take_seat(), viewer=body.viewer, near=near)
    else:
        found = await watched(session, request, services)
        resource, answer = await services.join(found.hosted, body.sdp, link=found.link, viewer=body.viewer, near=near)
    return Answer(sdp=answer, resource=resource, etag=services.peers[resource].etag)


@router.post("/api/sessions/{session}/control", status_code=202, openapi_extra=dict(body_of("application/json")))
async def control(request: Request, hosted: ControlledSession) -> Accepted:
    """Obey a command, which is a JSON object as on the data channel."""
    command = commands.parse(await request.body())
    hosted.session.obey(command)
    return Accepted(accepted=command.id)


@router.delete("/api/sessions/{session}", status_code=204)
async def end(hosted: ControlledSession, services: ServicesOf) -> None:
    """End a session; its take stays."""
    await services.sessions.end(hosted.session.id)


def first_take(new: NewSession, entry: catalog.Entry) -> Take:
    """Return the take that a session begins with; InvalidRequestError if the model cannot or should not draw it."""
    if entry.driving_features is None and (new.face is not None or new.portrait is not None):
        raise InvalidRequestError(f"face and portrait are for an avatar, and {entry.name} is none; leave them out")
    if entry.driving_features is None and (new.barge_in is not None or new.detector is not None):
        raise InvalidRequestError(f"barge_in and detector are for an avatar, and {entry.name} is none; leave them out")
    if entry.driving_features is None and new.background is not None:
        raise InvalidRequestError(f"background is for an avatar, and {entry.name} is none; leave it out")
    if entry.driving_features is None and (new.speakers is not None or new.layout is not None):
        raise InvalidRequestError(f"speakers and layout are for an avatar, and {entry.name} is none; leave them out")
    if new.speakers is not None and (new.face is not None or new.portrait is not None):
        raise InvalidRequestError("face and portrait are of one avatar; a dialogue's speakers have their own")
    if entry.driving_features is not None and "look_ahead" in new.model_fields_set:
        raise InvalidRequestError("look_ahead: an avatar always draws as little ahead as it can; leave it out")
    prompt = AVATAR_PROMPT if entry.driving_features is not None and new.prompt is None else new.prompt or ""
    if not prompt.strip():
        raise InvalidRequestError("a prompt must not be empty")
    seed = secrets.randbelow(2**31) if new.seed is None else new.seed
    try:
        parse_emphasis(prompt)
    except ValueError as e:
        raise InvalidRequestError(str(e)) from None
    try:
        cue = CueLine(prompt=prompt, set={str(k): v for k, v in new.set.items()})
        named = [TakeSpeaker(name=one.name) for one in new.speakers] if new.speakers is not None else None
        take = Take(
            model=entry.name,
            seed=seed,
            size=new.size,
            length=1,
            speakers=named,
            layout=new.layout,
            background=new.background.lower() if new.background is not None else None,
            cues=[cue],
        )
    except ValidationError as e:
        raise InvalidRequestError(validation_message(e)) from None
    width, height = take.width_height(entry.size)
    if width * height > MOST_PIXELS * entry.size[0] * entry.size[1]:  # one chunk would block the device
        usual = f"{entry.size[0]}x{entry.size[1]}"
        raise InvalidRequestError(f"size {take.size} is too large; {entry.name} draws {usual} by itself")
    require_drawable(take, entry)
    return take


def started(services: Services, hosted: HostedSession, note: str | None = None) -> StartedSession:
    """Describe a session to the client that started it, with `note` and what its admission has to say."""
    session, notes = hosted.session, [n for n in (note, hosted.admission.note) if n]
    return StartedSession(
        id=session.id,
        key=hosted.key,
        take=session.history.id,
        seed=session.history.take.seed,
        ice=services.ice_for(None),
        sound=session.playout.sound is not None,
        note="; ".join(notes) or None,
    )


def _portrait(face: str | None, picture: bytes | None, take: Take) -> Portrait:
    """Return the portrait of a face of a take, as `portrait_for` does; PortraitError if it fits no background."""
    portrait = portrait_for(face, picture, take.width_height(catalog.find(take.model).size))
    if take.background is not None:
        require_separable(portrait.reference)
    return portrait


async def _portrait_note(services: Services, hosted: HostedSession, portrait: Reference) -> str | None:
    """Draw a few chunks with a picture as portrait; return what is wrong with it, or None.

    The device draws chunks of other sessions in between. If the trial itself fails, the session is ended.
    """
    if services.face_reader is None:
        return None
    try:
        trial = Trial(hosted.session.model, portrait)
        for _ in range(DRAWS):
            await services.library.thread.run(trial.draw)
        doubt = await asyncio.to_thread(trial.doubt, services.face_reader)
    except BaseException:
        await services.sessions.end(hosted.session.id)
        raise
    return doubt.partition(";")[0] if doubt else None  # the rest names options of the command line
