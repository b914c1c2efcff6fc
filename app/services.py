"""What the routes of the server share: models, sessions, connections."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hmac
import json
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import torch
from fastapi import HTTPException

from app.vocabulary import understands
from models import catalog
from models.checkpoints.assemble import Model, folder_of, load
from models.checkpoints.footprint import Speeds, disk, memory
from models.errors import UserError
from models.judge.face_reader import FaceReader
from streaming.background_renders import Renders
from streaming.live.device import DeviceThread
from streaming.live.registry import HostedSession, SessionRegistry
from streaming.live.session import Session
from streaming.live.session_state import SessionState
from streaming.speech.portrait_check import installed_face_reader
from streaming.take.archive import Archive
from streaming.take.take_file import Take
from streaming.transport.peers import OfferError, Peer

FAREWELL = 0.5  # seconds for the word that a session has ended to reach its viewers


class IceError(UserError):
    """ICE servers that cannot be used; one line for a person."""


def ice_servers(text: str | None) -> list[dict[str, Any]]:
    """What the browser gets as `iceServers` (STUN, TURN), from JSON; IceError if a browser would not take it."""
    if not text:
        return []
    try:
        servers = json.loads(text)
    except ValueError as e:
        raise IceError(f"LONGTAKE_ICE is not valid JSON ({e})") from None
    allowed = {"urls", "username", "credential"}
    if not isinstance(servers, list) or not all(
        isinstance(s, dict) and "urls" in s and set(s) <= allowed for s in servers
    ):
        raise IceError('LONGTAKE_ICE is a list such as [{"urls": "turn:HOST", "username": "U", "credential": "C"}]')
    return servers


class Studio:
    """One server's models, sessions and connections."""

    def __init__(
        self, models: Path, data: Path, device: torch.device, *, ice: list[dict[str, Any]] | None = None
    ) -> None:
        self._models, self._device = models, device
        self.archive = Archive(data / "takes")
        self.archive.recover()
        self.ice = ice or []
        self.thread = DeviceThread()
        self.sessions = SessionRegistry(self.load, self.thread, self.archive.folder, ended=self._ended)
        self.renders = Renders(self.archive, models, device.type, self._watched, self._engine_for)
        self.peers: dict[str, Peer] = {}  # by WHEP resource
        self._loaded: dict[str, Model] = {}
        self.engine: Callable[[Model], Model] = lambda model: model  # puts a loaded model on the engine that runs it
        self.engine_asked = "auto"  # what that is chosen by, in the words of --engine
        self._loading = asyncio.Lock()
        self._precision = torch.bfloat16 if device.type == "cuda" else torch.float32
        self._speeds = Speeds(models)
        self.ready = False

    def _watched(self) -> bool:
        running = [h.session for h in self.sessions.hosted.values()]
        return any(s.phase is SessionState.LIVE and len(s.broadcast) for s in running)

    async def load(self, name: str) -> Model:
        """The model of that name, read once, on the device thread."""
        async with self._loading:
            if name not in self._loaded:
                entry = catalog.find(name)
                folder = folder_of(entry, self._models)
                self._loaded[name] = await self.thread.run(
                    lambda: self.engine(load(entry, folder, self._device, self._precision))
                )
        return self._loaded[name]

    @functools.cached_property
    def reader(self) -> FaceReader | None:
        """What reads the faces of avatars for their meters, if that is here."""
        return installed_face_reader()

    def available(self) -> list[dict[str, Any]]:
        """Every model of the catalog: what it is, what it asks for, and whether its files are here."""
        return [self._described(entry) for entry in catalog.ENTRIES.values()]

    def _described(self, entry: catalog.Entry) -> dict[str, Any]:
        size = disk(entry, self._models)
        return {
            "name": entry.name,
            "title": entry.title,
            "speaks": entry.drive is not None,
            "here": size is not None,
            "loaded": entry.name in self._loaded,
            "size": f"{entry.size[0]}x{entry.size[1]}",
            "fps": entry.fps,
            "memory_mb": round(memory(entry, self._precision.itemsize) / 1e6),
            "disk_mb": None if size is None else round(size / 1e6),
            "measured": self._speeds.of(entry.name, self._device.type),
            "understands": {n: [w for ways in v for w in ways] for n, v in understands(entry).items()},
        }

    def _engine_for(self, name: str) -> str:
        """What a render is told by --engine: what this server was, torch for a model that has nothing else here.

        A model that was not opened yet is run by the best that it has: what was asked for it may not have.
        """
        loaded = self._loaded.get(name)
        if loaded is None:
            return "torch" if self.engine_asked == "torch" else "auto"
        return self.engine_asked if loaded.engine else "torch"

    def _ended(self, session: Session) -> None:
        """A session has ended: nothing of it stays for whoever does not hang up."""
        self._measured(session)
        peers = [p for p in self.peers.values() if p.session is session]
        if peers:
            asyncio.get_running_loop().create_task(self._dismiss(peers))

    async def _dismiss(self, peers: list[Peer]) -> None:
        await asyncio.sleep(FAREWELL)
        await asyncio.gather(*(p.close() for p in peers), return_exceptions=True)

    def _measured(self, session: Session) -> None:
        """What a session made is what the next may expect."""
        status = session.status()
        if status.generated_fps and session.index > session.model.entry.rollout.window:
            self._speeds.measured(session.model.entry.name, self._device.type, status.generated_fps, "session")

    def hosted(self, session: str) -> HostedSession:
        if session not in self.sessions.hosted:
            raise HTTPException(404, "no such session; it has ended")
        return self.sessions.hosted[session]

    def controlled(self, session: str, key: str | None) -> HostedSession:
        """The session, if the key is its own."""
        hosted = self.hosted(session)
        if not hmac.compare_digest((key or "").encode(), hosted.key.encode()):
            raise HTTPException(403, "only the holder of the session's key controls it")
        return hosted

    def take(self, name: str) -> Take:
        """A take that runs, or lies in the data folder."""
        for hosted in list(self.sessions.hosted.values()):
            if hosted.session.line.id == name:
                return hosted.session.take()
        try:
            return self.archive.told(name).take()
        except KeyError:
            raise HTTPException(404, "no such take") from None

    async def join(
        self, hosted: HostedSession, sdp: str, controls: Callable[[], bool] | None = None
    ) -> tuple[str, str]:
        """(resource, answer) of a new viewer, or of who controls the session."""
        peer, resource = Peer(hosted.session, controls), secrets.token_hex(16)
        self.peers[resource] = peer  # before it is answered: the session may end meanwhile
        asyncio.get_running_loop().create_task(self._forget(resource, peer))
        try:
            answer = await peer.answer(sdp)
        except OfferError as e:
            raise HTTPException(400, str(e)) from None
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
            await self.renders.close()
            self.thread.close()
