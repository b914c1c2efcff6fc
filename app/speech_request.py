"""Keep the sounds for an avatar in the order of their requests, however long each takes to arrive."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

from streaming.speech.avatar import Avatar

AT_ONCE = 2  # sounds decoded or synthesised at the same time


class SpeechOrder:
    """Provide one lock per avatar, which requests acquire in the order of their arrival.

    An interruption replaces the lock, so that later requests do not wait for those that the interruption cancelled.
    """

    def __init__(self) -> None:
        self.decoding = asyncio.Semaphore(AT_ONCE)
        self._locks: WeakKeyDictionary[Avatar, tuple[int, asyncio.Lock]] = WeakKeyDictionary()

    def of(self, avatar: Avatar) -> asyncio.Lock:
        """Return the lock to hold from the arrival of a request until its sound is handed over."""
        epoch, lock = self._locks.get(avatar, (-1, asyncio.Lock()))
        if epoch != avatar.epoch:
            lock = asyncio.Lock()
            self._locks[avatar] = avatar.epoch, lock
        return lock
