"""The HTTP side of the studio: sessions, signalling, takes, health and metrics. OpenAPI documentation at /docs."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import re
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any

import prometheus_client
import torch
from fastapi import FastAPI, Header, HTTPException, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Lifespan

from app.security import COOKIE, Guard
from app.vocabulary import understands
from models import catalog
from models.checkpoints.assemble import Model, folder_of, load, missing_files
from models.checkpoints.read import CheckpointError
from models.cue import Setting
from streaming import control
from streaming.device import DeviceThread
from streaming.muxer import FragmentMuxer
from streaming.pacing import LookAhead
from streaming.peers import OfferError, Peer
from streaming.session import Session
from streaming.sessions import FullError, Hosted, Sessions
from streaming.take import Entry, Take

log = logging.getLogger(__name__)
PAGE = Path(__file__).parent / "page"
MOST_PIXELS = 4  # times those of a model's own size


class NewSession(BaseModel):
    """What a session begins with."""

    model_config = ConfigDict(extra="forbid")

    prompt: Annotated[str, Field(min_length=1, max_length=4000)]
    model: Annotated[str, Field(max_length=60)] = "pocket"
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


class Studio:
    """What the routes share."""

    def __init__(
        self, models: Path, data: Path, device: torch.device, *, ice: list[dict[str, Any]] | None = None
    ) -> None:
        self._models, self.data, self._device = models, data, device
        self.takes = data / "takes"
        self.takes.mkdir(parents=True, exist_ok=True)
        self.ice = ice or []
        self.thread = DeviceThread()
        self.sessions = Sessions(self.load, self.thread, self.takes)
        self.peers: dict[str, Peer] = {}  # by WHEP resource
        self._loaded: dict[str, Model] = {}
        self.engine: Callable[[Model], Model] = lambda model: model  # puts a loaded model on the engine that runs it
        self.ready = False

    async def load(self, name: str) -> Model:
        """The model of that name, read once, on the device thread."""
        if name not in self._loaded:
            entry = catalog.find(name)
            precision = torch.bfloat16 if self._device.type == "cuda" else torch.float32
            self._loaded[name] = await self.thread.run(
                lambda: self.engine(load(entry, folder_of(entry, self._models), self._device, precision))
            )
        return self._loaded[name]

    def available(self) -> list[dict[str, Any]]:
        """Every model of the catalog, and whether its files are here."""
        return [
            {
                "name": e.name,
                "title": e.title,
                "here": not missing_files(e, folder_of(e, self._models)),
                "size": f"{e.size[0]}x{e.size[1]}",
                "fps": e.fps,
                "understands": {n: [w for ways in v for w in ways] for n, v in understands(e).items()},
            }
            for e in catalog.ENTRIES.values()
        ]

    def hosted(self, session: str) -> Hosted:
        if session not in self.sessions.hosted:
            raise HTTPException(404, "no such session; it has ended")
        return self.sessions.hosted[session]

    def controlled(self, session: str, key: str | None) -> Hosted:
        """The session, if the key is its own."""
        hosted = self.hosted(session)
        if not hmac.compare_digest((key or "").encode(), hosted.key.encode()):
            raise HTTPException(403, "only the holder of the session's key controls it")
        return hosted

    async def join(self, hosted: Hosted, sdp: str, *, controls: bool) -> tuple[str, str]:
        """(resource, answer) of a new viewer."""
        peer = Peer(hosted.session, controls=controls)
        try:
            answer = await peer.answer(sdp)
        except OfferError as e:
            raise HTTPException(400, str(e)) from None
        resource = secrets.token_hex(16)
        self.peers[resource] = peer
        asyncio.get_running_loop().create_task(self._forget(resource, peer))
        return resource, answer

    async def _forget(self, resource: str, peer: Peer) -> None:
        await peer.gone.wait()
        self.peers.pop(resource, None)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While the server runs: tidy sessions; at the end close every connection."""
        await self.load("pocket")
        self.ready = True
        tidying = asyncio.get_running_loop().create_task(self.sessions.run())
        try:
            yield
        finally:
            self.ready = False
            tidying.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await tidying
            await asyncio.gather(*(p.close() for p in list(self.peers.values())), return_exceptions=True)
            self.thread.close()


