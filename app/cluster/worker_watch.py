"""Watch a worker: tell a dead one from a starved one, and make sure that a silent one has ended.

A worker has ended if the fleet says so. One that is silent is killed, and waited for, if it has missed MOST_MISSED
reports in a row while a session of it should have been drawn and none has written its journal. A report that comes
late is a report; a worker whose sessions write is alive, whatever it misses; and one of which no journal can tell, as
nothing of it plays, is given IDLE_PATIENCE.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from app.cluster.fleet import Fleet, Worker, WorkerDeadError
from app.cluster.roster import Member, Roster, WorkerState

log = logging.getLogger(__name__)

REPORT_EVERY = 1.0  # seconds between a worker's reports
PATIENCE = 2.0  # seconds that a report may take before it counts as missed
MOST_MISSED = 3  # reports in a row, before a worker whose sessions write nothing is killed
IDLE_PATIENCE = 120.0  # seconds of silence, before a worker is killed of which no journal can tell whether it lives
TRY_EVERY = 0.5  # seconds between attempts at what failed


class WorkerWatch:
    """Have one worker report until it has ended."""

    def __init__(
        self,
        member: Member,
        roster: Roster,
        fleet: Fleet,
        journal: Callable[[str], Awaitable[int]],
        heard: Callable[[Member], None] = lambda _: None,
    ) -> None:
        """Watch a worker of the roster, which gets its reports; `heard` is called after each.

        `journal` returns the length of a take's journal, and raises an error if that cannot be read.
        """
        self._member, self._roster, self._fleet = member, roster, fleet
        self._journal, self._tell_heard = journal, heard

    async def run(self) -> str:
        """Return once the worker has ended for certain: "killed" if by itself, "silent" if it had to be killed.

        "dismissed" if it is no longer in the roster.
        """
        self._ended = asyncio.ensure_future(self._member.worker.ended())
        self._ask()
        try:
            return await self._watched()
        finally:
            for waited in (self._ended, self._asked):
                waited.cancel()
            await asyncio.gather(self._ended, self._asked, return_exceptions=True)

    def _ask(self) -> None:
        self._since = self._roster.clock()
        self._asked = asyncio.ensure_future(self._member.worker.report())

    async def _watched(self) -> str:
        worker = self._member.worker
        missed, lengths = 0, await self._lengths()
        while True:
            waited: list[asyncio.Future[Any]] = [self._asked, self._ended]
            await asyncio.wait(waited, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
            if self._has_ended():
                return "killed"
            if self._roster.members.get(worker.name) is not self._member:
                return "dismissed"
            if self._asked.done():
                error = self._asked.exception()
                if error is None:
                    self._roster.heard(self._member, self._asked.result(), self._since)
                    self._tell_heard(self._member)
                    missed = 0
                else:
                    log.warning("%s cannot report: %r", worker.name, error)
                await asyncio.wait([self._ended], timeout=REPORT_EVERY)
                self._ask()
                if error is None:
                    continue
            missed += 1
            log.info("%s has missed %d reports", worker.name, missed)
            if missed == 1:
                lengths = await self._lengths()
            if missed < MOST_MISSED:
                continue
            if self._member.state is WorkerState.READY:
                self._member.state = WorkerState.SILENT
            now = await self._lengths()
            if self._stands_still(lengths, now):
                await fence(self._fleet, worker)
                return "silent"
            if now != lengths:
                log.warning("%s does not report, but its sessions are drawn: it is starved", worker.name)
                missed, lengths = 1, now

    def _has_ended(self) -> bool:
        """Return whether the worker's end is certain; look again where that could not be seen."""
        if self._asked.done() and isinstance(self._asked.exception(), WorkerDeadError):
            return True
        if not self._ended.done():
            return False
        if (error := self._ended.exception()) is None:
            return True
        log.warning("it cannot be seen whether %s has ended: %r", self._member.worker.name, error)
        self._ended = asyncio.ensure_future(_later(self._member.worker.ended))
        return False

    def _stands_still(self, before: dict[str, int] | None, now: dict[str, int] | None) -> bool:
        """Return whether a silent worker counts as dead, by the lengths of its journals before and now."""
        playing = any(report.playing for report in self._roster.reports_of(self._member.worker.name))
        if playing and before is not None and now is not None:
            return before == now
        return self._roster.clock() - self._member.heard > IDLE_PATIENCE and before == now

    async def _lengths(self) -> dict[str, int] | None:
        """Return the lengths of the journals of the worker's takes; None if one cannot be read."""
        takes = [report.take for report in self._roster.reports_of(self._member.worker.name)]
        try:
            return dict(zip(takes, await asyncio.gather(*map(self._journal, takes)), strict=True))
        except Exception as e:
            log.warning("the journals of %s cannot be read: %r", self._member.worker.name, e)
            return None


async def _later(ended: Callable[[], Awaitable[None]]) -> None:
    await asyncio.sleep(TRY_EVERY)
    await ended()


async def fence(fleet: Fleet, worker: Worker) -> None:
    """Return once a worker has ended for certain, however often that must be tried."""
    while True:
        try:
            await fleet.kill(worker)
        except Exception as e:
            log.error("%s cannot be killed (%r); its sessions wait", worker.name, e)
            await asyncio.sleep(TRY_EVERY)
        else:
            return
