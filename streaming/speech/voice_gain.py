"""Lower the voice of an avatar while a listener speaks, and bring it back, without a click."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DUCKED = -15.0  # dB: words of the avatar stay intelligible beside those of the listener
FALLS = 5.0  # dB a frame of 40 ms: down within 120 ms
RISES = 1.5  # dB a frame: back within 400 ms


class VoiceGain:
    """Scale the sound of frame after frame; within a frame the level changes evenly."""

    def __init__(self) -> None:
        """Begin with the voice as it is."""
        self.ducked = False  # whether the voice is to be low
        self._level = 0.0  # dB, at the end of the newest frame

    def apply(self, sound: NDArray[np.int16]) -> NDArray[np.int16]:
        """Return the sound of the next frame ([samples] int16, any rate), lowered as far as it is to be by now."""
        before = self._level
        self._level = max(DUCKED, before - FALLS) if self.ducked else min(0.0, before + RISES)
        if before == self._level == 0:
            return sound
        factors = 10 ** (np.linspace(before, self._level, len(sound) + 1)[1:] / 20)
        return np.round(sound * factors).astype(np.int16)
