"""What makes a session an avatar: a portrait that speaks, listens and can be interrupted.

sounds and microphone → speech queue → live sound → chunks and their sound → playout → encoders → viewers
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from models.checkpoints.assemble import Model
from models.cue import Reference
from models.driving_signal import RATE
from models.judge.face_reader import FaceReader
from streaming.live.clock import Clock
from streaming.live.playout import Playout, Shown
from streaming.live.session_state import AvatarState
from streaming.speech.audio_file import Sound
from streaming.speech.interruptions import Interruptions
from streaming.speech.live_meters import LiveMeters
from streaming.speech.live_sound import LiveSound
from streaming.speech.soundtrack import Samples
from streaming.speech.speech_queue import MicrophoneUse, SpeechQueue
from streaming.transport.events import AvatarEvent, Event, InterruptedEvent, StatusEvent

GONE = 12  # frames, 480 ms, after which a microphone that sends nothing, not even silence, is not there
PAUSE = 8  # silent frames, 320 ms, after which it no longer counts as speaking


class AvatarMaker(Protocol):
    """Makes the avatar of a session out of what the session has; `functools.partial(Avatar, ...)` is one."""

    def __call__(
        self,
        *,
        playout: Playout,
        tell: Callable[[Event], None],
        wake: Callable[[], None],
        clock: Clock,
    ) -> Avatar:
        """Return the avatar."""


class Avatar:
    """Decides what is said and when it is silent. Where nothing is said the film is driven by silence, and goes on."""

    def __init__(
        self,
        model: Model,
        portrait: Reference,
        reader: FaceReader | None = None,
        *,
        playout: Playout,
        tell: Callable[[Event], None],
        wake: Callable[[], None],
        clock: Clock,
    ) -> None:
        """Speak through a playout; `tell` gets events, `wake` is called when chunks are to be drawn anew.

        With a `reader` of faces, listeners are told at a low rate how well the mouth follows and the face holds.
        """
        self.queue = SpeechQueue()
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
        """Count the interruptions so far: what was asked for in an earlier epoch is stale."""
        return self.interruptions.epoch

    def with_status(self, status: StatusEvent) -> StatusEvent:
        """Add to a session's status what the avatar does and what waits to be spoken."""
        facts = {
            "state": self.state,
            "use": self.queue.use,
            "epoch": self.epoch,
            "level": round(self.queue.detector.level),
            "to_say_s": round(self.queue.waiting / RATE, 1),
        }
        return status.model_copy(update=facts)

    def say(self, sound: Sound) -> None:
        """Speak a sound [samples], −1…1, after what waits; SpeechQueueError if too much would wait."""
        self.queue.say(sound)
        self._settle()

    def hear(self, sound: Samples) -> None:
        """Listen to the microphone of the viewer who controls the session.

        Speech interrupts an avatar that speaks, also speech that began before it. The voice of a puppet is no
        interruption, unless another sound is being read.
        """
        self._listened = self._playout.released
        speaks, puppet = self.state is AvatarState.SPEAKING, self.queue.use is MicrophoneUse.PUPPET
        began = self.queue.hear(sound, echo=speaks)
        if speaks and ((began and self.queue.reads) if puppet else (began or self.queue.detector.over_echo)):
            self.interrupt("somebody speaks", live=not puppet)
        self._settle()

    def interrupt(self, why: str, *, live: bool = True) -> None:
        """Silence it with the next frame; its mouth closes as soon as that can be drawn.

        `why` is told to the listeners. Without `live`, what the microphone of a puppet gave is still spoken.
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
        self._settle()
        if self.meters is not None:
            self.meters.add(shown.picture, shown.sound)

    def _settle(self) -> None:
        """Update the state, and publish an event if it has changed."""
        playout = self._playout
        was_heard = self._loud is not None and playout.released - self._loud <= PAUSE
        if self.queue.waiting > 0 or was_heard or playout.audible:
            state = AvatarState.SPEAKING
        else:
            state = AvatarState.LISTENING if self.queue.detector.open else AvatarState.IDLE
        if state is not self.state:
            self.state = state
            self._tell(AvatarEvent(state=state))
