"""The sound of a live avatar: every chunk is given what it hears, and every frame what is heard with it.

    speech queue → given to the chunk that is drawn next → frames, each with its own sound → playout

When the avatar is interrupted, what waits to be played is silent at once, and the chunk that will be on screen by the
time it is drawn anew is drawn from the snapshot before it, with silence and the same noise: the face stays where it is
and only the mouth closes. The chunk before may have heard up to 200 ms of what is taken back; that stays in the sound
beside the take, and a cue on the redrawn chunk says that from there on it is not heard. So a render of both gives the
same latents.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from models.checkpoints.assemble import Model
from models.cue import Reference
from models.driving_signal import FRAME
from streaming.live.clock import Clock
from streaming.live.playout import Shown
from streaming.media.opus import SILENCE
from streaming.speech.portrait_drive import PortraitDrive
from streaming.speech.soundtrack import Samples, Soundtrack
from streaming.speech.speech_queue import SpeechQueue

PATIENCE = 0.25  # seconds for which a chunk waits for a microphone that has stopped to send
LOOK_EVERY = 0.005  # seconds


class LiveSound:
    """Gives what the speech queue holds, chunk by chunk, and remembers it until it has been heard."""

    def __init__(self, model: Model, portrait: Reference, queue: SpeechQueue, clock: Clock) -> None:
        """Drive `model` with the portrait and the sounds of the queue."""
        self._model, self._portrait, self._queue, self._clock = model, portrait, queue, clock
        self._track = Soundtrack()
        self._mute_before = 0  # frame of the take up to which what was given is not heard
        self._drive = PortraitDrive(model, portrait)

    def new_drive(self) -> PortraitDrive:
        """Return the drive source of a rollout that begins at the take's start."""
        self._drive = PortraitDrive(self._model, self._portrait)
        return self._drive

    def keep_in(self, portrait: Path, sound: Path) -> None:
        """Write the portrait (PNG), and the sound as it is given (WAV); OSError if the disk does not take it."""
        pixels = np.frombuffer(self._portrait.pixels, np.uint8).reshape(self._portrait.height, self._portrait.width, 3)
        _, png = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
        portrait.write_bytes(png.tobytes())
        self._track = Soundtrack(sound)

    async def wait(self, first: int, wanted: Callable[[], bool]) -> None:
        """Wait a little, while `wanted`, for a microphone that gives the rest of what the chunk at `first` hears."""
        missing, until = self._missing(first), self._clock() + PATIENCE
        while self._queue.awaits(missing) and wanted() and self._clock() < until:
            await self._clock.sleep(LOOK_EVERY)

    def give(self, first: int) -> Samples:
        """Give the chunk at latent `first` the sound that it hears, and return it."""
        sound = self._queue.next(self._missing(first))
        self._drive.hear(sound)
        return sound

    def keep(self, sound: Samples) -> None:
        """Remember sound that was given; OSError if its file cannot grow, which then is closed."""
        try:
            self._track.add(sound)
        except OSError:
            self._track.close()
            raise

    def silence(self, frame: int, at: int) -> None:
        """Take back what follows frame `frame` of the take, but for what the chunks before latent `at` have heard."""
        silent = max(FRAME * frame, self._drive.heard(at)) if at else 0
        self._drive.hush(silent)
        self._track.hush(silent)
        self._mute_before = silent // FRAME

    def was_heard(self, frame: int, at: int) -> bool:
        """Return whether the chunks before latent `at` have heard sound that begins after frame `frame`."""
        return FRAME * frame < self._drive.heard(at)

    def with_frames(self, frames: list[Shown]) -> list[Shown]:
        """Return consecutive frames of the take, each with what is heard with it."""
        sounds = self._track.frames(frames[0].frame, len(frames))
        return [
            replace(frame, sound=SILENCE if frame.frame < self._mute_before else sound)
            for frame, sound in zip(frames, sounds, strict=True)
        ]

    def close(self) -> None:
        """Close the sound's file."""
        self._track.close()

    def _missing(self, first: int) -> int:
        return self._drive.needs(first) - self._track.length
