"""Direct sessions to workers: one line for all, admission, a spare worker, drains, and what follows a worker's death.

It knows neither what workers run on nor how requests reach it. A session goes on elsewhere only once its worker has
ended for certain (`worker_watch`), so that none is run twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from app.cluster.fleet import (
    CannotGoOnError,
    Fleet,
    RefusedError,
    SessionReport,
    Worker,
    WorkerDeadError,
    WorkerReport,
)
from app.cluster.placement import Bounds, Order, rooms_for
from app.cluster.roster import LeftSession, Member, NoSuchWorkerError, Roster, WorkerState
from app.cluster.worker_watch import REPORT_EVERY, TRY_EVERY, WorkerWatch, fence
from streaming.live.admission import FullError
from streaming.live.waiting_line import WaitingLine

log = logging.getLogger(__name__)

KEPT_FOR = 60.0  # seconds for which a place is looked for, for a session that is being moved
HIRE_AFTER = 5.0  # seconds for which more workers must have been wanted
DISMISS_AFTER = 600.0  # seconds for which fewer workers must have been wanted
LOOK_EVERY = 1.0  # seconds between looks at the number of workers


@dataclass
class Figures:
    """Count what happened since the director began."""

    moved: Counter[str] = field(default_factory=Counter)  # sessions, by reason
    lost: int = 0  # sessions that could not go on
    seconds: float = 0.0  # for which moved sessions had no worker, in all


class Director:
    """Own which worker has which session. All methods belong to the event loop."""

    def __init__(
        self,
        fleet: Fleet,
        bounds: Bounds,
        journal: Callable[[str], Awaitable[int]],
        *,
        release: str = "",
        clock: Callable[[], float] | None = None,
        left: Callable[[], Awaitable[Mapping[str, tuple[str, SessionReport]]]] | None = None,
    ) -> None:
        """Direct the workers of `fleet`.

        `journal` returns how long the journal of a take is; `release` identifies software and options, and workers of
        another are replaced. `clock` returns seconds (by default of the event loop). `left` returns the sessions by
        their ids that had not ended, each with the name of the worker that had it.
        """
        self.roster = Roster(clock)
        self.bounds, self.figures = bounds, Figures()
        self.hiring = 0  # workers that are being started
        self._fleet, self._journal, self._release, self._left = fleet, journal, release, left
        self._line = WaitingLine()
        self._tasks: set[asyncio.Task[None]] = set()

    # -- admission ------------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Return how many requests wait in line."""
        self._line.forget_lapsed(self.roster.clock())
        return len(self._line)

    def workers_for(self, order: Order, ticket: str | None, askers: Collection[str]) -> list[Worker]:
        """Return the workers to which a session may be offered, the least loaded first.

        The ticket keeps its place until the session has `begun`: a worker may still refuse it.
        FullError names the place in line if there is none, CrowdedLineError (see `WaitingLine.stand`) that there is no
        place either. Sessions that are being moved come before all others.
        """
        self._line.forget_lapsed(self.roster.clock())
        moving = bool(self.roster.homeless)
        found = [] if moving else rooms_for(order, self.roster.rooms(), self._line.ahead_of(ticket))
        if not found:
            raise self.full(order, ticket, askers)
        return [self.roster.members[room.worker].worker for room in found]

    def full(self, order: Order, ticket: str | None, askers: Collection[str]) -> FullError:
        """Return the error for a request that no worker takes, with its place in line; CrowdedLineError."""
        ticket, place = self._line.stand(ticket, order.expected, askers, self.roster.clock())
        ready = len(self.roster.rooms())
        why = f"{ready} workers have no room for about {order.expected:.0%} of one's time" if ready else "none is ready"
        return FullError(ticket, place, why)

    @contextlib.contextmanager
    def placing(self, worker: Worker, order: Order) -> Iterator[None]:
        """Count a session on a worker while it is being placed there; WorkerDeadError if that has died since."""
        member = self.roster.members.get(worker.name)
        if member is None:
            raise WorkerDeadError(worker.name)
        member.starting.append(order.expected)
        try:
            yield
        finally:
            member.starting.remove(order.expected)

    def began(self, worker: Worker, session: str, report: SessionReport, ticket: str | None = None) -> None:
        """Note that a session has begun on a worker, and that its ticket has no place in line any more."""
        if ticket is not None and ticket in self._line:
            self._line.leave(ticket)
        self.roster.began(worker, session, report)

    # -- life -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Adopt the workers that are there, then keep as many as are needed until cancelled; workers live on."""
        try:
            while not await self._adopted():
                await asyncio.sleep(TRY_EVERY)
            await self._keep_number()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _adopted(self) -> bool:
        """Go on with the workers and sessions of an earlier director, whether or not they answer by now.

        Return whether it could be seen which there are.
        """
        try:
            left = await self._left() if self._left is not None else {}
            found = {worker.name: worker for worker in await self._fleet.found()}
        except Exception as e:
            log.error("workers and sessions of before cannot be found: %r", e)
            return False
        for name, worker in found.items():
            sessions = {session: report for session, (had, report) in left.items() if had == name}
            self._spawn(self._watch(self.roster.found(worker, WorkerReport(sessions, (), 0, release=self._release))))
        for session, (had, report) in left.items():
            if had not in found:
                self._leave(session, LeftSession(report, "killed", self.roster.clock()))
        return True

    async def _watch(self, member: Member) -> None:
        """Move a worker's sessions once it has ended."""
        name = member.worker.name
        why = await WorkerWatch(member, self.roster, self._fleet, self._journal, self._heard).run()
        if self.roster.members.get(name) is not member:
            return
        sessions, now = self.roster.sessions_of(name), self.roster.clock()
        log.warning("%s is dead (%s); its %d sessions go on elsewhere", name, why, len(sessions))
        for session in sessions:
            self._leave(session, LeftSession(self._last(member, session), why, now))
        del self.roster.members[name]

    def _heard(self, member: Member) -> None:
        """Have a worker of another release replaced."""
        if member.report.release != self._release and member.state is not WorkerState.DRAINING:
            log.info("%s runs another release or other options, and is drained", member.worker.name)
            self.drain(member.worker.name)

    def _last(self, member: Member, session: str) -> SessionReport:
        """Return what is known of a session of a worker that has died, with the frames that were shown since then."""
        report = self.roster.report_of(session)
        assert report is not None, "a worker's sessions are known by its reports"
        # until it died; when a silent one stopped is not known
        since = min(self.roster.clock() - member.heard, REPORT_EVERY) if report.playing else 0.0
        return replace(report, shown=report.shown + round(since * report.fps))

    # -- going on elsewhere ---------------------------------------------------------------------------------------

    def _leave(self, session: str, left: LeftSession) -> None:
        self.roster.left(session, left)
        self._spawn(self._rehome(session, left))

    async def _rehome(self, session: str, left: LeftSession) -> None:
        """Offer a session to workers until one goes on with it, for KEPT_FOR at most."""
        why = "its worker died, and no other had room for it in time"
        while self.roster.clock() - left.since < KEPT_FOR:
            try:
                if await self._placed(session, left):
                    return
            except CannotGoOnError as e:
                why = str(e)
                break
            await asyncio.sleep(TRY_EVERY)
        log.error("session %s is lost: %s", session, why)
        self.roster.lost(session, why)
        self.figures.lost += 1

    async def _placed(self, session: str, left: LeftSession) -> bool:
        """Return whether a worker goes on with the session; CannotGoOnError if none ever will."""
        order = Order(left.report.factor)
        for room in rooms_for(order, self.roster.rooms(), ()):
            member = self.roster.members.get(room.worker)
            if member is None or not self.roster.room_of(member).fits(order):  # another one was placed there meanwhile
                continue
            try:
                with self.placing(member.worker, order):
                    report = await member.worker.go_on(session, left.report)
            except (RefusedError, WorkerDeadError) as e:
                log.info("%s does not take session %s: %r", room.worker, session, e)
            except CannotGoOnError:
                raise
            except Exception as e:
                log.warning("%s cannot go on with session %s: %r", room.worker, session, e)
                with contextlib.suppress(WorkerDeadError):
                    await self._made_sure(member.worker, session)  # it may have begun it all the same
            else:
                if room.worker not in self.roster.members:  # it has died since
                    continue
                self.roster.began(member.worker, session, report)
                seconds = self.roster.clock() - left.since
                told = (session, room.worker, report.shown, seconds, left.why)
                log.info("session %s goes on in %s from frame %d, after %.2f s (%s)", *told)
                self.figures.moved[left.why] += 1
                self.figures.seconds += seconds
                return True
        return False

    async def _made_sure(self, worker: Worker, session: str) -> int | None:
        """Return once a worker does not have a session any more; the frame to go on with, or None if it had none.

        WorkerDeadError if it has ended, CannotGoOnError if the session stays there.
        """
        while True:
            try:
                return await worker.hand_over(session)
            except (WorkerDeadError, CannotGoOnError):
                raise
            except Exception as e:
                log.warning("%s does not hand over session %s: %r", worker.name, session, e)
                await asyncio.sleep(TRY_EVERY)

    # -- number of workers ----------------------------------------------------------------------------------------

    def drain(self, name: str) -> None:
        """Give a worker no further session, move those that it has, and end it; NoSuchWorkerError if it is unknown."""
        member = self.roster.members.get(name)
        if member is None:
            raise NoSuchWorkerError(f"there is no worker called {name[:60]!r}; GET /api/workers names them")
        if member.state is not WorkerState.DRAINING:
            member.state = WorkerState.DRAINING
            self._spawn(self._drained(member))

    async def _drained(self, member: Member) -> None:
        name = member.worker.name
        while name in self.roster.members and (self.roster.sessions_of(name) or member.starting):
            for session in self.roster.sessions_of(name):
                await self._hand_over(member, session)
            await asyncio.sleep(TRY_EVERY)
        await self._dismiss(member)

    async def _hand_over(self, member: Member, session: str) -> None:
        """Move a session off a worker if another one has room for it."""
        report = self.roster.report_of(session)
        if report is None or not rooms_for(Order(report.factor), self.roster.rooms(), ()):
            return
        # before it is asked: a report of the worker without the session must not end it
        left = LeftSession(report, "drained", self.roster.clock())
        self.roster.left(session, left)
        try:
            shown = await self._made_sure(member.worker, session)
        except CannotGoOnError:
            if member.worker.name in self.roster.members:
                self.roster.began(member.worker, session, report)  # it stays until it ends by itself
            return
        except WorkerDeadError:
            shown = self._last(member, session).shown
        if shown is None:
            self.roster.ended(session)
        else:
            self._leave(session, replace(left, report=replace(report, shown=shown)))

    async def _dismiss(self, member: Member) -> None:
        """End a worker that has no session."""
        if self.roster.members.pop(member.worker.name, None) is not None:
            await fence(self._fleet, member.worker)

    async def _keep_number(self) -> None:
        """Hire while more workers are wanted, and dismiss idle ones when fewer have been for long."""
        more: float | None = None  # since when more are wanted
        fewer: float | None = None
        while True:
            now, members = self.roster.clock(), self.roster.members.values()
            here = self.hiring + sum(m.state is not WorkerState.DRAINING for m in members)
            wanted = self.bounds.wanted(self.roster.load(), self.waiting)
            more = (now if more is None else more) if wanted > here else None
            fewer = (now if fewer is None else fewer) if wanted < here else None
            urgent = here < self.bounds.least or bool(self.roster.homeless)
            if more is not None and (urgent or now - more >= HIRE_AFTER):
                self.hiring += 1
                self._spawn(self._hire())
                continue
            if fewer is not None and now - fewer >= DISMISS_AFTER and (idle := self._idle()) is not None:
                log.info("%s was idle for long, and is dismissed", idle.worker.name)
                self._spawn(self._dismiss(idle))
            await asyncio.sleep(LOOK_EVERY)

    def _idle(self) -> Member | None:
        free = [m for m in self.roster.members.values() if m.state is WorkerState.READY and not m.starting]
        return next((m for m in free if not self.roster.sessions_of(m.worker.name)), None)

    async def _hire(self) -> None:
        worker: Worker | None = None
        try:
            worker = await self._fleet.hire()
            async with asyncio.timeout(KEPT_FOR):
                report = await worker.report()
            self._spawn(self._watch(self.roster.joined(worker, report)))
        except Exception as e:  # the next look tries again
            log.error("no worker could be hired: %r", e)
            if worker is not None:
                await fence(self._fleet, worker)  # nobody would know of it
            await asyncio.sleep(HIRE_AFTER)
        finally:
            self.hiring -= 1

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the event loop alone would not keep it
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a task of the director failed", exc_info=error)
