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
from dataclasses import dataclass, field
from typing import Any

from app.cluster.fleet import CannotGoOnError, Fleet, RefusedError, SessionReport, Worker, WorkerDeadError
from app.cluster.placement import Bounds, Order, rooms_for
from app.cluster.roster import LeftSession, Member, NoSuchWorkerError, Roster, WorkerState
from app.cluster.worker_watch import MOST_MISSED, PATIENCE, REPORT_EVERY, TRY_EVERY, WorkerWatch, fence
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
    seconds: list[float] = field(default_factory=list)  # for which each moved session had no worker


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
        left: Callable[[], Awaitable[Mapping[str, SessionReport]]] | None = None,
    ) -> None:
        """Direct the workers of `fleet`.

        `journal` returns how long the journal of a take is; `release` identifies software and options, and workers of
        another are replaced. `clock` returns seconds (by default of the event loop). `left` returns the sessions by
        their ids that have not ended, whichever worker had them.
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
        """Return the workers to which a session may be offered, the least loaded first, and leave the line.

        FullError names the place in line if there is none, CrowdedLineError (see `WaitingLine.stand`) that there is no
        place either. Sessions that are being moved come before all others.
        """
        self._line.forget_lapsed(self.roster.clock())
        moving = bool(self.roster.homeless)
        found = [] if moving else rooms_for(order, self.roster.rooms(), self._line.ahead_of(ticket))
        if not found:
            raise self.full(order, ticket, askers)
        if ticket is not None and ticket in self._line:
            self._line.leave(ticket)
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

    # -- life -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Adopt the workers that are there, then keep as many as are needed until cancelled; workers live on."""
        try:
            await self._adopt()
            await self._keep_number()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _adopt(self) -> None:
        """Go on with the workers and sessions of an earlier director; kill workers that do not report."""
        await asyncio.gather(*(self._adopt_one(worker) for worker in await self._fleet.found()))
        for session, report in (await self._left() if self._left is not None else {}).items():
            if not self.roster.has(session):
                self._leave(session, LeftSession(report, "killed", self.roster.clock(), None))

    async def _adopt_one(self, worker: Worker) -> None:
        for _ in range(MOST_MISSED):
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._join(worker)
            except WorkerDeadError:
                return
            except Exception as e:
                log.warning("%s does not report (%r)", worker.name, e)
                continue
            if worker.release != self._release:
                log.info("%s runs another release or other options, and is drained", worker.name)
                self.drain(worker.name)
            return
        # its sessions are not known, so that their journals cannot speak for it
        await fence(self._fleet, worker)

    async def _join(self, worker: Worker) -> None:
        """Take a worker in once it reports."""
        self._spawn(self._watch(self.roster.joined(worker, await worker.report())))

    async def _watch(self, member: Member) -> None:
        """Move a worker's sessions once it has ended."""
        name = member.worker.name
        why = await WorkerWatch(member, self.roster, self._fleet, self._journal).run()
        if self.roster.members.get(name) is not member:
            return
        sessions, now = self.roster.sessions_of(name), self.roster.clock()
        log.warning("%s is dead (%s); its %d sessions go on elsewhere", name, why, len(sessions))
        for session in sessions:
            report = self.roster.report_of(session)
            assert report is not None, "a worker's sessions are known by its reports"
            # frames were released after the last report, until it died; when a silent one stopped is not known
            since = min(now - member.heard, REPORT_EVERY) if report.playing else 0.0
            self._leave(session, LeftSession(report, why, now, report.shown + round(since * report.fps)))
        del self.roster.members[name]

    # -- going on elsewhere ---------------------------------------------------------------------------------------

    def _leave(self, session: str, left: LeftSession) -> None:
        self.roster.left(session, left)
        self._spawn(self._rehome(session, left))

    async def _rehome(self, session: str, left: LeftSession) -> None:
        """Offer a session to workers until one goes on with it, for KEPT_FOR at most."""
        why = "its worker died, and no other had room for it in time"
        while self.roster.homeless.get(session) is left and self.roster.clock() - left.since < KEPT_FOR:
            try:
                if await self._placed(session, left):
                    return
            except CannotGoOnError as e:
                why = str(e)
                break
            await asyncio.sleep(TRY_EVERY)
        if self.roster.homeless.get(session) is left:
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
                    report = await member.worker.go_on(session, left.shown)
            except (RefusedError, WorkerDeadError) as e:
                log.info("%s does not take session %s: %r", room.worker, session, e)
            except CannotGoOnError:
                raise
            except Exception as e:
                log.warning("%s cannot go on with session %s: %r", room.worker, session, e)
            else:
                await self._moved(session, left, member, report)
                return True
        return False

    async def _moved(self, session: str, left: LeftSession, member: Member, report: SessionReport) -> None:
        """Note that a worker has gone on with a session, unless the session was ended or the worker died meanwhile."""
        if self.roster.homeless.get(session) is not left:
            with contextlib.suppress(Exception):  # a worker that died has stopped it by that
                await member.worker.hand_over(session)
        elif member.worker.name not in self.roster.members:
            self._leave(session, LeftSession(report, "killed", self.roster.clock(), left.shown))
        else:
            self.roster.ended(session)
            self.roster.began(member.worker, session, report)
            self.figures.moved[left.why] += 1
            self.figures.seconds.append(self.roster.clock() - left.since)

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
        report, name = self.roster.report_of(session), member.worker.name
        if report is None or not rooms_for(Order(report.factor), self.roster.rooms(), ()):
            return
        try:
            shown = await member.worker.hand_over(session)
        except KeyError:
            self.roster.ended(session)
        except CannotGoOnError:
            return  # it stays until it ends by itself
        except Exception as e:  # a dead worker is noticed by its watch
            log.warning("%s does not hand over session %s: %r", name, session, e)
        else:
            if self.roster.has(session, name):
                self._leave(session, LeftSession(report, "drained", self.roster.clock(), shown))

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
        try:
            worker = await self._fleet.hire()
            async with asyncio.timeout(KEPT_FOR):
                await self._join(worker)
        except Exception as e:  # the next look tries again
            log.error("no worker could be hired: %r", e)
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
