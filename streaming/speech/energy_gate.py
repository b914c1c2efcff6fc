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

from streaming.speech.voice_activity import Block, Detector, Gate

OVER_FLOOR = 10.0  # dB by which speech exceeds the room
LOWEST = -48.0  # dBFS below which no sound counts as speech, however quiet the room
HYSTERESIS = 6.0  # dB below the threshold from which the level counts as a pause
OPENS_AFTER = 3  # blocks in a row: 60 ms, so that a click opens nothing
CLOSES_AFTER = 15  # blocks: 300 ms, longer than any pause inside a sentence
ECHO = 6.0  # dB added to the threshold while the avatar speaks, for the echo that is left
OPENS_AFTER_IN_ECHO = 8  # blocks: 160 ms
FLOOR_RISES = 0.04  # dB a block (2 dB a second); the floor falls at once
GAPS_WITHIN = 75  # blocks: 1.5 s, within which speech has at least one gap
OPEN_FLOOR_RISES = (
    0.12  # dB a block (6 dB a second) towards the quietest of those, slow because a sung note lasts seconds
)


class EnergyGate:
    """Detect what is louder than the room (VoiceActivityDetector)."""

    kind = Detector.ENERGY

    def __init__(self) -> None:
        """Begin in a room of unknown loudness."""
        self.reset()

    def reset(self) -> None:
        """Forget the room and what was heard."""
        self.level = -120.0  # dBFS of the newest block
        self._gate = Gate(opens_after=OPENS_AFTER, opens_in_echo=OPENS_AFTER_IN_ECHO, closes_after=CLOSES_AFTER)
        self._floor = -70.0
        self._newest: deque[float] = deque(maxlen=GAPS_WITHIN)  # levels

    @property
    def open(self) -> bool:
        """Return the newest decision."""
        return self._gate.open

    @property
    def over_echo(self) -> bool:
        """Return whether speech has lasted long enough over the avatar's own sound to interrupt it."""
        return self._gate.over_echo

    def hear(self, block: Block, *, echo: bool) -> bool:
        """Take a block, and return whether speech begins with it; `echo`: the avatar speaks meanwhile."""
        self.level = level_of(block)
        self._newest.append(self.level)
        threshold = max(LOWEST, self._floor + OVER_FLOOR) + (ECHO if echo else 0.0)
        quietest, rises = (min(self._newest), OPEN_FLOOR_RISES) if self.open else (self.level, FLOOR_RISES)
        self._floor = max(-90.0, min(quietest, self._floor + rises))
        return self._gate.step(loud=self.level > threshold, quiet=self.level <= threshold - HYSTERESIS, echo=echo)


def level_of(block: Block) -> float:
    """Return the level of a block, dBFS, root mean square; silence is at −120."""
    power = float(np.square(block.astype(np.float64) / 32768).mean())
    return 10 * math.log10(max(power, 1e-12))