def create(studio: Studio, token: str | None) -> FastAPI:
    """The server's routes; the studio page is mounted by `app.studio`."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with studio.running():
            yield

    life: Lifespan[FastAPI] = lifespan
    app = FastAPI(title="Longtake", version="0.1.0", lifespan=life)
    app.add_middleware(Guard, token=token)

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> JSONResponse:
        log.error("a request failed", exc_info=error)
        return JSONResponse({"error": "the server failed; its log says more"}, 500)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]  # without the input: it may be large, or not even JSON
        field = ".".join(str(p) for p in first["loc"] if p != "body")
        return JSONResponse({"error": f"{field}: {first['msg']}" if field else first["msg"]}, 422)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)

    _sessions(app, studio)
    _takes(app, studio)
    _operations(app, studio, token)
    return app


def _sessions(app: FastAPI, studio: Studio) -> None:
    @app.get("/api/models")
    async def models() -> list[dict[str, Any]]:
        """What can be started here."""
        return studio.available()

    @app.post("/api/sessions", status_code=201)
    async def create_session(new: NewSession) -> dict[str, Any]:
        """Start a session. 503 with a ticket and a place in line while the device is busy."""
        try:
            entry = catalog.find(new.model)
            if not new.prompt.strip():
                raise ValueError("a prompt must not be empty")
            cues = [Entry(prompt=new.prompt, set={str(k): v for k, v in new.set.items()})]
            seed = secrets.randbelow(2**31) if new.seed is None else new.seed
            take = Take(model=entry.name, seed=seed, size=new.size, length=1, cues=cues)
            _bearable(take, entry)
            hosted = await studio.sessions.create(take, new.look_ahead, new.ticket)
        except FullError as e:
            raise HTTPException(503, {"message": str(e), "ticket": e.ticket, "place": e.place}) from None
        except KeyError as e:
            raise HTTPException(404, str(e.args[0])) from None
        except CheckpointError:
            raise HTTPException(
                409, f"{new.model} is not here; fetch it with: longtake models pull {new.model}"
            ) from None
        except ValueError as e:
            raise HTTPException(400, _one_line(e)) from None
        session = hosted.session
        return {"id": session.id, "key": hosted.key, "take": session.line.id, "seed": take.seed, "ice": studio.ice}

    @app.get("/api/sessions/{session}")
    async def status(session: str) -> dict[str, Any]:
        """Where a session is."""
        running = studio.hosted(session).session
        return {**running.status(), "timeline": running.timeline()}

    @app.post("/api/sessions/{session}/offer")
    async def offer(session: str, body: Offer) -> dict[str, str]:
        """Answer a WebRTC offer."""
        hosted = studio.controlled(session, body.key) if body.key is not None else studio.hosted(session)
        _, answer = await studio.join(hosted, body.sdp, controls=body.key is not None)
        return {"type": "answer", "sdp": answer}

    @app.post("/api/sessions/{session}/control", status_code=202)
    async def command(
        session: str, request: Request, x_longtake_key: Annotated[str | None, Header()] = None
    ) -> dict[str, Any]:
        """The same messages as on the data channel."""
        hosted = studio.controlled(session, x_longtake_key)
        try:
            message = control.parse(await request.body())
            hosted.session.obey(message)
        except control.ControlError as e:
            raise HTTPException(400, str(e)) from None
        return {"accepted": message.id}

    @app.delete("/api/sessions/{session}", status_code=204)
    async def end(session: str, x_longtake_key: Annotated[str | None, Header()] = None) -> None:
        """End a session; its take stays."""
        hosted = studio.controlled(session, x_longtake_key)
        del studio.sessions.hosted[session]
        await hosted.session.close()

    @app.post("/whep/{session}", status_code=201)
    async def whep(session: str, request: Request) -> Response:
        """Watch with any WHEP player (draft-ietf-wish-whep): OBS, GStreamer, a bare page."""
        if request.headers.get("content-type", "").split(";")[0] != "application/sdp":
            raise HTTPException(415, "an offer has the content type application/sdp")
        hosted = studio.hosted(session)
        resource, answer = await studio.join(hosted, (await request.body()).decode("utf-8", "replace"), controls=False)
        return Response(answer, 201, {"Location": f"/whep/{session}/{resource}"}, "application/sdp")

    @app.delete("/whep/{session}/{resource}", status_code=200)
    async def leave(session: str, resource: str) -> None:
        """Stop watching."""
        peer = studio.peers.get(resource)
        if peer is None or peer.session.id != session:
            raise HTTPException(404, "no such viewer")
        await peer.close()

    @app.websocket("/api/sessions/{session}/stream")
    async def stream(socket: WebSocket, session: str) -> None:
        """Fragmented MP4 for a page that WebRTC does not reach, with the control messages as text beside it."""
        if session not in studio.sessions.hosted:
            await socket.close(1008, "no such session; it has ended")
            return
        hosted = studio.sessions.hosted[session]
        await socket.accept()
        await _stream(socket, hosted, socket.query_params.get("key"))


def _bearable(take: Take, entry: catalog.Entry) -> None:
    """One picture of a size that nobody can wait for would hold the device for everybody."""
    width, height = take.width_height(entry.size)
    if width * height > MOST_PIXELS * entry.size[0] * entry.size[1]:
        raise ValueError(f"size {take.size} is too large; {entry.name} draws {entry.size[0]}x{entry.size[1]} by itself")


async def _stream(socket: WebSocket, hosted: Hosted, key: str | None) -> None:
    session = hosted.session
    controls = hmac.compare_digest((key or "").encode(), hosted.key.encode())
    told: asyncio.Queue[str] = asyncio.Queue(256)
    number = 0

    def tell(event: dict[str, Any]) -> None:
        nonlocal number
        number += 1
        if not told.full():
            told.put_nowait(json.dumps({"n": number, **event}))

    viewer, stop_listening = session.broadcast.join(), session.listen(tell)
    tell({"type": "hello", "session": session.id, "controls": controls, **session.facts()})
    tell(session.timeline())
    sending = asyncio.Lock()

    async def pictures() -> None:
        muxer = FragmentMuxer(session.picture_width, session.picture_height, session.model.entry.fps)
        began = False
        while (packet := await viewer.get()) is not None:
            fragment = muxer.add(packet)
            if fragment is None:
                continue
            async with sending:
                if not began:
                    began = True
                    await socket.send_text(json.dumps({"type": "codec", "codec": muxer.codec}))
                    await socket.send_bytes(muxer.init)
                await socket.send_bytes(fragment.data)

    async def words() -> None:
        while True:
            text = await told.get()
            async with sending:
                await socket.send_text(text)

    async def statuses() -> None:
        while True:
            tell(session.status())
            await asyncio.sleep(0.5)

    async def commands() -> None:
        while True:
            message = await socket.receive_text()
            try:
                command = control.parse(message)
                if not controls:
                    raise control.ControlError("this link only watches", command.id)
                session.obey(command)
            except control.ControlError as e:
                tell({"type": "refused", "id": e.number, "why": str(e)})

    tasks = [asyncio.create_task(work()) for work in (pictures, words, statuses, commands)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop_listening()
        session.broadcast.leave(viewer)
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect | RuntimeError):
                log.info("a stream ended: %r", result)
        with contextlib.suppress(Exception):
            await socket.close()


def _takes(app: FastAPI, studio: Studio) -> None:
    @app.get("/api/takes")
    async def takes() -> list[str]:
        """Ids of the takes that lie in the data folder, newest first."""
        files = sorted(studio.takes.glob("*.yaml"), key=lambda p: p.stat().st_mtime, reverse=True)
        return [p.stem for p in files]

    @app.get("/api/takes/{take}", response_class=PlainTextResponse)
    async def one_take(take: str) -> PlainTextResponse:
        """A take as a file that `longtake render` replays to the same latents."""
        for hosted in studio.sessions.hosted.values():
            if hosted.session.line.id == take:
                text = hosted.session.take().dumped()
                break
        else:
            file = studio.takes / f"{take}.yaml"
            if not re.fullmatch(r"[0-9a-f]{12}", take) or not file.is_file():
                raise HTTPException(404, "no such take")
            text = file.read_text(encoding="utf-8")
        return PlainTextResponse(text, headers={"Content-Disposition": f'attachment; filename="{take}.yaml"'})


def _operations(app: FastAPI, studio: Studio, token: str | None) -> None:
    registry = prometheus_client.CollectorRegistry()
    gauges = {
        name: prometheus_client.Gauge(f"longtake_{name}", text, registry=registry)
        for name, text in (
            ("sessions", "running sessions"),
            ("viewers", "connected viewers"),
            ("real_time_factor", "device seconds a media second costs, all sessions"),
            ("buffer_seconds", "media drawn and not yet shown, the least of all sessions"),
        )
    }

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        """A session can be started."""
        return JSONResponse({"ready": studio.ready}, 200 if studio.ready else 503)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Prometheus text."""
        running: list[Session] = [h.session for h in studio.sessions.hosted.values()]
        gauges["sessions"].set(len(running))
        gauges["viewers"].set(sum(len(s.broadcast) for s in running))
        gauges["real_time_factor"].set(sum(s.real_time_factor or 0 for s in running))
        gauges["buffer_seconds"].set(min((s.frames_ahead / s.model.entry.fps for s in running), default=0))
        return Response(prometheus_client.generate_latest(registry), media_type=prometheus_client.CONTENT_TYPE_LATEST)

    @app.get("/login", response_class=HTMLResponse)
    async def login_page() -> str:
        """Where a browser gives the token."""
        return (PAGE / "login.html").read_text(encoding="utf-8")

    @app.post("/login")
    async def login(request: Request) -> Response:
        offered = (await request.body()).decode("utf-8", "replace").removeprefix("token=")
        if token is None or not hmac.compare_digest(offered.encode(), token.encode()):
            raise HTTPException(401, "this is not the token")
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=request.url.scheme == "https")
        return answer

    @app.get("/watch/{session}", response_class=HTMLResponse)
    async def watch(session: str) -> str:
        """The read-only page of a share link."""
        studio.hosted(session)
        return (PAGE / "watch.html").read_text(encoding="utf-8")

    @app.get("/page/{name}")
    async def page(name: str) -> FileResponse:
        """Scripts and styles of the pages."""
        if name not in ("player.js", "player.css", "watch.js"):
            raise HTTPException(404, "no such file")
        return FileResponse(PAGE / name)


def _one_line(error: Exception) -> str:
    errors = getattr(error, "errors", None)
    if errors is not None:
        return str(errors(include_url=False)[0]["msg"]).removeprefix("Value error, ")
    return str(error).splitlines()[0][:200]
