"""Decide which workers have room for a session, and how many workers a load needs: arithmetic without state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from streaming.live.admission import CAPACITY, MOST_PASSED
from streaming.live.speed_forecast import UNKNOWN
from streaming.live.waiting_line import Waiting


@dataclass(frozen=True)
class Order:
    """Tell what a session that is asked for is expected to take."""

    expected: float  # real-time factor
    model: str = ""
    memory_mb: int = 0  # that the model takes once it is loaded


@dataclass
class Room:
    """Hold what a worker has to give, by its name."""

    worker: str
    load: float
    free_mb: int
    models: frozenset[str]

    def fits(self, order: Order) -> bool:
        """Return whether a session fits; a worker without any load takes every session that fits into its memory."""
        remembers = order.model in self.models or order.memory_mb <= self.free_mb
        return remembers and (self.load == 0 or self.load + order.expected <= CAPACITY)


def rooms_for(order: Order, rooms: Sequence[Room], ahead: Sequence[Waiting]) -> list[Room]:
    """Return the rooms in which a session fits, the least loaded first, beside those that came before it in line.

    Those before it get what fits them first. Where one of them fits nowhere, later ones may pass it, MOST_PASSED times
    at most; `passed` of each is counted here if the result is not empty.
    """
    left = [Room(r.worker, r.load, r.free_mb, r.models) for r in rooms]
    stuck: list[Waiting] = []
    for waiting in ahead:
        needs = Order(waiting.expected)
        room = min((r for r in left if r.fits(needs)), key=lambda r: r.load, default=None)
        if room is not None:
            room.load += waiting.expected
        else:
            stuck.append(waiting)
    if any(waiting.passed >= MOST_PASSED for waiting in stuck):
        return []
    found = sorted((r for r in left if r.fits(order)), key=lambda r: r.load)
    if found:
        for waiting in stuck:
            waiting.passed += 1
    return found


@dataclass(frozen=True)
class Bounds:
    """Hold how many workers there may be, and how many of them are to be free."""

    least: int = 1
    most: int = 8
    spare: int = 1

    def wanted(self, load: float, waiting: int) -> int:
        """Return how many workers a load needs, with so many requests in line."""
        needed = math.ceil(round((load + UNKNOWN * waiting) / CAPACITY, 6)) + self.spare
        return max(self.least, min(self.most, needed))
