"""Remove an avatar's own voice from the sound of a microphone before speech is looked for in it.

A loudspeaker's sound comes back through the microphone 50 to 500 ms after it was released. WebRTC's AEC3, which
browsers use, finds the delay and subtracts what the room made of the sound. It wants both sounds piece by piece in
step: samples of the microphone wait, but not long, for the sound that was released at their time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pywebrtc_audio import EchoCanceller

from streaming.speech.voice_activity import BLOCK, Block, VoiceActivityDetector

RATE = 16_000
PIECE = 160  # samples that AEC3 takes at a time: 10 ms
FRESH = RATE // 25  # samples before the newest released one at which a microphone that connects stands: a frame
GONE = RATE // 2  # samples by which released sound may be ahead of the microphone; one that is further back is off
PATIENCE = RATE // 5  # samples of the microphone that may wait for released sound
TAIL = RATE  # samples after its last sound for which the avatar may still be heard in the room

Samples = NDArray[np.int16]  # 16 kHz mono [samples]


class EchoFreeDetector:
    """Let a detector hear a microphone without the echo of what is played (VoiceActivityDetector)."""

    def __init__(self, detector: VoiceActivityDetector) -> None:
        """Pass the sound of the microphone on to `detector`."""
        self._detector = detector
        self._canceller = EchoCanceller(RATE)
        self.kind = detector.kind
        self.reset()

    def reset(self) -> None:
        """Forget what was heard, and what the room does to sound."""
        self._detector.reset()
        self._canceller.reset()
        self._played = self._near = self._clean = np.zeros(0, np.int16)
        self._silent = TAIL  # samples of silence that were released last
        self._connected = False

    @property
    def open(self) -> bool:
        """Return the newest decision."""
        return self._detector.open

    @property
    def level(self) -> float:
        """Return the level of the newest block without echo, dBFS."""
        return self._detector.level

    @property
    def over_echo(self) -> bool:
        """Return whether speech has lasted long enough over the avatar's own sound to interrupt it."""
        return self._detector.over_echo

    def played(self, sound: Samples) -> None:
        """Take samples (16 kHz) that are released to listeners now."""
        self._played = np.concatenate([self._played, sound])
        if len(self._played) - len(self._near) > GONE:
            self._connected = False
        if not self._connected:
            self._played, self._near = self._played[-FRESH:], self._near[:0]

    def hear(self, block: Block, *, echo: bool) -> bool:
        """Take a block, and return whether speech begins with it or one before; `echo`: the avatar speaks meanwhile."""
        if not self._connected:
            self._connected = True
            self._canceller.reset()  # the delay of the echo is another one now
        self._near = np.concatenate([self._near, block])
        if (missing := len(self._near) - len(self._played)) > PATIENCE:  # nothing is released, as in a pause
            self._played = np.concatenate([self._played, np.zeros(missing, np.int16)])
        began = False
        while min(len(self._near), len(self._played)) >= PIECE:
            near, self._near = self._near[:PIECE], self._near[PIECE:]
            far, self._played = self._played[:PIECE], self._played[PIECE:]
            self._clean = np.concatenate([self._clean, self._without_echo(near, far)])
        while len(self._clean) >= BLOCK:
            began |= self._detector.hear(self._clean[:BLOCK], echo=echo)
            self._clean = self._clean[BLOCK:]
        return began

    def _without_echo(self, near: Samples, far: Samples) -> Samples:
        self._silent = 0 if far.any() else self._silent + len(far)
        return near if self._silent > TAIL else self._canceller.process(near, far)
