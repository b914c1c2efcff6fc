"""SessionRegistry: start, look, offer, command, end; and WHEP for whoever only watches."""

from __future__ import annotations

import asyncio
import secrets
from typing import Annotated, Any

from fastapi import FastAPI, Header, HTTPException, Request, Response
from pydantic import Base64Bytes, BaseModel, ConfigDict, Field

from app.portrait_choice import portrait_for
from app.services import Studio
from models import catalog
from models.catalog import AVATAR_PROMPT
from models.checkpoints.weight_files import CheckpointError
from models.cue import Reference, Setting
from streaming.live.pacing import LookAhead
from streaming.live.registry import FullError, HostedSession
from streaming.render_job import RenderError
from streaming.speech.portrait_check import DRAWS, Trial
from streaming.take.take_file import CueLine, Take
from streaming.transport.commands import ControlError, parse

MOST_PIXELS = 4  # times those of a model's own size


class NewSession(BaseModel):
    """What a session begins with."""

    model_config = ConfigDict(extra="forbid")

    prompt: Annotated[str, Field(min_length=1, max_length=4000)] | None = None
    model: Annotated[str, Field(max_length=60)] = "pocket"
    face: Annotated[str, Field(max_length=400)] | None = None  # of an avatar: ada, or hair=curly,skin=deep
    portrait: Base64Bytes | None = None  # or a picture
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    size: Annotated[str, Field(max_length=12)] | None = None
    look_ahead: LookAhead = LookAhead.SMOOTH
    set: dict[Setting, Annotated[str, Field(max_length=40)]] = Field(default_factory=dict)
    ticket: Annotated[str, Field(max_length=60)] | None = None


class Offer(BaseModel):
    """A WebRTC offer; with the session's key the peer may control it."""

    model_config = ConfigDict(extra="forbid")

    sdp: str
    key: Annotated[str, Field(max_length=100)] | None = None


def add(app: FastAPI, studio: Studio) -> None:
    @app.get("/api/models")
    def models() -> list[dict[str, Any]]:
        """What can be started here, and what it asks for."""
        return studio.available()

    @app.post("/api/sessions", status_code=201)
    async def create_session(new: NewSession) -> dict[str, Any]:
        """Start a session. 503 with a ticket and a place in line while the device is busy."""
        note: str | None = None
        try:
            entry = catalog.find(new.model)
            prompt = AVATAR_PROMPT if entry.drive is not None and new.prompt is None else new.prompt or ""
            if not prompt.strip():
                raise ValueError("a prompt must not be empty")
            cues = [CueLine(prompt=prompt, set={str(k): v for k, v in new.set.items()})]
            seed = secrets.randbelow(2**31) if new.seed is None else new.seed
            take = Take(model=entry.name, seed=seed, size=new.size, length=1, cues=cues)
            _bearable(take, entry)
            if entry.drive is None:
                hosted = await studio.sessions.create(take, new.look_ahead, new.ticket)
            else:
                size = take.width_height(entry.size)
                portrait = await asyncio.to_thread(portrait_for, new.face, new.portrait, size)  # may take a while
                hosted = await studio.sessions.create_avatar(take, portrait, studio.reader, new.ticket)
                if new.portrait is not None:
                    note = await _doubt(studio, hosted, portrait)
        except FullError as e:
            raise waiting(e) from None
        except KeyError as e:
            raise HTTPException(404, str(e.args[0])) from None
        except CheckpointError:
            raise not_here(new.model) from None
        except (ValueError, RenderError) as e:
            raise HTTPException(400, _one_line(e)) from None
        return begun(studio, hosted) | ({"note": note.partition(";")[0]} if note else {})

    @app.get("/api/sessions/{session}")
    async def status(session: str) -> dict[str, Any]:
        """Where a session is."""
        running = studio.hosted(session).session
        return {**running.status().wire(), "timeline": running.timeline().wire()}

    @app.post("/api/sessions/{session}/offer")
    async def offer(session: str, body: Offer) -> dict[str, str]:
        """Answer a WebRTC offer."""
        hosted = studio.controlled(session, body.key) if body.key is not None else studio.hosted(session)
        _, answer = await studio.join(hosted, body.sdp, hosted.take_seat() if body.key is not None else None)
        return {"type": "answer", "sdp": answer}

    @app.post("/api/sessions/{session}/control", status_code=202)
    async def command(
        session: str, request: Request, x_longtake_key: Annotated[str | None, Header()] = None
    ) -> dict[str, Any]:
        """The same messages as on the data channel."""
        hosted = studio.controlled(session, x_longtake_key)
        try:
            message = parse(await request.body())
            hosted.session.obey(message)
        except ControlError as e:
            raise HTTPException(400, str(e)) from None
        return {"accepted": message.id}

    @app.delete("/api/sessions/{session}", status_code=204)
    async def end(session: str, x_longtake_key: Annotated[str | None, Header()] = None) -> None:
        """End a session; its take stays."""
        studio.controlled(session, x_longtake_key)
        await studio.sessions.end(session)

    @app.post("/whep/{session}", status_code=201)
    async def whep(session: str, request: Request) -> Response:
        """Watch with any WHEP player (draft-ietf-wish-whep): OBS, GStreamer, a bare page."""
        if request.headers.get("content-type", "").split(";")[0] != "application/sdp":
            raise HTTPException(415, "an offer has the content type application/sdp")
        hosted = studio.hosted(session)
        resource, answer = await studio.join(hosted, (await request.body()).decode("utf-8", "replace"))
        return Response(answer, 201, {"Location": f"/whep/{session}/{resource}"}, "application/sdp")

    @app.delete("/whep/{session}/{resource}", status_code=200)
    async def leave(session: str, resource: str) -> None:
        """Stop watching."""
        peer = studio.peers.get(resource)
        if peer is None or peer.session.id != session:
            raise HTTPException(404, "no such viewer")
        await peer.close()


def begun(studio: Studio, hosted: HostedSession) -> dict[str, Any]:
    """What the one who started a session needs to know of it."""
    session = hosted.session
    take = {"take": session.line.id, "seed": session.line.take.seed}
    sound = session.playout.sound is not None
    return {"id": session.id, "key": hosted.key, **take, "ice": studio.ice, "sound": sound}


def waiting(error: FullError) -> HTTPException:
    return HTTPException(503, {"message": str(error), "ticket": error.ticket, "place": error.place})


def not_here(model: str) -> HTTPException:
    return HTTPException(409, f"{model} is not here; fetch it with: longtake models pull {model}")


async def _doubt(studio: Studio, hosted: HostedSession, portrait: Reference) -> str | None:
    """The model's trial of a picture, chunk by chunk between those of the sessions; a session of which it fails is ended."""
    if studio.reader is None:
        return None
    try:
        trial = Trial(hosted.session.model, portrait)
        for _ in range(DRAWS):
            await studio.thread.run(trial.draw)
        return await asyncio.to_thread(trial.doubt, studio.reader)
    except BaseException:
        await studio.sessions.end(hosted.session.id)
        raise


def _bearable(take: Take, entry: catalog.Entry) -> None:
    """One picture of a size that nobody can wait for would hold the device for everybody."""
    width, height = take.width_height(entry.size)
    if width * height > MOST_PIXELS * entry.size[0] * entry.size[1]:
        raise ValueError(f"size {take.size} is too large; {entry.name} draws {entry.size[0]}x{entry.size[1]} by itself")


def _one_line(error: Exception) -> str:
    errors = getattr(error, "errors", None)
    if errors is not None:
        return str(errors(include_url=False)[0]["msg"]).removeprefix("Value error, ")
    return str(error).splitlines()[0][:200]
