"""Garbage is collected in time beside many objects that stay."""

from __future__ import annotations

import gc
import weakref
from collections import deque

from app.standing_objects import set_standing_objects_aside


class Connection:
    """Refer to itself, as closed connections do."""

    def __init__(self) -> None:
        self.own = self


def test_cycles_are_collected_beside_many_objects_that_stay() -> None:
    standing: list[list[int]] = [[] for _ in range(500_000)]
    try:
        assert set_standing_objects_aside() > len(standing)
        open_now = deque([Connection()], maxlen=20_000)
        first = weakref.ref(open_now[0])
        for _ in range(150_000):  # fewer than a quarter of what stays, so that alone brings no full collection
            open_now.append(Connection())
        assert first() is None
    finally:
        gc.unfreeze()
