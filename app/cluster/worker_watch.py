"""Watch a worker: tell a dead one from a starved one, and make sure that a silent one has ended.

A worker has ended if the fleet says so, or if MOST_MISSED reports in a row were missed while no session of it wrote its
journal; it is killed then, and waited for. Whatever was missed, a worker whose sessions write is alive.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from app.cluster.fleet import Fleet, Worker, WorkerDeadError, WorkerReport
from app.cluster.roster import Member, Roster, WorkerState

log = logging.getLogger(__name__)

REPORT_EVERY = 1.0  # seconds between a worker's reports
PATIENCE = 2.0  # seconds that a report may take before it counts as missed
MOST_MISSED = 3  # reports in a row, before a worker whose sessions write nothing is killed
TRY_EVERY = 0.5  # seconds between attempts at what failed


class WorkerWatch:
    """Have one worker report until it has ended."""

    def __init__(self, member: Member, roster: Roster, fleet: Fleet, journal: Callable[[str], Awaitable[int]]) -> None:
        """Watch a worker of the roster, which gets its reports; `journal` returns the length of a take's journal."""
        self._member, self._roster, self._fleet, self._journal = member, roster, fleet, journal

    async def run(self) -> str:
        """Return once the worker has ended for certain: "killed" if by itself, "silent" if it had to be killed.

        "dismissed" if it is no longer in the roster.
        """
        ended = asyncio.ensure_future(self._member.worker.ended())
        try:
            return await self._watched(ended)
        finally:
            ended.cancel()
            await asyncio.gather(ended, return_exceptions=True)

    async def _watched(self, ended: asyncio.Future[None]) -> str:
        worker = self._member.worker
        missed, lengths = 0, dict[str, int]()
        while True:
            began, asked = self._roster.clock(), asyncio.ensure_future(worker.report())
            first: list[asyncio.Future[Any]] = [asked, ended]
            await asyncio.wait(first, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
            report = await self._answer(asked)
            if ended.done() and ended.exception() is None:
                return "killed"
            if self._roster.members.get(worker.name) is not self._member:
                return "dismissed"
            if report is not None:
                self._roster.heard(self._member, report, began)
                missed = 0
                await asyncio.wait([ended], timeout=REPORT_EVERY)
                continue
            missed += 1
            log.info("%s has missed %d reports", worker.name, missed)
            if missed == 1:
                lengths = await self._lengths()
            if missed < MOST_MISSED:  # an error comes at once, unlike silence
                await asyncio.wait([ended], timeout=max(0.0, began + TRY_EVERY - self._roster.clock()))
                continue
            if await self._lengths() == lengths:
                await fence(self._fleet, worker)
                return "silent"
            log.warning("%s does not report, but its sessions are drawn: it is starved", worker.name)
            if self._member.state is WorkerState.READY:
                self._member.state = WorkerState.SILENT
            missed = 0

    async def _answer(self, asked: asyncio.Future[WorkerReport]) -> WorkerReport | None:
        """Return a report, or None if it did not come in time or failed: an error of one must not end the watch."""
        if not asked.done():
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            return None
        if (error := asked.exception()) is not None:
            if not isinstance(error, WorkerDeadError):
                log.warning("%s cannot report: %r", self._member.worker.name, error)
            return None
        return asked.result()

    async def _lengths(self) -> dict[str, int]:
        """Return the lengths of the journals of the worker's takes, as far as they can be read."""
        sessions = self._roster.sessions_of(self._member.worker.name)
        takes = [report.take for session in sessions if (report := self._roster.report_of(session)) is not None]
        found = await asyncio.gather(*(self._journal(take) for take in takes), return_exceptions=True)
        return {take: length for take, length in zip(takes, found, strict=True) if isinstance(length, int)}


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
