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
from streaming.live.speed_forecast import UNKNOWN

MOST_GONE = 1000  # sessions of which it is remembered why they could not go on
MOST_KINDS = 100  # of sessions whose measured cost is remembered


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
    SILENT = "silent"  # misses reports, or has sent none yet


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
        self._costs: dict[str, float] = {}  # kind of session → real-time factor that was measured last

    # -- sessions -------------------------------------------------------------------------------------------------

    def worker_of(self, session: str) -> Member:
        """Return the worker that has a session; MovingError while it has none, NoSuchSessionError if it has ended."""
        if session in self.homeless:
            raise MovingError("the session is being moved to another worker; it goes on in a moment")
        if (name := self._of.get(session)) is None:
            raise NoSuchSessionError(self._gone.get(session, "no such session; it has ended"))
        return self.members[name]

    def report_of(self, session: str) -> SessionReport | None:
        """Return the newest that is known of a session; None if there is no such session."""
        if session in self.homeless:
            return self.homeless[session].report
        if session in self._new:
            return self._new[session][0]
        name = self._of.get(session)
        return self.members[name].report.sessions.get(session) if name is not None else None

    def reports_of(self, worker: str) -> list[SessionReport]:
        """Return the newest that is known of each session of a worker."""
        found = [self.report_of(session) for session in self.sessions_of(worker)]
        return [report for report in found if report is not None]

    def holds_key(self, session: str, key: str) -> bool:
        """Return whether there is a session of this id, and this is its key."""
        report = self.report_of(session)
        return report is not None and hmac.compare_digest(key.encode(), report.key.encode())

    def takes(self) -> set[str]:
        """Return the takes that are being drawn."""
        sessions = [*self._of, *self.homeless]
        return {report.take for session in sessions if (report := self.report_of(session)) is not None}

    def sessions_of(self, worker: str) -> list[str]:
        """Return the sessions that a worker has."""
        return [session for session, name in self._of.items() if name == worker]

    def began(self, worker: Worker, session: str, report: SessionReport) -> None:
        """Note that a session has begun on a worker, or goes on there; WorkerDeadError if that died meanwhile."""
        if worker.name not in self.members:
            raise WorkerDeadError(worker.name)
        self.homeless.pop(session, None)
        self._of[session], self._new[session] = worker.name, (report, self.clock())

    def ended(self, session: str) -> None:
        """Note that a session has ended."""
        self._of.pop(session, None)
        self._new.pop(session, None)
        self.homeless.pop(session, None)

    def left(self, session: str, left: LeftSession) -> None:
        """Note that a session has no worker any more, or will have none in a moment: no report of one ends it."""
        self.ended(session)
        self.homeless[session] = left

    def lost(self, session: str, why: str) -> None:
        """Note that a session could not go on, and why."""
        self.ended(session)
        self._gone = dict([*self._gone.items()][1 - MOST_GONE :]) | {session: f"the session has ended: {why}"}

    def expected(self, kind: str, faces: int = 1) -> float:
        """Return the real-time factor that a session of a kind has had here, or what is assumed of one."""
        return self._costs.get(kind, UNKNOWN * faces)

    # -- workers --------------------------------------------------------------------------------------------------

    def joined(self, worker: Worker, report: WorkerReport) -> Member:
        """Take in a worker with its first report."""
        member = self.members[worker.name] = Member(worker, report, self.clock())
        self.heard(member, report, self.clock())
        return member

    def found(self, worker: Worker, report: WorkerReport) -> Member:
        """Take in a worker that has not reported yet, with what the shared folder tells of it."""
        member = self.joined(worker, report)
        member.state = WorkerState.SILENT
        return member

    def heard(self, member: Member, report: WorkerReport, asked: float) -> None:
        """Take over what a worker reports, for which it was asked at that time."""
        name, member.report, member.heard = member.worker.name, report, self.clock()
        if member.state is WorkerState.SILENT:
            member.state = WorkerState.READY
        for session in [s for s in self.sessions_of(name) if s not in report.sessions]:
            if session not in self._new or self._new[session][1] < asked:
                self.ended(session)
        for session, told in report.sessions.items():
            # a report may arrive after what was done since it was written
            if session not in self.homeless and self._of.setdefault(session, name) == name:
                self._new.pop(session, None)
            self._costs[told.kind] = told.factor
        self._costs = dict([*self._costs.items()][-MOST_KINDS:])

    def load_of(self, member: Member) -> float:
        """Return the share of a worker's time that its sessions take, with those that it does not report yet."""
        return sum(report.factor for report in self.reports_of(member.worker.name)) + sum(member.starting)

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
