"""Route requests to the workers that have their sessions: the page, its API and its streams have one address.

What concerns no session (pages, takes, renders, models) this process answers itself. Media go straight from a worker to
its viewers; here pass the offers, commands and films over WebSockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import prometheus_client
import websockets
from fastapi import APIRouter, Request, Response, WebSocket
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from prometheus_client import CollectorRegistry, Gauge
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocketDisconnect

from app.cluster.director import Director
from app.cluster.fleet import Fleet, SessionReport
from app.cluster.placement import Bounds, Order
from app.cluster.roster import Member, MovingError, NoSuchSessionError, WorkerState
from app.cluster.session_files import SessionFiles
from app.cluster.worker_server import WorkerOptions, kind_of
from app.credentials import Credentials
from app.data_folder import SESSIONS, has_workers
from app.dependencies import address_of, askers_of
from app.services import Services
from app.share_links import ShareLinks, is_link
from models.catalog import ENTRIES
from models.checkpoints.footprint import memory_bytes
from models.errors import UserError
from streaming.transport.websocket import NOT_PERMITTED, fitting_reason

log = logging.getLogger(__name__)

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
CONNECT_SECONDS = 2.0  # for a connection to a worker, which is on the same network
ANSWER_SECONDS = 330.0  # for an answer; the longest body takes 300 s
TRY_AGAIN = 1013  # a close code (IANA's registry of RFC 6455)
# a proxy's own (RFC 9110, section 7.6.1), and what this process has checked or adds itself
_OWN = frozenset(
    ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer")
) | {"transfer-encoding", "upgrade", "host", "cookie", "origin", "date", "x-forwarded-for", "forwarded"}


@dataclass(frozen=True)
class _Wish:
    """Tell what a session is asked for, as far as a place for it depends on that."""

    order: Order
    kind: str
    fps: int
    ticket: str | None


class Ingress:
    """Own the director, and pass requests on to the workers."""

    def __init__(self, fleet: Fleet, bounds: Bounds, services: Services, options: WorkerOptions) -> None:
        """Route to the workers of `fleet`, which have `options`; `services` are those of this process."""
        self._services, self._secret, self._fleet = services, options.secret, fleet
        self._links = ShareLinks(secret=options.links)
        self._data = options.studio.data
        self._files = SessionFiles(self._data / SESSIONS)
        self.director = Director(fleet, bounds, self._journal, release=options.release, left=self._left)
        services.drawn_elsewhere = self.director.roster.takes
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
            trust_env=False,  # workers are reached directly
        )
        self.router = APIRouter(include_in_schema=False)
        self._add_routes()

    def holds_key(self, session: str, key: str) -> bool:
        """Return whether there is a session of this id, and this is its key."""
        return self.director.roster.holds_key(session, key)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Direct workers until the server ends; they live on, for the next one."""
        if not await self._fleet.found() and not has_workers(self._data):  # else their takes seem to be left by a kill
            await asyncio.to_thread(self._services.recover)
        directing = asyncio.create_task(self.director.run())
        try:
            yield
        finally:
            directing.cancel()
            await asyncio.gather(directing, return_exceptions=True)
            await self._client.aclose()

    async def _journal(self, take: str) -> int:
        path = self._services.archive.folder / f"{take}.jsonl"
        return (await asyncio.to_thread(path.stat)).st_size

    async def _left(self) -> Mapping[str, tuple[str, SessionReport]]:
        found = await asyncio.to_thread(self._files.left)
        return {session: (facts.worker, facts.report()) for session, facts in found.items()}

    def _add_routes(self) -> None:
        add = self.router.add_api_route
        add("/api/sessions", self._begin_session, methods=["POST"])
        add("/api/takes/{take}/continue", self._continue_take, methods=["POST"])
        for place in ("/api/sessions", "/whep", "/whip", "/watch"):
            add(place + "/{segment}", self._forward, methods=METHODS)
            add(place + "/{segment}/{rest:path}", self._forward, methods=METHODS)
        self.router.add_api_websocket_route("/api/sessions/{segment}/{rest:path}", self._relay)
        add("/api/load", self._load, methods=["GET"])
        add("/api/workers", self._workers, methods=["GET"])
        add("/api/workers/{name}", self._drain, methods=["DELETE"], status_code=202)
        add("/readyz", self._readyz, methods=["GET"])
        add("/metrics", self._metrics, methods=["GET"], response_class=PlainTextResponse)

    # -- beginning a session ----------------------------------------------------------------------------------------

    async def _begin_session(self, request: Request) -> Response:
        """Have a worker begin a session; 503 with a place in the one line of all workers."""
        body = await request.body()
        asked = _object(body)
        speakers = asked.get("speakers")
        faces = len(speakers) if isinstance(speakers, list) and speakers else 1
        wish = await self._wish(asked.get("model", "pocket"), asked.get("size"), faces, asked)
        return await self._place(request, body, wish)

    async def _continue_take(self, request: Request, take: str) -> Response:
        """Have a worker continue a take; 503 as of a session."""
        body, script = await request.body(), await self._services.take(take)
        wish = await self._wish(script.model, script.size, script.faces, _object(body))
        return await self._place(request, body, wish)

    async def _wish(self, model: object, size: object, faces: int, asked: Mapping[str, Any]) -> _Wish:
        entry, ticket = ENTRIES.get(str(model)), asked.get("ticket")
        kind = kind_of(str(model), size if isinstance(size, str) else None, faces)
        # 2 bytes a value, the least; counting its parameters takes a while for the first time
        memory = await asyncio.to_thread(memory_bytes, entry, 2) // 1_000_000 if entry is not None else 0
        order = Order(self.director.roster.expected(kind, faces), str(model), memory)
        return _Wish(order, kind, entry.fps if entry is not None else 16, ticket if isinstance(ticket, str) else None)

    async def _place(self, request: Request, body: bytes, wish: _Wish) -> Response:
        """Offer a session to one worker after another until one takes it; FullError if none does."""
        askers = await askers_of(request)
        headers = await self._headers(request, authorized=True) | {"accept-encoding": "identity"}
        for worker in self.director.workers_for(wish.order, wish.ticket, askers):
            member = self.director.roster.members.get(worker.name)
            if member is None:
                continue
            with self.director.placing(worker, wish.order):
                try:
                    answer = await self._client.post(self._address(member, request), content=body, headers=headers)
                except httpx.TransportError as e:  # a session that it may have begun ends by itself: nobody watches it
                    log.warning("%s cannot be asked for a session: %r", worker.name, e)
                    continue
                if answer.status_code == 503:
                    continue
                if answer.status_code == 201:
                    told, cost = answer.json(), wish.order.expected
                    report = SessionReport(
                        told["key"], told["take"], 0, wish.fps, playing=False, factor=cost, kind=wish.kind
                    )
                    self.director.began(worker, told["id"], report, wish.ticket)
                return Response(answer.content, answer.status_code, _passed(answer.headers))
        raise self.director.full(wish.order, wish.ticket, askers)

    # -- a session that runs ----------------------------------------------------------------------------------------

    async def _forward(self, request: Request) -> Response:
        """Pass a request on to the worker that has its session, and its answer back, as they arrive."""
        try:
            member = self._member(request)
        except NoSuchSessionError:
            if not request.url.path.startswith("/watch/") or not (ready := self.director.roster.rooms()):
                raise
            member = self.director.roster.members[ready[0].worker]  # a page tells a person of it
        headers = await self._headers(request, authorized=await self._is_authorized(request))
        empty = request.method in ("GET", "HEAD", "OPTIONS") or headers.get("content-length") == "0"
        sent = self._client.build_request(
            request.method,
            self._address(member, request),
            headers=headers,
            content=None if empty else request.stream(),
        )
        try:
            answer = await self._client.send(sent, stream=True)
        except httpx.TransportError as e:
            raise self._unreachable(member, e) from None
        if request.method == "DELETE" and answer.status_code == 204 and "rest" not in request.path_params:
            self.director.roster.ended(request.path_params["segment"])  # its place is free before the next report
        return StreamingResponse(_streamed(answer), answer.status_code, _passed(answer.headers))

    async def _relay(self, socket: WebSocket) -> None:
        """Pass the messages of a WebSocket on in both directions, until either side ends it."""
        try:
            member = self._member(socket)
            headers = await self._headers(socket, authorized=await self._is_authorized(socket))
        except UserError as e:
            await socket.accept()
            code = TRY_AGAIN if isinstance(e, MovingError) else NOT_PERMITTED
            await socket.close(code, fitting_reason(str(e)))
            return
        except HTTPException as e:
            await socket.accept()
            await socket.close(NOT_PERMITTED, fitting_reason(str(e.detail)))
            return
        address = self._address(member, socket).replace("http", "ws", 1)
        headers = {name: value for name, value in headers.items() if not name.startswith("sec-websocket")}
        await socket.accept()
        try:
            async with websockets.connect(
                address,
                additional_headers=headers,
                open_timeout=CONNECT_SECONDS,
                max_size=None,
                max_queue=2,  # little of a film waits here: the line to the viewer sets the pace
                compression=None,
                proxy=None,
                user_agent_header=None,
            ) as other:
                await _joined(socket, other)
        except (OSError, TimeoutError, websockets.InvalidHandshake) as e:
            log.info("%s", self._unreachable(member, e))
            with contextlib.suppress(RuntimeError):
                await socket.close(TRY_AGAIN, "the session is being moved to another worker")

    def _member(self, request: HTTPConnection) -> Member:
        """Return the worker that has the session of a path, which names it by id or by share link."""
        segment = request.path_params["segment"]
        session = self._links.signed(segment).session if is_link(segment) else segment
        member = self.director.roster.worker_of(session)
        if not member.report.address:
            raise MovingError("the worker of this session has not answered yet; try again in a moment")
        return member

    async def _is_authorized(self, request: HTTPConnection) -> bool:
        """Return whether a request has what the server as a whole needs, beside what its session may need."""
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        if path.startswith("/whip/"):  # the bearer token is the session's key
            return False
        key = request.headers.get("x-longtake-key") or request.query_params.get("key", "")
        if key and self.holds_key(request.path_params["segment"], key):
            return False
        credentials: Credentials = request.app.state.credentials
        return credentials.accept(request.headers, await address_of(request) or "?")

    async def _headers(self, request: HTTPConnection, *, authorized: bool) -> dict[str, str]:
        """Return the headers of a request as a worker is to see them: who asks, and what this process permits."""
        headers = {
            name: value
            for name, value in request.headers.items()
            if name not in _OWN and not name.startswith("sec-fetch")
        }
        headers["x-forwarded-for"] = await address_of(request) or "?"
        if authorized:
            headers["authorization"] = f"Bearer {self._secret}"
        return headers

    def _address(self, member: Member, request: HTTPConnection) -> str:
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        query = request.scope["query_string"].decode("latin-1")
        return member.report.address + quote(path) + (f"?{query}" if query else "")

    def _unreachable(self, member: Member, error: Exception) -> MovingError:
        log.info("%s cannot be reached: %r", member.worker.name, error)
        return MovingError("the machine of this session does not answer; it goes on in a moment")

    # -- figures ----------------------------------------------------------------------------------------------------

    async def _load(self) -> Response:
        """Tell what share of the workers' time is taken, and how many wait."""
        roster, director = self.director.roster, self.director
        sessions = sum(len(roster.sessions_of(name)) for name in roster.members)
        share, ready = round(roster.load(), 3), len(roster.rooms())
        words = f"{sessions} sessions take {share:.0%} of the time of {ready} workers"
        words += f"; {director.waiting} in line" if director.waiting else ""
        return JSONResponse({"share": share, "sessions": sessions, "waiting": director.waiting, "words": words})

    async def _workers(self) -> Response:
        """List the workers with their state, load and sessions."""
        roster = self.director.roster
        listed = [
            {
                "name": name,
                "address": member.report.address,
                "state": str(member.state),
                "load": round(roster.load_of(member), 3),
                "sessions": roster.sessions_of(name),
                "models": sorted(member.report.models),
                "release": member.report.release,
            }
            for name, member in roster.members.items()
        ]
        return JSONResponse({"workers": listed, "hiring": self.director.hiring, "moving": list(roster.homeless)})

    async def _drain(self, name: str) -> Response:
        """Have a worker take no further session, move those that it has, and end."""
        self.director.drain(name)
        return JSONResponse({"draining": name}, 202)

    async def _readyz(self) -> Response:
        """Say whether a session can be started: whether there is a worker for it."""
        ready = self._services.ready and bool(self.director.roster.rooms())
        return JSONResponse({"ready": ready}, 200 if ready else 503, {} if ready else {"Retry-After": "1"})

    async def _metrics(self) -> Response:
        """Give the figures of all workers in the text format of Prometheus."""
        registry, director = CollectorRegistry(), self.director
        roster, figures = director.roster, director.figures
        workers = Gauge("longtake_workers", "workers", ["state"], registry=registry)
        for state in WorkerState:
            workers.labels(state).set(sum(m.state is state for m in roster.members.values()))
        workers.labels("hiring").set(director.hiring)
        load = Gauge("longtake_worker_load", "share of a worker's time that is taken", ["worker"], registry=registry)
        for name, member in roster.members.items():
            load.labels(name).set(roster.load_of(member))
        moved = Gauge("longtake_moved", "sessions that went on in another worker", ["why"], registry=registry)
        for why, count in figures.moved.items():
            moved.labels(why).set(count)
        values = {
            "sessions": ("running sessions", sum(len(roster.sessions_of(name)) for name in roster.members)),
            "moving": ("sessions that are being moved", len(roster.homeless)),
            "waiting": ("requests for a session that wait in line", director.waiting),
            "lost": ("sessions that could not go on", figures.lost),
            "moved_seconds": ("seconds for which moved sessions had no worker, in all", figures.seconds),
        }
        for name, (text, value) in values.items():
            Gauge(f"longtake_{name}", text, registry=registry).set(value)
        return Response(prometheus_client.generate_latest(registry), media_type=prometheus_client.CONTENT_TYPE_LATEST)


def _object(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body, empty if it is none: the worker refuses it with the reason."""
    try:
        found = json.loads(body or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _passed(headers: httpx.Headers) -> dict[str, str]:
    """Return the headers of a worker's answer that are passed on."""
    return {name: value for name, value in headers.items() if name not in _OWN}


async def _streamed(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for part in answer.aiter_raw():
            yield part
    finally:
        await answer.aclose()


async def _joined(socket: WebSocket, other: websockets.ClientConnection) -> None:
    """Pass messages between a viewer and a worker until one of them closes, and close the other as it did."""

    async def up() -> None:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1000))
            sent = message.get("text")
            await other.send(message["bytes"] if sent is None else sent)

    async def down() -> None:
        async for message in other:
            await (socket.send_text(message) if isinstance(message, str) else socket.send_bytes(message))

    tasks = [asyncio.create_task(up()), asyncio.create_task(down())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    code = other.close_code if other.close_code not in (None, 1006) else TRY_AGAIN  # 1006: the worker has vanished
    with contextlib.suppress(RuntimeError):  # the viewer has closed
        await socket.close(code or TRY_AGAIN, other.close_reason or "")
