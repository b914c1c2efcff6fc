"""Define what a detector of speech is, and open and close a gate on what one sees in each piece of sound."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

BLOCK = 320  # samples: 20 ms at 16 kHz

Block = NDArray[np.int16]  # [BLOCK], 16 kHz mono


class Detector(StrEnum):
    """Name a detector of speech."""

    SILERO = "silero"  # a network that knows voices; needs the package silero-vad
    ENERGY = "energy"  # what is louder than the room


class VoiceActivityDetector(Protocol):
    """Decide block by block whether there is speech in the sound of a microphone."""

    @property
    def kind(self) -> Detector:
        """Return which detector this is."""

    @property
    def open(self) -> bool:
        """Return the newest decision."""

    @property
    def level(self) -> float:
        """Return the level of the newest block, dBFS."""

    @property
    def over_echo(self) -> bool:
        """Return whether speech has lasted long enough over the avatar's own sound to interrupt it."""

    def hear(self, block: Block, *, echo: bool) -> bool:
        """Take a block, and return whether speech begins with it; `echo`: the avatar speaks meanwhile."""

    def reset(self) -> None:
        """Forget what was heard, as of a microphone that has disconnected."""


class Gate:
    """Open after some loud pieces of sound in a row, and close after some quiet ones.

    While the avatar speaks it takes longer: its listener says "mhm", and some of its own sound may come back.
    """

    def __init__(self, *, opens_after: int, opens_in_echo: int, closes_after: int) -> None:
        """Count pieces of one length; `opens_in_echo` holds while the avatar speaks."""
        self.open = False
        self._opens_after, self._opens_in_echo, self._closes_after = opens_after, opens_in_echo, closes_after
        self._loud = self._quiet = 0  # pieces in a row
        self._echo = False

    def step(self, *, loud: bool, quiet: bool, echo: bool) -> bool:
        """Take the next piece, and return whether the gate opens with it; a piece may be neither loud nor quiet."""
        if echo and not self._echo:
            self._loud = 0
        self._echo = echo
        self._loud = self._loud + 1 if loud else 0
        if self.open:
            self._quiet = self._quiet + 1 if quiet else 0
            self.open = self._quiet < self._closes_after
            return False
        self.open, self._quiet = self._loud >= (self._opens_in_echo if echo else self._opens_after), 0
        return self.open

    @property
    def over_echo(self) -> bool:
        """Return whether the gate is open and has been loud for `opens_in_echo` pieces since the avatar speaks."""
        return self.open and self._echo and self._loud >= self._opens_in_echo
