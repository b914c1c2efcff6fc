"""Queue what an avatar will say: utterances that arrived whole, as a stream or from a microphone, one after another."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from models import driving_signal
from models.errors import ErrorKind, UserError
from streaming.speech.audio_file import Levelling
from streaming.speech.energy_gate import EnergyGate
from streaming.speech.fullband import RATE, TIMES, DrivingSamples, Samples, quantised
from streaming.speech.soundtrack import as_sound
from streaming.speech.utterance import Utterance
from streaming.speech.voice_activity import BLOCK, VoiceActivityDetector

MOST_SECONDS = 600  # seconds of sound that may wait to be spoken
MOST_UTTERANCES = 1000  # that may wait
BEFORE_ONSET = RATE // 5  # samples spoken from before the gate opened, because a soft start does not open it
LIVE_BACKLOG = 2 * RATE  # samples of a microphone that may wait; the oldest are dropped
SURE_AFTER = driving_signal.RATE  # samples of speech at 16 kHz after which its loudness is known


class SpeechQueueError(UserError):
    """Report, in one line for a person, a sound that cannot be spoken."""

    kind = ErrorKind.CONFLICT


class MicrophoneUse(StrEnum):
    """Name what a microphone is used for."""

    PUPPET = "puppet"  # the avatar speaks the microphone's sound
    LISTEN = "listen"  # speech into the microphone interrupts the avatar


@dataclass(frozen=True)
class Given:
    """Hold samples that a chunk is given, and which of them belong to utterances."""

    samples: Samples
    # first sample, number of samples, utterance, samples of the utterance before them; in order
    parts: tuple[tuple[int, int, Utterance, int], ...] = ()


class SpeechQueue:
    """Queue samples at 48 kHz without a clock; `next` returns as many as a chunk needs, and silence where none wait."""

    def __init__(self, detector: VoiceActivityDetector | None = None) -> None:
        """Listen with `detector`, by default an energy gate; a puppet's microphone is heard with an energy gate."""
        self._detectors: dict[MicrophoneUse, VoiceActivityDetector] = {
            MicrophoneUse.PUPPET: EnergyGate(),  # a puppet sings and hums as well
            MicrophoneUse.LISTEN: detector or EnergyGate(),
        }
        self._use = MicrophoneUse.LISTEN
        self._utterances: deque[Utterance] = deque()
        self._rest = np.zeros(0, np.int16)  # samples of the microphone that are not yet a block
        self._driving = DrivingSamples()
        self._before: deque[Samples] = deque(maxlen=BEFORE_ONSET // (TIMES * BLOCK))
        self._live = np.zeros(0, np.int16)
        self._flows = False  # whether a sound that still arrives is being spoken, so that it must go on without a gap
        self._levelling = Levelling()

    @property
    def use(self) -> MicrophoneUse:
        """Return what the microphone is used for."""
        return self._use

    @use.setter
    def use(self, use: MicrophoneUse) -> None:
        if use is not self._use:
            self._use = use
            self.hang_up()

    @property
    def detector(self) -> VoiceActivityDetector:
        """Return the detector of the microphone's present use."""
        return self._detectors[self._use]

    @property
    def waiting(self) -> int:
        """Return the number of samples that wait to be spoken."""
        return sum(u.waiting for u in self._utterances) + len(self._live)

    @property
    def speaks(self) -> bool:
        """Return whether something waits whose turn it is: an utterance, or the sound of a microphone."""
        due = any(u.waiting for u in self._utterances) and not self._utterances[0].held
        return due or len(self._live) > 0

    @property
    def reads(self) -> bool:
        """Return whether an utterance is being spoken or waits."""
        return bool(self._utterances)

    def begin(self, utterance: Utterance) -> None:
        """Queue an utterance, whose samples may follow; SpeechQueueError if too many wait."""
        if len(self._utterances) >= MOST_UTTERANCES:
            raise SpeechQueueError(f"no more than {MOST_UTTERANCES} utterances may wait to be spoken")
        self.require_room(utterance.waiting)
        self._utterances.append(utterance)

    def require_room(self, samples: int) -> None:
        """Raise SpeechQueueError if more than MOST_SECONDS would wait with so many samples more."""
        if self.waiting + samples > MOST_SECONDS * RATE:
            raise SpeechQueueError(f"no more than {MOST_SECONDS} seconds may wait to be spoken")

    @property
    def utterances(self) -> list[Utterance]:
        """Return the utterances that are being spoken or wait, in order."""
        return list(self._utterances)

    def remove(self, utterances: Collection[Utterance]) -> None:
        """Remove utterances from those that are being spoken or wait."""
        self._utterances = deque(u for u in self._utterances if u not in utterances)
        self._flows = self._flows and bool(self._utterances)

    def put_back(self, given: Sequence[tuple[Utterance, Samples]]) -> None:
        """Have samples of utterances wait again that `next` has returned last, in order."""
        for utterance, voice in reversed(given):
            utterance.put_back(voice)
            if utterance.ended is None and utterance not in self._utterances:
                self._utterances.appendleft(utterance)
        self._flows = self._flows and not given

    def forget_microphone(self) -> None:
        """Drop what the microphone gave and was not spoken."""
        self._live, self._flows = np.zeros(0, np.int16), False

    def hear(self, sound: Samples, *, echo: bool) -> bool:
        """Take the next samples of the microphone, and return whether speech began; `echo`: the avatar speaks."""
        self._rest = np.concatenate([self._rest, sound])
        began, size = False, TIMES * BLOCK
        while len(self._rest) >= size:
            block, self._rest = self._rest[:size], self._rest[size:]
            driving = self._driving.add(block)
            self._before.append(block)
            was_open = self.detector.open
            onset = self.detector.hear(driving, echo=echo)
            began |= onset
            if was_open and not self.detector.open:
                self._before.clear()  # those blocks are queued already
            if self.detector.open and self.use is MicrophoneUse.PUPPET:
                new = np.concatenate(self._before) if onset else block
                self._live = np.concatenate([self._live, self._levelled(new, driving)])[-LIVE_BACKLOG:]
        return began

    def hang_up(self) -> None:
        """Reset the detector of a microphone that has disconnected."""
        self.detector.reset()
        self._rest = np.zeros(0, np.int16)
        self._before.clear()

    @property
    def arrived(self) -> int | None:
        """Return how many samples wait of a sound that is being spoken and still arrives; None if there is none."""
        if not self._flows:
            return None
        if self._utterances:
            return self._utterances[0].waiting if self._utterances[0].open else None
        return len(self._live) if self.detector.open else None

    def awaits(self, n: int) -> bool:
        """Return whether a sound that is being spoken is about to get the rest of the next n samples."""
        return self.arrived is not None and self.arrived < n

    def next(self, n: int) -> Given:
        """Remove and return the next n samples.

        When a sound begins that still arrives, its samples are placed at the end of the n samples with silence before
        them, so that the following samples have arrived when the next chunk is drawn, and the delay is as short as
        possible.
        """
        out, parts, at = np.zeros(n, np.int16), list[tuple[int, int, Utterance, int]](), 0
        while self._utterances and not self._utterances[0].held and at < n:
            utterance = self._utterances[0]
            dry = utterance.open and utterance.waiting < n - at
            if dry and not self._flows:
                at = n - utterance.waiting
            before, voice = utterance.given, utterance.take(n - at)
            if len(voice):
                out[at : at + len(voice)] = voice
                parts.append((at, len(voice), utterance, before))
                at += len(voice)
            if utterance.open:
                self._flows = len(voice) > 0 and at == n
                return Given(out, tuple(parts))
            if utterance.waiting:
                break
            self._utterances.popleft()
            self._flows = False
        live, self._live = self._live[: n - at], self._live[n - at :]
        silent = n - at - len(live)
        late = self.detector.open and not self._flows
        begin = at + silent if late else at
        out[begin : begin + len(live)] = live
        if not self._utterances:
            self._flows = len(live) > 0 and (late or not silent)
        return Given(out, tuple(parts))

    def _levelled(self, sound: Samples, driving: Samples) -> Samples:
        """Return the sound scaled to the level of speech, once SURE_AFTER samples of speech were measured."""
        self._levelling.add(as_sound(driving))
        if self._levelling.samples < SURE_AFTER:
            return sound
        return quantised(np.float32(self._levelling.gain) * as_sound(sound))
