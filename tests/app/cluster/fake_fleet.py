"""Workers without processes: they draw as time goes on, and can be killed, stopped and starved."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from app.cluster.fleet import CannotGoOnError, RefusedError, SessionReport, Worker, WorkerDeadError, WorkerReport

FPS = 16
CHUNK_SECONDS = 0.75


@dataclass
class FakeSession:
    """A session that draws a chunk every CHUNK_SECONDS while its worker runs."""

    report: SessionReport
    speaks: bool = False


@dataclass
class FakeWorker:
    """A worker of the fake fleet."""

    name: str
    fleet: FakeFleet
    release: str = ""
    sessions: dict[str, FakeSession] = field(default_factory=dict)
    dead: bool = False
    stopped: bool = False  # neither draws nor answers
    starved: bool = False  # draws, but answers too late
    refuses: bool = False
    late: float = 0.0  # seconds that every answer takes
    breaks: int = 0  # answers to `go_on` that are lost after it was done
    torn: float = 0.0  # seconds between the end of a session that is handed over and the answer
    handed: dict[str, int] = field(default_factory=dict)
    told: asyncio.Event = field(default_factory=asyncio.Event)

    async def ended(self) -> None:
        await self.told.wait()

    async def report(self) -> WorkerReport:
        await self._answers()
        sessions = {name: s.report for name, s in self.sessions.items()}
        return WorkerReport(sessions, {"tiny"}, 1000, "http://fake", self.release)

    async def go_on(self, session: str, left: SessionReport) -> SessionReport:
        await self._answers()
        last = self.fleet.known[session]
        if last.speaks:
            raise CannotGoOnError("an avatar cannot be continued")
        if self.refuses:
            raise RefusedError
        holders = [w.name for w in self.fleet.workers.values() if not w.dead and session in w.sessions]
        assert not holders, f"{session} is run twice: {holders} have it, and {self.name} goes on with it"
        report = replace(left, take=f"{left.take}'")
        self.fleet.journals[report.take] = 0
        self.sessions[session] = self.fleet.known[session] = FakeSession(report)
        if self.breaks:
            self.breaks -= 1
            raise ConnectionError("the answer was lost")
        return report

    async def hand_over(self, session: str) -> int | None:
        await self._answers()
        if session in self.sessions:
            if self.sessions[session].speaks:
                raise CannotGoOnError("an avatar cannot be continued")
            self.handed[session] = self.sessions.pop(session).report.shown
            await asyncio.sleep(self.torn)
            await self._answers()
        return self.handed.get(session)

    async def _answers(self) -> None:
        await asyncio.sleep(self.late)
        while (self.stopped or self.starved) and not self.dead:
            await asyncio.sleep(0.1)
        if self.dead:
            raise WorkerDeadError(self.name)

    def begins(self, session: str, *, factor: float = 0.4, speaks: bool = False) -> SessionReport:
        report = SessionReport(f"key of {session}", f"take of {session}", 0, FPS, playing=True, factor=factor)
        self.fleet.journals[report.take] = 0
        self.sessions[session] = self.fleet.known[session] = FakeSession(report, speaks)
        return report

    def dies(self) -> None:
        self.dead = True
        self.told.set()


@dataclass
class FakeFleet:
    """Starts workers at once or after `start` seconds; a kill takes `fence` seconds."""

    start: float = 13.0
    fence: float = 0.0
    release: str = ""
    workers: dict[str, FakeWorker] = field(default_factory=dict)
    journals: dict[str, int] = field(default_factory=dict)  # take → length
    known: dict[str, FakeSession] = field(default_factory=dict)  # what is on the shared disk
    kills: list[str] = field(default_factory=list)
    unkillable: bool = False
    frozen: bool = False  # no session writes its journal
    unreadable: bool = False  # the folder of journals

    def add(self, name: str | None = None, release: str = "") -> FakeWorker:
        worker = FakeWorker(name or f"worker {len(self.workers) + 1}", self, release)
        self.workers[worker.name] = worker
        return worker

    async def found(self) -> list[Worker]:
        return [w for w in self.workers.values() if not w.dead]

    async def hire(self) -> Worker:
        await asyncio.sleep(self.start)
        return self.add(release=self.release)

    async def kill(self, worker: Worker) -> None:
        await asyncio.sleep(self.fence)
        if self.unkillable:
            raise OSError("the node does not answer")
        self.kills.append(worker.name)
        self.workers[worker.name].dies()

    async def length(self, take: str) -> int:
        if self.unreadable:
            raise OSError("the folder is not there")
        return self.journals[take]

    async def draw(self) -> None:
        """Have every session of a running worker play and write its journal, until cancelled."""
        while True:
            await asyncio.sleep(CHUNK_SECONDS)
            for worker in self.workers.values():
                if worker.dead or worker.stopped:
                    continue
                for session in worker.sessions.values():
                    self.journals[session.report.take] += not self.frozen
                    session.report = replace(session.report, shown=session.report.shown + int(CHUNK_SECONDS * FPS))
