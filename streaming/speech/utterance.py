"""Keep a sound that is spoken as one, from the arrival of its first sample to the hearing of its last."""

from __future__ import annotations

from collections import deque

import numpy as np

from streaming.speech.fullband import Samples


class Utterance:
    """Queue the samples of an utterance, which may still be arriving."""

    def __init__(self) -> None:
        self.open = True  # whether further samples may arrive
        self.waiting = 0  # samples at 48 kHz that wait
        self._pieces: deque[Samples] = deque()

    def add(self, voice: Samples) -> None:
        """Append samples at 48 kHz; they are dropped if the utterance is not open."""
        if len(voice) and self.open:
            self._pieces.append(voice)
            self.waiting += len(voice)

    def take(self, n: int) -> Samples:
        """Remove and return the next n samples, or as many as wait."""
        parts = [np.zeros(0, np.int16)]
        missing = min(n, self.waiting)
        self.waiting -= missing
        while missing:
            piece = self._pieces.popleft()
            parts.append(piece[:missing])
            if len(piece) > missing:
                self._pieces.appendleft(piece[missing:])
            missing -= len(parts[-1])
        return np.concatenate(parts)

    def end(self) -> None:
        """Take no further samples, and drop what waits."""
        self.open, self.waiting = False, 0
        self._pieces.clear()
