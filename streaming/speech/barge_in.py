"""Name what an avatar does when its listener speaks while it does."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from streaming.speech.voice_activity import Detector


class BargeIn(StrEnum):
    """Name what the voice of a listener does to an avatar that speaks."""

    STOP = "stop"  # the avatar is interrupted: it is silent at once, and what waits is dropped
    DUCK = "duck"  # the avatar goes on with a lower voice until the listener is silent
    IGNORE = "ignore"  # nothing; events still tell that the listener speaks


@dataclass(frozen=True)
class Listening:
    """Hold how an avatar listens to the microphone of the viewer who controls its session."""

    barge_in: BargeIn = BargeIn.STOP
    detector: Detector | None = None  # of speech; None: the best that is installed
