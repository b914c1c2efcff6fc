"""Follow the line of a WebSocket viewer, by how long its film waits to be taken.

TCP loses nothing and tells no delay, so the line shows only where it is the limit: the film then waits most of the
time, and what is taken meanwhile is what the line carries.
"""

from __future__ import annotations

from collections import deque

from streaming.live.clock import MONOTONIC, Clock
from streaming.media.broadcast import Viewer
from streaming.media.line_estimate import BACK_OFF, FLOOR

LOOK_EVERY = 1.0  # seconds
LOOKS = 3  # over which what is taken is counted, as a message that waited may itself be small
LIMITED, FREE = 0.5, 0.1  # share of the time in which the film waits: the line is the limit above the one
CALM = 3  # looks in a row at which the line was not the limit, after which more is tried
GROWTH = 1.15  # then, a look


class SocketLine:
    """Say what one viewer's film may take of its line."""

    def __init__(self, viewer: Viewer, ample: float, clock: Clock = MONOTONIC) -> None:
        """Begin without a limit; `ample` is the bits a second of the unlimited film."""
        self._viewer, self._ample, self._clock = viewer, ample, clock
        self._began, self._bytes, self._waited, self._calm = clock(), 0, 0.0, 0
        self._taken: deque[tuple[float, int]] = deque(maxlen=LOOKS)  # seconds and bytes between the newest looks
        self._since = LOOKS  # looks since the newest reduction

    def sent(self, size: int, waited: float) -> None:
        """Note that a message of `size` bytes was taken after it had waited so many seconds."""
        now = self._clock()
        self._bytes, self._waited = self._bytes + size, self._waited + waited
        seconds = now - self._began
        if seconds < LOOK_EVERY:
            return
        share = self._waited / seconds
        self._taken.append((seconds, self._bytes))
        self._began, self._bytes, self._waited, self._since = now, 0, 0.0, self._since + 1
        self._calm = self._calm + 1 if share < FREE else 0
        line = self._viewer.line
        if share > LIMITED and self._since >= LOOKS - 1:
            carried = 8 * sum(size for _, size in self._taken) / sum(seconds for seconds, _ in self._taken)
            most = self._ample if line is None else line
            self._viewer.line, self._since = max(FLOOR, min(most, BACK_OFF * carried)), 0
        elif line is not None and self._calm >= CALM:
            self._viewer.line = line * GROWTH if line * GROWTH < self._ample else None
