"""Pace the drawing of a continued take's past, which nobody sees, so that sessions beside it stay live."""

from __future__ import annotations

from collections.abc import Callable

from streaming.live.clock import Clock

LOOK_EVERY = 0.02  # seconds, while the device has no time to spare


class CatchUpPace:
    """Say when the next chunk of a past may be drawn.

    It may while the device has the time to spare, and in any case as often as it would be if it were shown: the session
    was admitted for that share of the device.
    """

    def __init__(self, chunk_seconds: float, spare: Callable[[], bool], clock: Clock) -> None:
        """Pace chunks that play for `chunk_seconds`.

        `spare` returns whether the device can draw one of them now without making another session late.
        """
        self._chunk_seconds, self._spare, self._clock = chunk_seconds, spare, clock
        self._due: float | None = None  # when the next chunk may be drawn in any case; None before the first

    def delay(self) -> float:
        """Return the seconds after which to ask again, or 0 and count a chunk as begun if it may be drawn now."""
        now = self._clock()
        if self._due is None:
            self._due = now + self._chunk_seconds
        if now < self._due and not self._spare():
            return LOOK_EVERY
        self._due = now + self._chunk_seconds
        return 0.0
