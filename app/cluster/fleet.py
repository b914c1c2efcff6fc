"""Describe workers and fleets to the director, which knows neither what starts them nor how they are reached."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from models.errors import ErrorKind, UserError


class WorkerDeadError(Exception):
    """Report that a worker's process has ended for certain."""


class RefusedError(Exception):
    """Report that a worker does not take a session now, and has not begun it; another one may."""


class CannotGoOnError(UserError):
    """Report a session that no worker can go on with, such as an avatar."""

    kind = ErrorKind.CONFLICT


@dataclass(frozen=True)
class SessionReport:
    """Tell what the director must know of a session to route to it, and to have it go on elsewhere."""

    key: str  # controls the session
    take: str  # whose journal tells all of it: a rewind begins another
    shown: int  # number in the take of the frame that is shown next
    fps: int
    playing: bool  # whether frames are released as time goes on
    factor: float  # share of a device's time that it takes
    kind: str = ""  # names sessions that cost the same


@dataclass(frozen=True)
class WorkerReport:
    """Tell what a worker does."""

    sessions: Mapping[str, SessionReport]
    models: Collection[str]  # that are loaded
    free_mb: int  # of the memory of its device
    address: str = ""  # the base of its HTTP addresses
    release: str = ""  # identifies the software and the options that it runs


class Worker(Protocol):
    """Reach one worker.

    Every method raises WorkerDeadError once its process has ended for certain, and may take any time. After any other
    error but those that are named, it is not known whether the worker has done what it was asked for.
    """

    @property
    def name(self) -> str:
        """Return what identifies the worker for as long as it lives."""
        ...

    async def ended(self) -> None:
        """Return once the worker's process has ended for certain."""
        ...

    async def report(self) -> WorkerReport:
        """Return what the worker does now."""
        ...

    async def go_on(self, session: str, left: SessionReport) -> SessionReport:
        """Go on with a session that another worker had and left as it is told, from the frame that it had shown.

        RefusedError if there is no room, CannotGoOnError if no worker can go on with it.
        """
        ...

    async def hand_over(self, session: str) -> int | None:
        """Stop a session so that another worker can go on with it; return the frame that would have been shown next.

        None if the worker has no such session; one that it has handed over before is answered as it was then.
        CannotGoOnError, and nothing is stopped, if no worker could go on with it.
        """
        ...


class Fleet(Protocol):
    """Start and end workers."""

    async def found(self) -> list[Worker]:
        """Return the workers that an earlier director has left running."""
        ...

    async def hire(self) -> Worker:
        """Start a worker; return once it can take sessions."""
        ...

    async def kill(self, worker: Worker) -> None:
        """End a worker's process, whatever it does; return once it has ended for certain."""
        ...
