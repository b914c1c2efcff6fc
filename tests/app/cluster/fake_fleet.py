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
    address: str = "http://fake"
    sessions: dict[str, FakeSession] = field(default_factory=dict)
    dead: bool = False
    stopped: bool = False  # neither draws nor answers
    starved: bool = False  # draws, but answers too late
    refuses: bool = False
    told: asyncio.Event = field(default_factory=asyncio.Event)

    async def ended(self) -> None:
        await self.told.wait()

    async def report(self) -> WorkerReport:
        await self._answers()
        return WorkerReport({name: s.report for name, s in self.sessions.items()}, {"tiny"}, 1000)

    async def go_on(self, session: str, shown: int | None) -> SessionReport:
        await self._answers()
        last = self.fleet.known[session]
        if last.speaks:
            raise CannotGoOnError("an avatar cannot be continued")
        if self.refuses:
            raise RefusedError
        holders = [w.name for w in self.fleet.workers.values() if not w.dead and session in w.sessions]
        assert not holders, f"{session} is run twice: {holders} have it, and {self.name} goes on with it"
        report = replace(last.report, take=f"{last.report.take}'", shown=shown or last.report.shown)
        self.fleet.journals[report.take] = 0
        self.sessions[session] = self.fleet.known[session] = FakeSession(report)
        return report

    async def hand_over(self, session: str) -> int:
        await self._answers()
        if self.sessions[session].speaks:
            raise CannotGoOnError("an avatar cannot be continued")
        return self.sessions.pop(session).report.shown

    async def _answers(self) -> None:
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
        return self.journals[take]

    async def draw(self) -> None:
        """Have every session of a running worker play and write its journal, until cancelled."""
        while True:
            await asyncio.sleep(CHUNK_SECONDS)
            for worker in self.workers.values():
                if worker.dead or worker.stopped:
                    continue
                for session in worker.sessions.values():
                    self.journals[session.report.take] += 1
                    session.report = replace(session.report, shown=session.report.shown + int(CHUNK_SECONDS * FPS))
