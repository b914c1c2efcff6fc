"""Does somebody speak? An energy gate with hysteresis over a floor that follows the room.

Measured on espeak-ng at −21 dBFS in blocks of 20 ms: half of speech lies above −26 dBFS, 95 % above −43, and inside a
sentence no more than 80 ms in a row lie below −40. The hiss and hum of a room stay within 4 dB of their median.
Speech has gaps and a fan has none: what is never quieter for a while becomes the room, so that no noise holds it open.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from streaming.speech.soundtrack import Samples

BLOCK = 320  # samples: 20 ms at 16 kHz
OVER_FLOOR = 10.0  # dB by which speech exceeds the room
LOWEST = -48.0  # dBFS; below it nobody speaks, however quiet the room
HYSTERESIS = 6.0  # dB by which it may fall again before it counts as a pause
OPENS_AFTER = 3  # blocks in a row: 60 ms, so that a click opens nothing
CLOSES_AFTER = 15  # blocks: 300 ms, longer than any pause inside a sentence
ECHO = 6.0  # dB by which a voice must be louder while the avatar speaks, whatever the browser left of its echo
OPENS_AFTER_IN_ECHO = 8  # blocks: 160 ms
FLOOR_RISES = 0.04  # dB a block, 2 a second; it falls at once
GAPS_WITHIN = 75  # blocks: 1.5 s, in which speech is nearly as quiet as the room at least once
OPEN_FLOOR_RISES = 0.12  # dB a block, 6 a second, towards the quietest of those: a sung note lasts seconds too


class VoiceActivityDetector:
    """Tells from block after block whether somebody speaks, in `open`."""

    def __init__(self) -> None:
        self.open = False
        self.level = -120.0  # dBFS of the newest block
        self._floor = -70.0
        self._newest: deque[float] = deque(maxlen=GAPS_WITHIN)  # levels
        self._loud = self._quiet = 0  # blocks in a row
        self._echo = False

    def hear(self, block: Samples, *, echo: bool) -> bool:
        """Take a block [320]; returns whether speech begins with it. `echo`: the avatar speaks meanwhile."""
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
        """Return whether speech over the avatar is as sure as it takes to open, whenever it began."""
        return self.open and self._echo and self._loud >= OPENS_AFTER_IN_ECHO
