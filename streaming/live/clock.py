"""The clock of sessions: what reads the time, sleeps and waits, so that a test can let time pass as it likes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time, and lets it pass."""

    def __call__(self) -> float:
        """Return the time in seconds from an arbitrary start; it never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Return once the event is set, or after so many seconds."""


class MonotonicClock:
    """The machine's monotonic clock, on the running event loop."""

    def __call__(self) -> float:
        """Return the time in seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""
        await asyncio.sleep(seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Return once the event is set, or after so many seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), seconds)


MONOTONIC = MonotonicClock()
