"""Give each chunk of a live avatar the sound that drives it, and each frame the sound that is played with it.

    speech queue → given to the chunk that is drawn next → frames, each with its own sound → playout

When the avatar is interrupted, the frames that wait are silenced at once. The chunk that will be on screen by the time
it is drawn anew is drawn from the snapshot before it, with silence and the same noise: the face keeps its pose and only
the mouth closes. The chunk before may have heard up to 200 ms of the sound that is taken back. Those samples stay in
the sound file of the take, and a cue on the redrawn chunk marks them as not heard, so that a render of the take and its
sound gives the same latents.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from models.checkpoints.assemble import Model
from models.cue import Reference
from streaming.live.clock import Clock
from streaming.live.playout import Shown
from streaming.media.opus import SILENCE
from streaming.speech.fullband import FRAME, REACH, TIMES, Samples, driving_samples
from streaming.speech.hearing import Hearing
from streaming.speech.portrait_drive import PortraitDrive
from streaming.speech.soundtrack import Soundtrack
from streaming.speech.speech_queue import SpeechQueue

PATIENCE = 0.25  # seconds for which a chunk waits for the next samples of a microphone
LOOK_EVERY = 0.005  # seconds


class LiveSound:
    """Hand the samples of the speech queue to chunks, and keep them until their frames are released."""

    def __init__(self, model: Model, portrait: Reference, queue: SpeechQueue, hearing: Hearing, clock: Clock) -> None:
        """Drive `model` with the portrait and the sounds of the queue; `hearing` is told where they lie."""
        self._model, self._portrait, self._queue, self._clock = model, portrait, queue, clock
        self._hearing = hearing
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
        """Wait up to PATIENCE, while `wanted()`, until the microphone has given what the chunk at `first` needs."""
        missing, until = self._missing(first), self._clock() + PATIENCE
        while self._queue.awaits(missing) and wanted() and self._clock() < until:
            await self._clock.sleep(LOOK_EVERY)

    def give(self, first: int) -> Samples:
        """Hand the chunk at latent `first` the samples that it needs beyond those given before, and return them."""
        given, at = self._queue.next(self._missing(first)), self._track.length
        self._hearing.gave(given, at)
        self._drive.hear(driving_samples(given.samples, self._track.between(at - REACH, at)))
        return given.samples

    def keep(self, sound: Samples) -> None:
        """Keep samples that were given to a chunk; OSError if the file cannot grow, and the file is then closed."""
        try:
            self._track.add(sound)
        except OSError:
            self._track.close()
            raise

    def silence(self, frame: int, at: int) -> None:
        """Take back the sound after frame `frame` of the take, except what chunks before latent `at` have heard."""
        silent = max(FRAME * frame, TIMES * self._drive.heard(at)) if at else 0
        self._drive.hush(silent // TIMES)
        self._track.hush(silent)
        self._hearing.take_back(silent)
        self._mute_before = silent // FRAME

    def was_heard(self, frame: int, at: int) -> bool:
        """Return whether the chunks before latent `at` have heard sound that begins after frame `frame`."""
        return FRAME * frame < TIMES * self._drive.heard(at)

    def with_frames(self, frames: list[Shown]) -> list[Shown]:
        """Return consecutive frames of the take, each with its sound."""
        sounds = self._track.frames(frames[0].frame, len(frames))
        return [
            replace(frame, sound=SILENCE if frame.frame < self._mute_before else sound)
            for frame, sound in zip(frames, sounds, strict=True)
        ]

    def close(self) -> None:
        """Close the sound's file."""
        self._track.close()

    def _missing(self, first: int) -> int:
        return TIMES * self._drive.needs(first) - self._track.length
