"""Clocks for tests: time passes as they say, and nothing sleeps."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable


class TestClock:
    """Moves only when somebody sleeps or works; every sleep is late by up to `jitter` seconds."""

    __test__ = False

    def __init__(self, jitter: float = 0.0, waited: Callable[[], None] = lambda: None) -> None:
        """`waited` is called whenever somebody waits for an event in vain."""
        self.now, self.chance, self.waited = 0.0, random.Random(0), waited
        self._jitter = jitter

    def __call__(self) -> float:
        return self.now

    def works(self, seconds: float) -> None:
        """Something takes up to so long."""
        self.now += self.chance.uniform(0, seconds)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds + self.chance.uniform(0, self._jitter)
        await asyncio.sleep(0)

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        if not event.is_set():
            self.now += seconds
            self.waited()
        await asyncio.sleep(0)
