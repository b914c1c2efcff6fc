"""Make a session an avatar: a portrait that speaks, listens and can be interrupted.

sounds and microphone → speech queue → live sound → chunks and their sound → playout → encoders → viewers
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from models.checkpoints.assemble import Model
from models.cue import Reference
from models.judge.face_reader import FaceReader
from streaming.live.clock import Clock
from streaming.live.playout import Playout, Shown
from streaming.live.session_state import AvatarState
from streaming.speech.barge_in import BargeIn
from streaming.speech.echo_canceller import EchoFreeDetector
from streaming.speech.energy_gate import EnergyGate
from streaming.speech.fullband import RATE, DrivingSamples, Samples
from streaming.speech.interruptions import Interruptions
from streaming.speech.live_meters import LiveMeters
from streaming.speech.live_sound import LiveSound
from streaming.speech.speech_queue import MicrophoneUse, SpeechQueue
from streaming.speech.utterance import Utterance
from streaming.speech.voice_activity import VoiceActivityDetector
from streaming.transport.events import AvatarEvent, Event, InterruptedEvent, ListenerEvent, StatusEvent

GONE = 12  # frames (480 ms) without any samples from the microphone, after which it counts as disconnected
PAUSE = 8  # silent frames (320 ms) after which the avatar no longer counts as speaking


class AvatarMaker(Protocol):
    """Make the avatar of a session from the parts of the session, as `functools.partial(Avatar, ...)` does."""

    def __call__(
        self,
        *,
        playout: Playout,
        tell: Callable[[Event], None],
        wake: Callable[[], None],
        clock: Clock,
    ) -> Avatar:
        """Return the avatar; the arguments are those of `Avatar`."""


class Avatar:
    """Decide what an avatar says and when it is silent; where it says nothing, silence drives the film."""

    def __init__(
        self,
        model: Model,
        portrait: Reference,
        reader: FaceReader | None = None,
        *,
        detector: VoiceActivityDetector | None = None,
        barge_in: BargeIn = BargeIn.STOP,
        playout: Playout,
        tell: Callable[[Event], None],
        wake: Callable[[], None],
        clock: Clock,
    ) -> None:
        """Speak through a playout; `tell` gets events, and `wake` is called when chunks must be drawn anew.

        With a `reader` of faces, listeners are told at a low rate how well the mouth follows and the face holds.
        `detector` finds speech in the sound of a microphone (by default an energy gate), without the avatar's echo in
        it, and `barge_in` says what that speech does.
        """
        self._ear = EchoFreeDetector(detector or EnergyGate())
        self.queue = SpeechQueue(self._ear)
        self.barge_in = barge_in
        self._played = DrivingSamples()
        self.hears = False  # whether somebody speaks into the microphone
        self.sound = LiveSound(model, portrait, self.queue, clock)
        self.interruptions = Interruptions()
        self.meters = LiveMeters(reader, portrait) if reader is not None else None
        self.state = AvatarState.IDLE
        self._playout, self._tell, self._wake = playout, tell, wake
        playout.watch(self._shown)
        self._loud: int | None = None  # number of the last released frame with sound; None since an interruption
        self._interrupted = 0  # number of the first frame that was released after the newest interruption
        self._listened = 0  # number of the released frame at which the microphone last gave sound

    @property
    def epoch(self) -> int:
        """Return the number of interruptions so far; a request from an earlier epoch is stale."""
        return self.interruptions.epoch

    def with_status(self, status: StatusEvent) -> StatusEvent:
        """Return a session's status with the avatar's state, microphone use and level, and the seconds left to say."""
        facts = {
            "state": self.state,
            "use": self.queue.use,
            "barge_in": self.barge_in,
            "detector": self.queue.detector.kind,
            "epoch": self.epoch,
            "level": round(self.queue.detector.level),
            "to_say_s": round(self.queue.waiting / RATE, 1),
        }
        return status.model_copy(update=facts)

    def say(self, voice: Samples) -> None:
        """Speak a sound after those that wait; SpeechQueueError if too much would wait."""
        self.queue.say(voice, Utterance())
        self._settle()

    def hear(self, sound: Samples) -> None:
        """Take samples ([samples] int16, 48 kHz) from the microphone of the viewer who controls the session.

        What speech does to a speaking avatar, even if the speech began first, `barge_in` says. The voice of a puppet
        interrupts only a sound that was handed over whole.
        """
        self._listened = self._playout.released
        speaks, puppet = self.state is AvatarState.SPEAKING, self.queue.use is MicrophoneUse.PUPPET
        began = self.queue.hear(sound, echo=speaks)
        heard = began or self.queue.detector.over_echo
        stops = began and self.queue.reads if puppet else heard and self.barge_in is BargeIn.STOP
        if speaks and stops:
            self.interrupt("somebody speaks", live=not puppet)
        self._settle()

    def interrupt(self, why: str, *, live: bool = True) -> None:
        """Silence the avatar from the next frame on; the mouth closes as soon as a closed mouth can be drawn.

        `why` goes into the event. Without `live`, sound that the microphone of a puppet gave is still spoken.
        """
        self.queue.clear(live=live)
        if self.interruptions.interrupt(self._playout.next_frame):
            self._playout.hush()
            self._wake()
        # the frame that is being encoded counts as shown before the interruption, although it is reported afterwards
        self._loud, self._interrupted = None, self._playout.released
        self._tell(InterruptedEvent(frame=self._playout.released, epoch=self.epoch, why=why))
        self._settle()

    def _shown(self, shown: Shown, number: int) -> None:
        if shown.sound.any() and number >= self._interrupted:
            self._loud = number
        if self.queue.detector.open and number - self._listened > GONE:
            self.queue.hang_up()
        self._ear.played(self._played.add(shown.sound))
        self._settle()
        if self.meters is not None:
            self.meters.add(shown.picture, shown.sound)

    def _settle(self) -> None:
        """Update the state and the voice's level, and publish events of what has changed."""
        playout = self._playout
        hears = self.queue.detector.open
        if hears is not self.hears:
            self.hears = hears
            self._tell(ListenerEvent(speaks=hears))
        listens = self.queue.use is MicrophoneUse.LISTEN
        playout.voice_gain.ducked = hears and listens and self.barge_in is BargeIn.DUCK
        was_heard = self._loud is not None and playout.released - self._loud <= PAUSE
        if self.queue.waiting > 0 or was_heard or playout.audible:
            state = AvatarState.SPEAKING
        else:
            state = AvatarState.LISTENING if hears else AvatarState.IDLE
        if state is not self.state:
            self.state = state
            self._tell(AvatarEvent(state=state))
