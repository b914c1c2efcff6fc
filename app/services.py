"""Hold the state that the server's routes share: sessions, viewers' connections, takes and background renders."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hmac
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

from app.audience import Audience, Viewing
from app.errors import NotAllowedError, NotFoundError
from app.model_library import ModelLibrary
from app.render_program import render_program
from app.settings import Settings
from app.share_links import ShareLink, ShareLinks, is_link
from app.speech_request import SpeechOrder
from models.judge.face_reader import FaceReader
from streaming.background_renders import BackgroundRenders
from streaming.job_table import JobTable
from streaming.live.admission import GRACE, HostedSession, SessionRegistry
from streaming.live.session import Session
from streaming.live.session_state import SessionState
from streaming.live.speed_forecast import SpeedForecast
from streaming.speech.portrait_check import installed_face_reader
from streaming.speech.voices.text_voice import EspeakVoice, TextVoice
from streaming.take.archive import Archive
from streaming.take.take_file import Take
from streaming.transport.camera import CameraPeer
from streaming.transport.connection import WebRtcConnection
from streaming.transport.ice_server import IceServer
from streaming.transport.ice_servers import IceServers
from streaming.transport.peers import Peer
from streaming.transport.publish_target import PublishTarget
from streaming.transport.publishing import Publishing
from streaming.video_files import VideoFiles

FAREWELL_SECONDS = 0.5  # between the end of a session and closing its connections, so that viewers are told


class Services:
    """Hold one server's sessions, connections, takes and renders; methods must be called in the event loop."""

    def __init__(
        self,
        library: ModelLibrary,
        data: Path,
        *,
        ice: IceServers | None = None,
        grace: float = GRACE,
        keep_speech: bool = True,
        voice: TextVoice | None = None,
        publish: PublishTarget | None = None,
    ) -> None:
        """Open the data folder, and write the missing take files of takes that a kill interrupted.

        A session ends `grace` seconds after its last viewer has left and its last command. Without `keep_speech` the
        sound of an avatar is deleted at the end of its session, or now if a kill was in between. `voice` reads texts
        (by default espeak-ng). The films of all sessions are published to `publish`, if it is given.
        """
        self.library, self.ice = library, ice or IceServers()
        self.voice: TextVoice = voice or EspeakVoice()
        self.publishing = Publishing(publish, self.ice.own) if publish is not None else None
        self.archive = Archive(data / "takes")
        self.archive.recover()
        self.sessions = SessionRegistry(
            library.load,
            library.thread,
            self.archive.folder,
            grace=grace,
            begun=self.publishing.begin if self.publishing is not None else lambda _: None,
            ended=self._ended,
            closed=(lambda _: None) if keep_speech else self._forget_speech,
            forecast=SpeedForecast(library.speeds, library.device.type),
        )
        if not keep_speech:
            for told in self.archive.newest():
                if not told.ended:
                    self.archive.forget_sound(told.history.id)
        self._jobs = JobTable(data / "jobs.sqlite")
        self.renders = BackgroundRenders(
            self.archive,
            self._jobs,
            VideoFiles(data / "videos"),
            functools.partial(render_program, library),
            device=library.device.type,
            watched=self._watched,
        )
        self.speech_order = SpeechOrder()
        self.links, self.audience = ShareLinks(), Audience()
        self._tasks: set[asyncio.Task[None]] = set()
        self.peers: dict[str, WebRtcConnection] = {}  # viewers and cameras, by WHEP or WHIP resource
        self.ready = False

    @classmethod
    def of(cls, settings: Settings, library: ModelLibrary, data: Path, voice: TextVoice | None = None) -> Services:
        """Return the services of a server with these settings, and a voice for texts."""
        return cls(
            library,
            data,
            ice=IceServers(settings.ice_servers, settings.turn_secret),
            grace=settings.grace,
            keep_speech=settings.keep_speech,
            voice=voice,
            publish=settings.publish,
        )

    @functools.cached_property
    def face_reader(self) -> FaceReader | None:
        """Return the network that reads faces for an avatar's meters; None if its weights are not installed."""
        return installed_face_reader()

    def session(self, name: str) -> HostedSession:
        """Return the running session with this id; NotFoundError if there is none."""
        if name not in self.sessions.hosted:
            raise NotFoundError("no such session; it has ended")
        return self.sessions.hosted[name]

    def controlled(self, name: str, key: str | None) -> HostedSession:
        """Return the session with this id and key; NotFoundError for another id, NotAllowedError for another key."""
        hosted = self.session(name)
        if not hmac.compare_digest((key or "").encode(), hosted.key.encode()):
            raise NotAllowedError("this needs the session's key: send it as X-Longtake-Key")
        self.sessions.keep(hosted)
        return hosted

    def holds_key(self, name: str, key: str) -> bool:
        """Return whether there is a session with this id, and this is its key."""
        return name in self.sessions.hosted and hmac.compare_digest(
            key.encode(), self.sessions.hosted[name].key.encode()
        )

    async def take(self, name: str) -> Take:
        """Return a running take or one of the data folder; NotFoundError if there is none with this id."""
        for hosted in list(self.sessions.hosted.values()):
            if hosted.session.history.id == name:
                return hosted.session.take()
        try:
            told = await asyncio.to_thread(self.archive.told, name)  # reading a long journal takes time
        except KeyError:
            raise NotFoundError("no such take") from None
        return told.take()

    async def join(
        self,
        hosted: HostedSession,
        sdp: str,
        controls: Callable[[], bool] | None = None,
        *,
        link: ShareLink | None = None,
        viewer: str | None = None,
        near: str | None = None,
    ) -> tuple[str, str]:
        """Connect a viewer by its WebRTC offer; return (WHEP resource, SDP answer).

        `controls` returns whether this viewer controls the session now; without it the viewer only watches. A `viewer`
        that connects anew takes its own former place. `near` is the address that the offer came from. Raises OfferError
        for a bad offer and AudienceFullError.
        """
        peer = Peer(hosted.session, controls, self.ice.own(), near)
        viewing = self.count_viewer(
            hosted, lambda _: self._spawn(peer.close()), controls=controls is not None, link=link, viewer=viewer
        )
        resource = self._remember(peer, viewing)
        return resource, await peer.answer(sdp)

    def count_viewer(
        self,
        hosted: HostedSession,
        leave: Callable[[str], None],
        *,
        controls: bool,
        link: ShareLink | None,
        viewer: str | None,
    ) -> Viewing:
        """Count a connection as `Audience.add` does; one by a share link is ended when the link expires."""
        seconds = self.links.seconds_left(link) if link is not None else None
        return self.audience.add(hosted.session.id, leave, controls=controls, viewer=viewer, link=link, seconds=seconds)

    def ice_for(self, link: ShareLink | None) -> list[IceServer]:
        """Return the ICE servers for a peer; the credentials of one with a share link last no longer than the link."""
        return self.ice.given(None if link is None else self.links.seconds_left(link))

    def watched_as(self, segment: str) -> str:
        """Return the id of the session that a path names by id or by share link, which need not be valid any more."""
        return self.links.signed(segment).session if is_link(segment) else segment

    async def publish(self, hosted: HostedSession, sdp: str, near: str | None = None) -> tuple[str, str]:
        """Connect a camera by its WebRTC offer; return (WHIP resource, SDP answer). Raises OfferError for a bad offer.

        A camera that is connected already is replaced.
        """
        peer = CameraPeer(hosted.session, self.ice.own(), near)
        resource = self._remember(peer)
        return resource, await peer.answer(sdp)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load pocket, end unwatched sessions while the server runs, and close every connection at the end.

        Renders that the end of an earlier server has cut off go on. STUN and TURN servers are checked meanwhile.
        """
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(self.ice.watch())]
        try:
            await self.library.load("pocket")
            await self.renders.go_on()
            self.ready = True
            tasks += [loop.create_task(self.sessions.run()), loop.create_task(self.renders.sweep())]
            yield
        finally:
            self.ready = False
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self.publishing is not None:
                await self.publishing.close()
            await asyncio.gather(*(p.close() for p in list(self.peers.values())), return_exceptions=True)
            await self.renders.close()
            self._jobs.close()
            self.library.thread.close()

    def _watched(self) -> bool:
        running = [h.session for h in self.sessions.hosted.values()]
        return any(s.state is SessionState.LIVE and s.viewers for s in running)

    def _ended(self, session: Session) -> None:
        """Store the measured speed of a session that ended, and close its viewers' connections."""
        entry, factor = session.model.entry, session.real_time_factor
        if factor and session.index > entry.rollout.window:
            size = session.history.take.width_height(entry.size)
            other = None if size == entry.size else size
            self.library.speeds.add(entry.name, self.library.device.type, entry.fps / factor, "session", other)
        self.links.forget(session.id)
        if self.publishing is not None:
            self.publishing.end(session)
        peers = [p for p in self.peers.values() if p.session is session]
        if peers:
            self._spawn(self._dismiss(peers))

    def _forget_speech(self, session: Session) -> None:
        self.archive.forget_sound(session.history.id)

    async def _dismiss(self, peers: list[WebRtcConnection]) -> None:
        await asyncio.sleep(FAREWELL_SECONDS)
        await asyncio.gather(*(p.close() for p in peers), return_exceptions=True)

    def _remember(self, peer: WebRtcConnection, viewing: Viewing | None = None) -> str:
        """Keep a connection, and count its viewer, until it closes.

        To be called before the answer is sent, since the session may end meanwhile.
        """
        resource = secrets.token_hex(16)
        self.peers[resource] = peer
        self._spawn(self._forget(resource, peer, viewing))
        return resource

    async def _forget(self, resource: str, peer: WebRtcConnection, viewing: Viewing | None) -> None:
        await peer.gone.wait()
        self.peers.pop(resource, None)
        if viewing is not None:
            self.audience.remove(viewing)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the event loop alone would not keep it
        task.add_done_callback(self._tasks.discard)
