"""Know which worker has which session, from what workers report and from what was done since."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from app.cluster.fleet import SessionReport, Worker, WorkerDeadError, WorkerReport
from app.cluster.placement import Room
from models.errors import ErrorKind, UserError

MOST_GONE = 1000  # sessions of which it is remembered why they could not go on


class MovingError(UserError):
    """Report a session that is being moved to another worker; it answers again in a moment."""

    kind = ErrorKind.BUSY


class NoSuchSessionError(UserError):
    """Report that no worker has a session of this id."""

    kind = ErrorKind.NOT_FOUND


class NoSuchWorkerError(UserError):
    """Report that there is no worker of this name."""

    kind = ErrorKind.NOT_FOUND


class WorkerState(StrEnum):
    """Name what a worker is for the director."""

    READY = "ready"
    DRAINING = "draining"  # takes no session, and ends once it has none
    SILENT = "silent"  # misses reports while its sessions are drawn


@dataclass
class Member:
    """Hold a worker with what is known of it."""

    worker: Worker
    report: WorkerReport
    heard: float  # when it last reported
    state: WorkerState = WorkerState.READY
    starting: list[float] = field(default_factory=list)  # real-time factors of sessions that are being placed on it


@dataclass(frozen=True)
class LeftSession:
    """Hold a session that has no worker, until it goes on."""

    report: SessionReport
    why: str  # killed, silent or drained
    since: float  # when that was noticed
    shown: int | None  # frames that viewers have seen; None: it is not known


class Roster:
    """Hold workers and sessions; a session has one worker, or none while it is being moved."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        """Begin without workers; `clock` returns seconds (by default of the event loop)."""
        self.clock = clock or (lambda: asyncio.get_running_loop().time())
        self.members: dict[str, Member] = {}  # by the worker's name
        self.homeless: dict[str, LeftSession] = {}  # sessions that are being moved
        self._of: dict[str, str] = {}  # session → name of its worker
        # sessions that their worker has not reported yet, with the time when they began
        self._new: dict[str, tuple[SessionReport, float]] = {}
        self._gone: dict[str, str] = {}  # sessions that could not go on → why

    # -- sessions -------------------------------------------------------------------------------------------------

    def worker_of(self, session: str) -> Worker:
        """Return the worker that has a session; MovingError while it has none, NoSuchSessionError if it has ended."""
        if session in self.homeless:
            raise MovingError("the session is being moved to another worker; it goes on in a moment")
        if (name := self._of.get(session)) is None:
            raise NoSuchSessionError(self._gone.get(session, "no such session; it has ended"))
        return self.members[name].worker

    def report_of(self, session: str) -> SessionReport | None:
        """Return the newest that is known of a session; None if there is no such session."""
        if session in self.homeless:
            return self.homeless[session].report
        if session in self._new:
            return self._new[session][0]
        name = self._of.get(session)
        return self.members[name].report.sessions.get(session) if name is not None else None

    def holds_key(self, session: str, key: str) -> bool:
        """Return whether there is a session of this id, and this is its key."""
        report = self.report_of(session)
        return report is not None and hmac.compare_digest(key.encode(), report.key.encode())

    def takes(self) -> set[str]:
        """Return the takes that are being drawn."""
        sessions = [*self._of, *self.homeless]
        return {report.take for session in sessions if (report := self.report_of(session)) is not None}

    def has(self, session: str, worker: str | None = None) -> bool:
        """Return whether a session has a worker, or this worker."""
        return session in self._of and worker in (None, self._of[session])

    def sessions_of(self, worker: str) -> list[str]:
        """Return the sessions that a worker has."""
        return [session for session, name in self._of.items() if name == worker]

    def began(self, worker: Worker, session: str, report: SessionReport) -> None:
        """Note that a session has begun on a worker; WorkerDeadError if that died meanwhile."""
        if worker.name not in self.members:
            raise WorkerDeadError(worker.name)
        self._of[session], self._new[session] = worker.name, (report, self.clock())

    def ended(self, session: str) -> None:
        """Note that a session has ended."""
        self._of.pop(session, None)
        self._new.pop(session, None)
        self.homeless.pop(session, None)

    def left(self, session: str, left: LeftSession) -> None:
        """Note that a session has no worker any more."""
        self.ended(session)
        self.homeless[session] = left

    def lost(self, session: str, why: str) -> None:
        """Note that a session could not go on, and why."""
        self.ended(session)
        self._gone = dict([*self._gone.items()][1 - MOST_GONE :]) | {session: f"the session has ended: {why}"}

    # -- workers --------------------------------------------------------------------------------------------------

    def joined(self, worker: Worker, report: WorkerReport) -> Member:
        """Take in a worker with its first report."""
        member = self.members[worker.name] = Member(worker, report, self.clock())
        self.heard(member, report, self.clock())
        return member

    def heard(self, member: Member, report: WorkerReport, asked: float) -> None:
        """Take over what a worker reports, for which it was asked at that time."""
        name, member.report, member.heard = member.worker.name, report, self.clock()
        if member.state is WorkerState.SILENT:
            member.state = WorkerState.READY
        for session in [s for s in self.sessions_of(name) if s not in report.sessions]:
            if session not in self._new or self._new[session][1] < asked:
                self.ended(session)
        for session in report.sessions:
            # a report may arrive after what was done since it was written
            if session not in self.homeless and self._of.setdefault(session, name) == name:
                self._new.pop(session, None)

    def load_of(self, member: Member) -> float:
        """Return the share of a worker's time that its sessions take, with those that it does not report yet."""
        reports = [self.report_of(session) for session in self.sessions_of(member.worker.name)]
        return sum(report.factor for report in reports if report is not None) + sum(member.starting)

    def room_of(self, member: Member) -> Room:
        """Return what a worker has to give."""
        report = member.report
        return Room(member.worker.name, self.load_of(member), report.free_mb, frozenset(report.models))

    def rooms(self) -> list[Room]:
        """Return what the workers have to give that take sessions."""
        return [self.room_of(m) for m in self.members.values() if m.state is WorkerState.READY]

    def load(self) -> float:
        """Return the share of a device's time that all sessions take, those that are being moved among them."""
        moving = sum(left.report.factor for left in self.homeless.values())
        return moving + sum(map(self.load_of, self.members.values()))

    def any_worker(self) -> Worker:
        """Return the least loaded worker, for requests that any may answer; MovingError if there is none."""
        members = [m for m in self.members.values() if m.state is not WorkerState.SILENT]
        if not members:
            raise MovingError("no worker is ready yet; try again in a moment")
        return min(members, key=self.load_of).worker
