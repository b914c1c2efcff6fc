"""What a session measures of itself."""

from __future__ import annotations

import statistics
from collections import deque

from models.knot import DISAGREEMENT
from streaming.transport.events import KnotFigures


class Timings:
    """Keeps the newest seconds that chunks took, and that commands waited for their first frame."""

    def __init__(self, chunk_frames: int, fps: int) -> None:
        """Measure chunks of `chunk_frames` frames for a film of `fps` frames a second."""
        self._chunk_frames, self._fps = chunk_frames, fps
        self._production: deque[float] = deque(maxlen=20)
        self._busy: deque[float] = deque(maxlen=20)
        self._waits: deque[float] = deque(maxlen=200)
        self._apart: deque[float] = deque(maxlen=500)

    def drew(self, seconds: float, settling: float) -> None:
        """Count a chunk: the seconds until its frames were there, and those that its boundary took afterwards."""
        self._production.append(seconds)
        self._busy.append(seconds + settling)

    def waited(self, seconds: float) -> None:
        """Count the seconds that a command waited for its first frame."""
        self._waits.append(seconds)

    def fused(self, disagreement: float) -> None:
        """Count how far a chunk was from the knot that it took up."""
        self._apart.append(disagreement)

    @property
    def knots(self) -> KnotFigures | None:
        """Return how far the newest 500 chunks were from their knots; None before the first."""
        if not self._apart:
            return None
        leaned = sum(apart > DISAGREEMENT for apart in self._apart)
        median, largest = round(statistics.median(self._apart), 3), round(max(self._apart), 3)
        return KnotFigures(median=median, max=largest, leaned=leaned)

    @property
    def production(self) -> float:
        """Return how many frames play while a chunk is drawn; 0 before the first was measured."""
        return statistics.median(self._production) * self._fps if self._production else 0.0

    @property
    def real_time_factor(self) -> float | None:
        """Return the seconds of device time that a second of media costs; None before the first chunks."""
        if len(self._busy) < 2:
            return None
        return statistics.median(self._busy) * self._fps / self._chunk_frames

    @property
    def generated_fps(self) -> float | None:
        """Return the frames a second that the device could make; None before the first chunks."""
        return round(self._chunk_frames / statistics.median(self._busy), 1) if self._busy else None

    @property
    def prompt_ms(self) -> list[int] | None:
        """Return the newest, the median and the 95th percentile of what commands waited, in milliseconds."""
        ordered = sorted(self._waits)
        if not ordered:
            return None
        shares = (ordered[min(len(ordered) - 1, int(q * len(ordered)))] for q in (0.5, 0.95))
        return [round(1000 * w) for w in (self._waits[-1], *shares)]
