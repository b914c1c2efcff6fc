"""Live meters of an avatar: does the mouth follow the sound, does the face stay itself? Told every two seconds.

They read what was shown and heard, on a thread of their own: nothing waits for them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

import numpy as np

from models.cue import Reference
from models.driving_signal import FPS, FRAME
from models.judge.face_reader import FaceReader
from models.judge.lip_sync import envelope, sync
from streaming.media.h264 import Picture
from streaming.speech.soundtrack import Samples, as_sound
from streaming.transport.events import MetersEvent

log = logging.getLogger(__name__)

EVERY = 2.0  # seconds
WINDOW = 6 * FPS  # frames that are compared
ENOUGH = 4 * FPS
SPEECH = 0.3  # of the window that must be speech: a lag of silence means nothing


class LiveMeters:
    """Keeps the newest seconds of a film and reads each frame once."""

    def __init__(self, reader: FaceReader, portrait: Reference) -> None:
        self._reader = reader
        pixels = np.frombuffer(bytearray(portrait.pixels), np.uint8)
        self._portrait = pixels.reshape(1, portrait.height, portrait.width, 3)
        self._who = np.zeros(0, np.float32)
        self._unread: deque[tuple[Picture, Samples]] = deque(maxlen=WINDOW)
        self._mouth: deque[float] = deque(maxlen=WINDOW)
        self._sound: deque[Samples] = deque(maxlen=WINDOW)

    def add(self, picture: Picture, sound: Samples) -> None:
        """Take a frame that was shown, and what was heard with it."""
        self._unread.append((picture, sound))

    async def run(self, tell: Callable[[MetersEvent], None], watched: Callable[[], bool]) -> None:
        """Measure every EVERY seconds while `watched` says that there is a viewer, and `tell`; until cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            new = list(self._unread)
            self._unread.clear()
            if watched() and new:
                try:
                    tell(await asyncio.to_thread(self.read, new))
                except Exception:  # the film is worth more than what is said of it
                    log.exception("the meters stopped")
                    return
            else:
                self._mouth.clear()
                self._sound.clear()

    def read(self, new: list[tuple[Picture, Samples]]) -> MetersEvent:
        """Measure the newest frames, each with its sound."""
        frames = np.stack([picture for picture, _ in new])
        if not len(self._who):
            self._who = self._reader.identity(self._portrait)[0]
        identity = self._reader.identity(frames[-5:]) @ self._who
        self._mouth.extend(self._reader.pose(frames)["mouth"])
        self._sound.extend(sound for _, sound in new)
        mouth = np.array(self._mouth)
        sound = as_sound(np.concatenate(self._sound))
        found = MetersEvent(identity=round(float(identity.mean()), 3), sync=None, lag_ms=None)
        loud = envelope(sound, len(sound) // FRAME)
        if len(mouth) >= ENOUGH and (loud > loud.min() + 1).mean() > SPEECH:
            measured = sync(mouth, sound)
            measures = {"sync": round(measured.correlation, 2), "lag_ms": round(measured.lag_ms)}
            return found.model_copy(update=measures)
        return found
