"""Control the time and the event loop in tests: nothing waits for real time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable


async def turn() -> None:
    """Run the tasks of the event loop that are ready."""
    await asyncio.sleep(0)


class TestClock:
    """Move only by sleeping, waiting and working; every sleep is late by up to `jitter` seconds."""

    __test__ = False

    def __init__(self, jitter: float = 0.0, waited: Callable[[], None] = lambda: None) -> None:
        """Begin at 0; `waited` is called after every wait for an event that was not set."""
        self.now, self.chance, self.waited = 0.0, random.Random(0), waited
        self._jitter = jitter

    def __call__(self) -> float:
        return self.now

    def works(self, seconds: float) -> None:
        """Let work take up to so many seconds."""
        self.now += self.chance.uniform(0, seconds)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds + self.chance.uniform(0, self._jitter)
        await turn()

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        if not event.is_set():
            self.now += seconds
            self.waited()
        await turn()
