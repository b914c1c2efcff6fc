"""Detect speech by an energy gate with hysteresis over a noise floor that follows the room.

Measured on espeak-ng at −21 dBFS in blocks of 20 ms: half of speech lies above −26 dBFS, 95 % above −43, and inside a
sentence no more than 80 ms in a row lie below −40. The hiss and hum of a room stay within 4 dB of their median.
Speech has gaps and a fan has none, so the quietest level of a while becomes the floor: no steady noise keeps the gate
open.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from streaming.speech.fullband import Samples

BLOCK = 320  # samples: 20 ms at 16 kHz
OVER_FLOOR = 10.0  # dB by which speech exceeds the room
LOWEST = -48.0  # dBFS below which no sound counts as speech, however quiet the room
HYSTERESIS = 6.0  # dB below the threshold from which the level counts as a pause
OPENS_AFTER = 3  # blocks in a row: 60 ms, so that a click opens nothing
CLOSES_AFTER = 15  # blocks: 300 ms, longer than any pause inside a sentence
ECHO = 6.0  # dB added to the threshold while the avatar speaks, for the echo that the browser leaves
OPENS_AFTER_IN_ECHO = 8  # blocks: 160 ms
FLOOR_RISES = 0.04  # dB a block (2 dB a second); the floor falls at once
GAPS_WITHIN = 75  # blocks: 1.5 s, within which speech has at least one gap
OPEN_FLOOR_RISES = (
    0.12  # dB a block (6 dB a second) towards the quietest of those, slow because a sung note lasts seconds
)


class VoiceActivityDetector:
    """Decide block by block whether there is speech; `open` holds the newest decision."""

    def __init__(self) -> None:
        self.open = False
        self.level = -120.0  # dBFS of the newest block
        self._floor = -70.0
        self._newest: deque[float] = deque(maxlen=GAPS_WITHIN)  # levels
        self._loud = self._quiet = 0  # blocks in a row
        self._echo = False

    def hear(self, block: Samples, *, echo: bool) -> bool:
        """Take a block ([320] int16, 16 kHz), and return whether speech begins with it; `echo`: the avatar speaks."""
        power = float(np.square(block.astype(np.float64) / 32768).mean())
        self.level = 10 * math.log10(max(power, 1e-12))
        self._newest.append(self.level)
        if echo and not self._echo:
            self._loud = 0
        self._echo = echo
        threshold = max(LOWEST, self._floor + OVER_FLOOR) + (ECHO if echo else 0.0)
        self._loud = self._loud + 1 if self.level > threshold else 0
        quietest, rises = (min(self._newest), OPEN_FLOOR_RISES) if self.open else (self.level, FLOOR_RISES)
        self._floor = max(-90.0, min(quietest, self._floor + rises))
        if self.open:
            self._quiet = 0 if self.level > threshold - HYSTERESIS else self._quiet + 1
            self.open = self._quiet < CLOSES_AFTER
            return False
        if self._loud < (OPENS_AFTER_IN_ECHO if echo else OPENS_AFTER):
            return False
        self.open, self._quiet = True, 0
        return True

    @property
    def over_echo(self) -> bool:
        """Return whether speech has lasted long enough over the avatar's own sound to interrupt it."""
        return self.open and self._echo and self._loud >= OPENS_AFTER_IN_ECHO
