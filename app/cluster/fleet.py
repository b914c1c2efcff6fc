"""Describe workers and fleets to the director, which knows neither what starts them nor how they are reached."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from models.errors import ErrorKind, UserError


class WorkerDeadError(Exception):
    """Report that a worker's process has ended for certain."""


class RefusedError(Exception):
    """Report that a worker does not take a session now; another one may."""


class CannotGoOnError(UserError):
    """Report a session that no worker can go on with, such as an avatar."""

    kind = ErrorKind.CONFLICT


@dataclass(frozen=True)
class SessionReport:
    """Tell what the director must know of a session to route to it, and to have it go on elsewhere."""

    key: str  # controls the session
    take: str  # that is being drawn now: a rewind begins another
    shown: int  # frames of the film that were released
    fps: int
    playing: bool  # whether frames are released as time goes on
    factor: float  # share of a device's time that it takes


@dataclass(frozen=True)
class WorkerReport:
    """Tell what a worker does."""

    sessions: Mapping[str, SessionReport]
    models: Collection[str]  # that are loaded
    free_mb: int  # of the memory of its device


class Worker(Protocol):
    """Reach one worker. Every method raises WorkerDeadError once its process has ended, and may take any time."""

    @property
    def name(self) -> str:
        """Return what identifies the worker for as long as it lives."""
        ...

    @property
    def address(self) -> str:
        """Return the base of its HTTP addresses."""
        ...

    @property
    def release(self) -> str:
        """Return what identifies the software and options that it runs."""
        ...

    async def ended(self) -> None:
        """Return once the worker's process has ended for certain."""
        ...

    async def report(self) -> WorkerReport:
        """Return what the worker does now."""
        ...

    async def go_on(self, session: str, shown: int | None) -> SessionReport:
        """Go on with a session that another worker had, and show it from frame `shown` on (None: from its end).

        RefusedError if there is no room, CannotGoOnError if no worker can go on with it.
        """
        ...

    async def hand_over(self, session: str) -> int:
        """Stop a session so that another worker can go on with it; return how many of its frames were shown.

        KeyError if the worker has no such session.
        """
        ...


class Fleet(Protocol):
    """Start and end workers."""

    async def found(self) -> list[Worker]:
        """Return the workers that an earlier director has left running."""
        ...

    async def hire(self) -> Worker:
        """Start a worker; return once it has drawn a chunk and can take sessions."""
        ...

    async def kill(self, worker: Worker) -> None:
        """End a worker's process, whatever it does; return once it has ended for certain."""
        ...
