"""Run a whole server as one worker of several, and tell and do what the director asks for.

It knows no Ray. What a session needs to go on elsewhere is written to the shared folder as it runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import uvicorn

from app import server
from app.built_services import StudioOptions, built_services
from app.cluster.fleet import CannotGoOnError, RefusedError, SessionReport, WorkerReport
from app.cluster.session_files import AskedCue, SessionFacts, SessionFiles, still_asked
from app.data_folder import SESSIONS, share_as_worker
from app.log_output import LogLevel, configure
from app.paced_socket import PacedSocket
from app.routes.takes import with_its_loras
from app.security import BODY_LIMIT
from app.services import Seat, Services
from models.errors import UserError
from models.time_grid import frames_before
from streaming.live.admission import HostedSession, Moved
from streaming.live.checkpoints import newest_checkpoint
from streaming.live.session import Session
from streaming.live.session_state import SessionState
from streaming.live.waiting_cues import WaitingCue
from streaming.rollout import Rollout
from streaming.take import journal
from streaming.take.history import TakeHistory
from streaming.take.journal import HeadLine
from streaming.take.take_file import CueLine, Take
from streaming.transport.commands import PlainCommand
from streaming.transport.events import AcceptedEvent, Event, PhaseEvent, TimelineEvent

if TYPE_CHECKING:
    from models.snapshots import Snapshot

log = logging.getLogger(__name__)

WRITE_EVERY = 1.0  # seconds between looks at what a session needs to go on elsewhere
MOST_HANDED = 1000  # sessions of which it is remembered that they were handed over
MOST_REDRAWN = 60.0  # seconds of film; a take that must be drawn anew for longer does not go on


@dataclass(frozen=True)
class WorkerOptions:
    """Hold what a worker is started with; all of them have the same."""

    studio: StudioOptions
    log_level: LogLevel
    secret: str  # that the ingress sends as bearer token
    links: bytes  # signs share links
    release: str  # identifies the software and these options


class WorkerServer:
    """Run one server, whose sessions the director places, and which other workers' sessions go on with."""

    def __init__(self, name: str, host: str, options: WorkerOptions) -> None:
        """Prepare a worker that listens on `host`, at a port of its own."""
        self.name, self._host, self._options = name, host, options
        self._files = SessionFiles(options.studio.data / SESSIONS)
        self._services: Services | None = None
        self._address = ""
        self._written: dict[str, SessionFacts] = {}  # what is on the disk of the sessions that run here
        self._handed: dict[str, int] = {}  # sessions that were handed over → the frame to go on with
        self._changed = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()  # no session is begun and handed over at once
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Load the studio, listen, and draw a chunk: return once sessions can be started."""
        configure(self._options.log_level)
        services = self._services = await asyncio.to_thread(self._built)
        # who asks is known from the ingress, which alone has the secret and has checked the request already
        settings = replace(self._options.studio.settings, token=self._options.secret, proxies=("0.0.0.0/0", "::/0"))
        config = uvicorn.Config(
            server.create(services, settings),
            http="h11",
            ws=PacedSocket,
            ws_max_size=BODY_LIMIT,
            proxy_headers=False,
            server_header=False,
            log_config=None,
            timeout_graceful_shutdown=3,
        )
        web, listening = uvicorn.Server(config), socket.create_server((self._host, 0), backlog=128)
        self._address = f"http://{self._host}:{listening.getsockname()[1]}"
        self._tasks.append(asyncio.create_task(web.serve([listening])))
        while not web.started:
            if self._tasks[0].done():
                raise RuntimeError(f"{self.name} cannot serve") from self._tasks[0].exception()
            await asyncio.sleep(0.05)
        model = await services.library.load("pocket")
        take = Take(model="pocket", seed=0, length=1, cues=[CueLine(prompt="a red ball")])
        await services.library.thread.run(lambda: next(Rollout(model, take).until(1)))
        self._tasks.append(asyncio.create_task(self._keep_written()))
        log.info("%s serves at %s", self.name, self._address)

    def _built(self) -> Services:
        share_as_worker(self._options.studio.data)
        own = Path(tempfile.mkdtemp(prefix="longtake-worker-"))
        seat = Seat(self._options.links, own)
        return built_services(self._options.studio, lambda stage: log.info("loading %s", stage), seat=seat, alone=False)

    @property
    def _running(self) -> dict[str, HostedSession]:
        return self._services.sessions.hosted if self._services is not None else {}

    # -- what the director asks for ---------------------------------------------------------------------------------

    def report(self) -> WorkerReport:
        """Return what the worker does now."""
        sessions = {name: self._facts(h).report() for name, h in self._running.items() if not h.session.over}
        models = self._services.library.loaded if self._services is not None else []
        return WorkerReport(sessions, models, _free_mb(), self._address, self._options.release)

    async def go_on(self, session: str, left: SessionReport) -> SessionReport:
        """Go on with a session as `Worker.go_on` says; one that goes on here already is not begun again."""
        async with self._one_at_a_time:
            if session in self._running:
                return self._facts(self._running[session]).report()
            try:
                hosted = await self._begun(session, left)
            except (RefusedError, CannotGoOnError):
                raise
            except Exception as e:
                log.exception("session %s cannot go on here", session)
                raise RefusedError(f"{type(e).__name__}: {e}") from None
            self._handed.pop(session, None)
            await self._write(session, self._facts(hosted))
            return self._facts(hosted).report()

    async def hand_over(self, session: str) -> int | None:
        """Stop a session as `Worker.hand_over` says."""
        async with self._one_at_a_time:
            hosted = self._running.get(session)
            if hosted is None or hosted.session.over:
                return self._handed.get(session)
            if hosted.session.avatar is not None:
                raise CannotGoOnError("an avatar stays where it is until it ends")
            assert self._services is not None, "a session runs on a server"
            facts = self._facts(hosted)
            await self._write(session, facts)  # it goes on elsewhere although this process may end now
            await self._services.sessions.end(session, moved=True)
            drawn = self._facts(hosted)  # with the chunk that was being drawn; viewers and links are gone
            same = {name: getattr(facts, name) for name in ("playing", "paused", "watched", "links", "factor")}
            await self._write(session, drawn.model_copy(update=same))
            shown = drawn.shown
            self._handed = dict([*self._handed.items()][1 - MOST_HANDED :]) | {session: shown}
            self._written.pop(session, None)
            return shown

    async def _begun(self, session: str, left: SessionReport) -> HostedSession:
        services = self._services
        if services is None:
            raise RefusedError(f"{self.name} is starting")
        facts = await asyncio.to_thread(self._files.read, session)
        if facts is None:
            raise CannotGoOnError("nothing is known of the session on the shared folder")
        if facts.take != left.take:  # it has gone back since the report
            left = replace(left, take=facts.take, shown=facts.shown)
        past, take = await asyncio.to_thread(self._past, services, left.take)
        if take.portraits or take.sounds or take.speakers:
            await asyncio.to_thread(self._files.forget, session)
            raise CannotGoOnError("the machine of this avatar has failed, and an avatar begins anew")
        model = await services.library.load(take.model)
        checkpoint: Snapshot | None = None
        if past is not None:
            generator = model.generator
            checkpoint = await asyncio.to_thread(
                newest_checkpoint, self._files.folder(session), past, generator.device, generator.dtype, left.shown
            )
            anew = frames_before(past.length) - frames_before(checkpoint.index if checkpoint is not None else 0)
            if anew > MOST_REDRAWN * left.fps:
                await asyncio.to_thread(self._files.forget, session)
                raise CannotGoOnError("the machine of this session has failed; continue its take")
        moved = Moved(session, facts.key, checkpoint, left.shown, awaited=facts.watched and not facts.paused)
        try:
            drawn = past or TakeHistory(left.take, take)
            async with with_its_loras(services, drawn, drawn.as_take({})) as names:
                hosted = await services.sessions.create(take, facts.look_ahead, past=past, loras=names, moved=moved)
        except UserError as e:
            raise RefusedError(str(e)) from None
        self._take_over(services, hosted.session, facts)
        now = asyncio.get_running_loop().time()
        hosted.session.land_again([WaitingCue(c.line, c.number, now, c.at) for c in still_asked(facts, past)])
        return hosted

    def _past(self, services: Services, take: str) -> tuple[TakeHistory | None, Take]:
        """Return what was drawn of a take and how it began; no past if no chunk of it was."""
        try:
            past = services.archive.told(take).history
        except KeyError:
            lines = journal.read(services.archive.folder / f"{take}.jsonl")
            if not lines or not isinstance(lines[0], HeadLine) or lines[0].take is None:
                raise CannotGoOnError("nothing of the session's take was on the shared folder yet") from None
            return None, lines[0].take
        return past, past.take

    def _take_over(self, services: Services, session: Session, facts: SessionFacts) -> None:
        """Give a session what it had beside its take."""
        for link in facts.links:
            with contextlib.suppress(Exception):
                services.links.accept(link)
        self._follow(session)
        if facts.paused:

            def pause(event: Event) -> None:
                if isinstance(event, PhaseEvent) and event.phase is SessionState.LIVE:
                    stop()
                    asyncio.get_running_loop().call_soon(session.obey, PlainCommand(id=0, type="pause"))

            stop: Callable[[], None] = session.listen(pause)

    # -- what another worker would need --------------------------------------------------------------------------------

    def _facts(self, hosted: HostedSession) -> SessionFacts:
        session, services = hosted.session, self._services
        assert services is not None, "a session runs on a server"
        live = session.state is SessionState.LIVE
        take = session.history.take
        return SessionFacts(
            worker=self.name,
            key=hosted.key,
            take=session.producer.told,
            shown=session.producer.next_frame,
            fps=session.playout.fps,
            # one that catches up writes the journal of another take than it is told by
            playing=live and session.producer.catching_up is None,
            paused=session.state is SessionState.PAUSED,
            watched=session.viewers > 0,
            look_ahead=session.producer.look_ahead,
            factor=hosted.factor,
            kind=kind_of(take.model, take.size, take.faces),
            links=[link.text for link in services.links.of(session.id)],
            drawn=session.index,
            asked=[
                AskedCue(number=cue.number, line=cue.line, at=cue.at)
                for cue in session.producer.asked
                if cue.number is not None
            ],
        )

    def _follow(self, session: Session) -> None:
        """Have a session written down at once whenever its take or what was asked for changes."""

        def heard(event: Event) -> None:
            if isinstance(event, TimelineEvent | AcceptedEvent):
                self._changed.set()

        session.listen(heard)

    async def _keep_written(self) -> None:
        """Write what sessions need to go on elsewhere, and forget those that have ended."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), WRITE_EVERY)
            self._changed.clear()
            try:
                async with self._one_at_a_time:
                    await self._write_all()
            except Exception as e:
                log.warning("what sessions need to go on elsewhere cannot be written: %r", e)

    async def _write_all(self) -> None:
        assert self._services is not None, "a session runs on a server"
        running = {name: h for name, h in self._running.items() if not h.session.over}
        for name in [name for name in self._written if name not in running]:
            del self._written[name]
            await asyncio.to_thread(self._files.forget, name)
        for name, hosted in running.items():
            if name not in self._written:
                self._follow(hosted.session)
            elif await self._is_elsewhere(name):
                log.error("session %s goes on elsewhere, and is ended here", name)
                del self._written[name]
                await self._services.sessions.end(name, moved=True)
                continue
            await self._write(name, self._facts(hosted))

    async def _is_elsewhere(self, session: str) -> bool:
        """Return whether another worker has the session: this one was taken for dead although it lives."""
        found = await asyncio.to_thread(self._files.read, session)
        return found is not None and found.worker != self.name

    async def _write(self, session: str, facts: SessionFacts) -> None:
        if self._written.get(session) != facts:
            await asyncio.to_thread(self._files.write, session, facts)
            self._written[session] = facts


def kind_of(model: str, size: str | None, faces: int) -> str:
    """Name the sessions that cost what one of this model, size and number of faces does."""
    return f"{model} {size or ''} {faces}"


def _free_mb() -> int:
    """Return the megabytes of memory that the device has free."""
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0] / 1e6)
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 1 << 20  # not known, and not what bounds a CPU's sessions
    return next(int(line.split()[1]) // 1000 for line in lines if line.startswith("MemAvailable"))
