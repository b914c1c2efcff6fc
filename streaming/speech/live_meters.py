"""Measure every two seconds how well a live avatar's mouth follows its sound and how well its face is preserved.

The measurement reads released frames and their sound on a worker thread, so that playing does not wait for it.
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
from streaming.speech.fullband import DrivingSamples, Samples
from streaming.speech.soundtrack import as_sound
from streaming.transport.events import MetersEvent

log = logging.getLogger(__name__)

EVERY = 2.0  # seconds
WINDOW = 6 * FPS  # frames that are compared
ENOUGH = 4 * FPS  # frames from which lip sync is measured
SPEECH = 0.3  # share of the window that must be speech, because silence has no lag


class LiveMeters:
    """Keep the newest seconds of a film, and read the face in each frame once."""

    def __init__(self, reader: FaceReader, portrait: Reference) -> None:
        self._reader = reader
        pixels = np.frombuffer(bytearray(portrait.pixels), np.uint8)
        self._portrait = pixels.reshape(1, portrait.height, portrait.width, 3)
        self._who = np.zeros(0, np.float32)
        self._unread: deque[tuple[Picture, Samples]] = deque(maxlen=WINDOW)
        self._mouth: deque[float] = deque(maxlen=WINDOW)
        self._sound: deque[Samples] = deque(maxlen=WINDOW)  # as it drives the mouth
        self._driving = DrivingSamples()

    def add(self, picture: Picture, sound: Samples) -> None:
        """Add a frame that was shown, [H, W, 3] RGB uint8, with its sound, [1920] int16."""
        self._unread.append((picture, sound))

    async def run(self, tell: Callable[[MetersEvent], None], watched: Callable[[], bool]) -> None:
        """Measure every EVERY seconds while `watched()` is true and pass the result to `tell`, until cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            new = list(self._unread)
            self._unread.clear()
            if watched() and new:
                try:
                    tell(await asyncio.to_thread(self.read, new))
                except Exception:  # a failed measurement must not end the film
                    log.exception("the meters stopped")
                    return
            else:
                self._mouth.clear()
                self._sound.clear()

    def read(self, new: list[tuple[Picture, Samples]]) -> MetersEvent:
        """Return what the newest frames with their sounds show; `sync` is None without enough speech."""
        frames = np.stack([picture for picture, _ in new])
        if not len(self._who):
            self._who = self._reader.identity(self._portrait)[0]
        identity = self._reader.identity(frames[-5:]) @ self._who
        self._mouth.extend(self._reader.pose(frames)["mouth"])
        self._sound.extend(self._driving.add(sound) for _, sound in new)
        mouth = np.array(self._mouth)
        sound = as_sound(np.concatenate(self._sound))
        found = MetersEvent(identity=round(float(identity.mean()), 3), sync=None, lag_ms=None)
        loud = envelope(sound, len(sound) // FRAME)
        if len(mouth) >= ENOUGH and (loud > loud.min() + 1).mean() > SPEECH:
            measured = sync(mouth, sound)
            measures = {"sync": round(measured.correlation, 2), "lag_ms": round(measured.lag_ms)}
            return found.model_copy(update=measures)
        return found
