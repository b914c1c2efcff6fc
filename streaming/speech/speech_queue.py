"""Queue what an avatar will say: whole sounds one after another, and the sound of a microphone as it arrives."""

from __future__ import annotations

from collections import deque
from enum import StrEnum

import numpy as np

from models.driving_signal import RATE
from models.errors import UserError
from streaming.speech.audio_file import Levelling, Sound
from streaming.speech.soundtrack import Samples, as_sound, quantised
from streaming.speech.vad import BLOCK, VoiceActivityDetector

MOST_SECONDS = 600  # seconds of sound that may wait to be spoken
BEFORE_ONSET = RATE // 5  # samples spoken from before the gate opened, because a soft start does not open it
LIVE_BACKLOG = 2 * RATE  # samples of a microphone that may wait; the oldest are dropped
SURE_AFTER = RATE  # samples of speech after which its loudness is known


class SpeechQueueError(UserError):
    """Report, in one line for a person, a sound that cannot be spoken."""


class MicrophoneUse(StrEnum):
    """Name what a microphone is used for."""

    PUPPET = "puppet"  # the avatar speaks the microphone's sound
    LISTEN = "listen"  # speech into the microphone interrupts the avatar


class SpeechQueue:
    """Queue samples without a clock; `next` returns as many as a chunk needs, and silence where none wait."""

    def __init__(self) -> None:
        self.use = MicrophoneUse.LISTEN
        self.detector = VoiceActivityDetector()
        self._sounds: deque[Samples] = deque()
        self._rest = np.zeros(0, np.int16)  # samples of the microphone that are not yet a block
        self._before: deque[Samples] = deque(maxlen=BEFORE_ONSET // BLOCK)
        self._live = np.zeros(0, np.int16)
        self._flows = False  # whether a live voice is being spoken, so that its next samples follow without a gap
        self._levelling = Levelling()

    @property
    def waiting(self) -> int:
        """Return the number of samples that wait to be spoken."""
        return sum(map(len, self._sounds)) + len(self._live)

    def say(self, sound: Sound) -> None:
        """Queue a whole sound ([samples] float32, −1…1); SpeechQueueError if more than MOST_SECONDS would wait."""
        if self.waiting + len(sound) > MOST_SECONDS * RATE:
            raise SpeechQueueError(f"no more than {MOST_SECONDS} seconds may wait to be spoken")
        self._sounds.append(quantised(sound))

    def hear(self, sound: Samples, *, echo: bool) -> bool:
        """Take the next samples of the microphone, and return whether speech began; `echo`: the avatar speaks."""
        self._rest = np.concatenate([self._rest, sound])
        began = False
        while len(self._rest) >= BLOCK:
            block, self._rest = self._rest[:BLOCK], self._rest[BLOCK:]
            self._before.append(block)
            was_open = self.detector.open
            onset = self.detector.hear(block, echo=echo)
            began |= onset
            if was_open and not self.detector.open:
                self._before.clear()  # those blocks are queued already
            if self.detector.open and self.use is MicrophoneUse.PUPPET:
                new = np.concatenate(self._before) if onset else block
                self._live = np.concatenate([self._live, self._levelled(new)])[-LIVE_BACKLOG:]
        return began

    def awaits(self, n: int) -> bool:
        """Return whether the microphone is about to give the rest of the next n samples."""
        return self._flows and self.detector.open and not self._sounds and len(self._live) < n

    def next(self, n: int) -> Samples:
        """Remove and return the next n samples.

        When a live voice begins, its samples are placed at the end of the n samples with silence before them, so that
        the following samples have arrived when the next chunk is drawn, and the delay is as short as possible.
        """
        parts: list[Samples] = []
        missing = n
        while missing and self._sounds:
            sound = self._sounds.popleft()
            parts.append(sound[:missing])
            missing -= len(parts[-1])
            if len(sound) > len(parts[-1]):
                self._sounds.appendleft(sound[len(parts[-1]) :])
        live, self._live = self._live[:missing], self._live[missing:]
        silence = np.zeros(missing - len(live), np.int16)
        late = self.detector.open and not self._flows
        parts += [silence, live] if late else [live, silence]
        self._flows = len(live) > 0 and (late or not len(silence))
        return np.concatenate(parts)

    def hang_up(self) -> None:
        """Reset the detector of a microphone that has disconnected."""
        self.detector, self._rest = VoiceActivityDetector(), np.zeros(0, np.int16)
        self._before.clear()

    @property
    def reads(self) -> bool:
        """Return whether a sound that was handed over whole is being spoken or waits."""
        return bool(self._sounds)

    def clear(self, *, live: bool = True) -> None:
        """Drop what waits; with `live` also what the microphone gave."""
        self._sounds.clear()
        self._flows = False
        if live:
            self._live = np.zeros(0, np.int16)

    def _levelled(self, sound: Samples) -> Samples:
        """Return the sound scaled to the level of speech, once SURE_AFTER samples of speech were measured."""
        heard = as_sound(sound)
        self._levelling.add(heard)
        return quantised(np.float32(self._levelling.gain) * heard) if self._levelling.samples >= SURE_AFTER else sound
