"""Let packets leave one after another, so that a picture's packets do not arrive at a slow line all at once."""

from __future__ import annotations

from streaming.live.clock import Clock

PACE = 1.1  # times the line's rate at which packets leave


class Pacer:
    """Hold packets back until the ones before them have left a line."""

    def __init__(self, clock: Clock) -> None:
        """Let the first packet go at once; waits are those of `clock`."""
        self._clock, self._free = clock, 0.0  # when the next packet may leave

    async def wait(self, size: int, rate: float | None) -> None:
        """Return when a packet of `size` bytes may leave a line of `rate` bits a second; None: it has no limit."""
        if rate is None and self._free <= self._clock():
            return
        while (seconds := self._free - self._clock()) > 0:
            await self._clock.sleep(seconds)
        if rate is not None:
            self._free = self._clock() + 8 * size / (PACE * rate)

    def pause(self, seconds: float) -> None:
        """Let nothing leave for so many seconds from now, so that a queue in front of the line drains."""
        if seconds:
            self._free = max(self._free, self._clock() + seconds)
