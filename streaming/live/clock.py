"""Read the time, sleep and wait for sessions, behind an interface in which tests control the time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Protocol


class Clock(Protocol):
    """Tell the time, sleep, and wait for events."""

    def __call__(self) -> float:
        """Return the seconds since an arbitrary moment; they never go back."""

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Return once the event is set, or after so many seconds."""


class MonotonicClock:
    """Use the machine's monotonic clock and the running event loop."""

    def __call__(self) -> float:
        """Return the seconds of `time.monotonic`."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""
        await asyncio.sleep(seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Return once the event is set, or after so many seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), seconds)


MONOTONIC = MonotonicClock()
