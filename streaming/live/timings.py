"""Measure how long a session's chunks and commands take."""

from __future__ import annotations

import statistics
from collections import deque

from models.knot import DISAGREEMENT
from streaming.transport.events import KnotFigures


class Timings:
    """Keep the newest durations of chunks and of commands, and summarise them."""

    def __init__(self, chunk_frames: int, fps: int) -> None:
        """Measure chunks that show `chunk_frames` frames of a film with `fps` frames a second."""
        self._chunk_frames, self._fps = chunk_frames, fps
        self._production: deque[float] = deque(maxlen=20)
        self._busy: deque[float] = deque(maxlen=20)
        self._leads: deque[float] = deque(maxlen=5)
        self._waits: deque[float] = deque(maxlen=200)
        self._apart: deque[float] = deque(maxlen=500)

    def drew(self, seconds: float, settling: float) -> None:
        """Add a chunk: the seconds until its frames were decoded, and those that its boundary took afterwards."""
        self._production.append(seconds)
        self._busy.append(seconds + settling)

    def led(self, seconds: float) -> None:
        """Add the seconds from the decision to draw a chunk to its frames, the wait for a shared device included."""
        self._leads.append(seconds)

    def waited(self, seconds: float) -> None:
        """Add the seconds between a command and its first frame."""
        self._waits.append(seconds)

    def fused(self, disagreement: float) -> None:
        """Add the disagreement of a chunk with the knot that was fused into it (models.knot)."""
        self._apart.append(disagreement)

    @property
    def knots(self) -> KnotFigures | None:
        """Return the disagreement of the newest 500 chunks with their knots; None before the first."""
        if not self._apart:
            return None
        leaned = sum(apart > DISAGREEMENT for apart in self._apart)
        median, largest = round(statistics.median(self._apart), 3), round(max(self._apart), 3)
        return KnotFigures(median=median, max=largest, leaned=leaned)

    @property
    def production(self) -> float:
        """Return how many frames play while a chunk is drawn; 0 before the first chunk was measured."""
        return statistics.median(self._production) * self._fps if self._production else 0.0

    @property
    def lead(self) -> float:
        """Return how many frames play between the decision to draw a chunk and its frames; 0 before the first."""
        return statistics.median(self._leads) * self._fps if self._leads else 0.0

    @property
    def real_time_factor(self) -> float | None:
        """Return the seconds of device time that one second of media takes; None before two chunks were measured."""
        if len(self._busy) < 2:
            return None
        return statistics.median(self._busy) * self._fps / self._chunk_frames

    @property
    def generated_fps(self) -> float | None:
        """Return the frames a second that the device could draw; None before the first chunk was measured."""
        return round(self._chunk_frames / statistics.median(self._busy), 1) if self._busy else None

    @property
    def prompt_ms(self) -> list[int] | None:
        """Return in milliseconds a command's newest wait, the median and the 95th percentile; None before the first."""
        ordered = sorted(self._waits)
        if not ordered:
            return None
        shares = (ordered[min(len(ordered) - 1, int(q * len(ordered)))] for q in (0.5, 0.95))
        return [round(1000 * w) for w in (self._waits[-1], *shares)]
