"""Keep the sounds for an avatar in the order of their requests, however long each takes to arrive."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from weakref import WeakKeyDictionary

from app.credentials import TooManyError
from streaming.speech.avatar import HasEpoch

AT_ONCE = 2  # sounds decoded or synthesised at the same time
MOST_WAITING = 32  # requests of one avatar, each of which holds a connection and the beginning of its body


class SpeechOrder:
    """Provide one lock per avatar, which requests acquire in the order of their arrival.

    An interruption replaces the lock, so that later requests do not wait for those that the interruption cancelled.
    """

    def __init__(self) -> None:
        self.decoding = asyncio.Semaphore(AT_ONCE)
        self._locks: WeakKeyDictionary[HasEpoch, tuple[int, asyncio.Lock]] = WeakKeyDictionary()
        self._waiting: Counter[int] = Counter()  # by id of the avatar; its entry is removed with its last request

    @contextlib.asynccontextmanager
    async def of(self, avatar: HasEpoch) -> AsyncIterator[None]:
        """Hold the avatar's lock, from the arrival of a request until its sound is handed over.

        Raises TooManyError at once if MOST_WAITING requests of the avatar wait or are served.
        """
        if self._waiting[id(avatar)] >= MOST_WAITING:
            raise TooManyError(f"{MOST_WAITING} sounds wait for this avatar already; send the next a little later", 1)
        self._waiting[id(avatar)] += 1
        try:
            async with self._lock(avatar):
                yield
        finally:
            self._waiting[id(avatar)] -= 1
            self._waiting += Counter()  # removes entries that are zero

    def _lock(self, avatar: HasEpoch) -> asyncio.Lock:
        epoch, lock = self._locks.get(avatar, (-1, asyncio.Lock()))
        if epoch != avatar.epoch:
            lock = asyncio.Lock()
            self._locks[avatar] = avatar.epoch, lock
        return lock
