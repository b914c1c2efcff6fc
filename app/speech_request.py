"""Hand sounds to an avatar in the order of their requests, however long each takes to arrive."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

from streaming.speech.avatar import Avatar

AT_ONCE = 2  # sounds that are decoded or synthesised at a time; each takes a process or a decoder


class SpeechOrder:
    """Give requests for one avatar a lock, which they take in the order of their arrival.

    An interruption begins a new order: a later request does not wait for those that the interruption made void.
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
