"""Make a session an avatar: a portrait that speaks, listens and can be interrupted.

sounds and microphone → speech queue → live sound → chunks and their sound → playout → encoders → viewers
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from enum import StrEnum
from typing import Any, Protocol

from models.checkpoints.assemble import Model
from models.cue import Reference
from models.errors import UserError
from models.judge.face_reader import FaceReader
from streaming.live.clock import Clock
from streaming.live.playout import Shown
from streaming.live.session_state import AvatarState
from streaming.speech.barge_in import BargeIn
from streaming.speech.echo_canceller import EchoFreeDetector
from streaming.speech.energy_gate import EnergyGate
from streaming.speech.face_playout import AvatarPlayout
from streaming.speech.fullband import FRAME, RATE, TIMES, DrivingSamples, Samples
from streaming.speech.hearing import Delay, Hearing
from streaming.speech.interruptions import Interruptions
from streaming.speech.live_meters import LiveMeters
from streaming.speech.live_sound import LiveSound
from streaming.speech.speech_queue import MicrophoneUse, SpeechQueue, SpeechQueueError
from streaming.speech.utterance import EndReason, Utterance
from streaming.speech.voice_activity import VoiceActivityDetector
from streaming.transport.events import (
    AvatarEvent,
    Event,
    HeardPart,
    InterruptedEvent,
    ListenerEvent,
    SlowEvent,
    StatusEvent,
)

GONE = 12  # frames (480 ms) without any samples from the microphone, after which it counts as disconnected
PAUSE = 8  # silent frames (320 ms) after which the avatar no longer counts as speaking


WATCHED = 125  # frames (5 s) over which it is told whether drawing is too slow
SLOW, FAST_AGAIN = 0.1, 0.02  # shares of them for which the picture stands still, from which and down to which it is


class Place(StrEnum):
    """Name where an utterance is queued."""

    APPEND = "append"  # after those that wait
    REPLACE = "replace"  # instead of those that are spoken or wait, which it interrupts


class NoSpeakerError(UserError):
    """Report a speaker that was named where there is only one."""


class HasEpoch(Protocol):
    """Count interruptions; a request that came before the newest one is stale."""

    @property
    def epoch(self) -> int:
        """Return the number of interruptions so far."""


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
        playout: AvatarPlayout,
        tell: Callable[[Event], None],
        wake: Callable[[], None],
        clock: Clock,
    ) -> None:
        """Speak through a playout; `tell` gets events, and `wake` is called when chunks may have to be drawn anew.

        With a `reader` of faces, listeners are told at a low rate how well the mouth follows and the face holds.
        `detector` finds speech in the sound of a microphone (by default an energy gate), without the avatar's echo in
        it, and `barge_in` says what that speech does.
        """
        self._ear = EchoFreeDetector(detector or EnergyGate())
        self.queue = SpeechQueue(self._ear)
        self.barge_in = barge_in
        self._played = DrivingSamples()
        self.hears = False  # whether somebody speaks into the microphone
        self._hearing = Hearing(tell, clock)
        self._named = 0  # utterances that were given a name here
        self.interruptions = Interruptions()
        self.sound = LiveSound(
            model, portrait, self.queue, hearing=self._hearing, interruptions=self.interruptions, clock=clock
        )
        playout.film_sound = self.sound
        self.meters = LiveMeters(reader, portrait) if reader is not None else None
        self.state = AvatarState.IDLE
        self._playout, self._tell, self._wake = playout, tell, wake
        playout.watch(self._shown)
        self._loud: int | None = None  # number of the last released frame with sound; None since an interruption
        self._interrupted = 0  # number of the first frame that was released after the newest interruption
        self._pace: deque[bool] = deque(maxlen=WATCHED)  # whether the picture stood still, of the newest frames
        self._slow = False
        self._listened = 0  # number of the released frame at which the microphone last gave sound

    def speaker(self, name: str | None) -> Avatar:
        """Return the avatar; NoSpeakerError if a speaker is named, because it is the only one."""
        if name is not None:
            raise NoSpeakerError(f"this session has one face, which has no name; leave the speaker {name[:40]!r} out")
        return self

    @property
    def speakers(self) -> list[str]:
        """Return the names of the speakers of a dialogue: none."""
        return []

    @property
    def conversation(self) -> HasEpoch:
        """Return what this avatar's requests keep their order in: the avatar itself, or the dialogue of its face."""
        return self

    @property
    def to_say(self) -> float:
        """Return the seconds that wait to be spoken, those that were given to the drawing included."""
        return (self.queue.waiting + self._hearing.to_play) / RATE

    @property
    def has_to_say(self) -> bool:
        """Return whether something is heard, or waits whose turn it is, or was given to the drawing."""
        return self.queue.speaks or self._was_heard or self._playout.audible

    @property
    def _was_heard(self) -> bool:
        """Return whether sound has left lately, and was not interrupted since."""
        return self._loud is not None and self._playout.released - self._loud <= PAUSE

    def measurements(self, watched: Callable[[], bool]) -> list[Coroutine[Any, Any, None]]:
        """Return what measures the face while `watched()` is true, to be run as tasks; nothing without a reader."""
        return [self.meters.run(self._tell, watched)] if self.meters is not None else []

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
            "to_say_s": round(self.to_say, 1),
            "held_frames": self._playout.held,
            "dropped_frames": self._playout.dropped,
        }
        return status.model_copy(update=facts)

    def say(self, voice: Samples) -> None:
        """Speak a sound after those that wait; SpeechQueueError if too much would wait."""
        utterance = Utterance(self.new_name())
        utterance.add(voice)
        self.begin(utterance)
        self.commit(utterance)

    def new_name(self) -> str:
        """Return a name for an utterance that was not given one."""
        self._named += 1
        return f"u{self._named}"

    def begin(self, utterance: Utterance, place: Place = Place.APPEND) -> None:
        """Speak an utterance, whose samples may follow, at a place among those that wait.

        Raises SpeechQueueError if too much would wait, or if another with its name is being spoken or waits.
        """
        if place is Place.REPLACE:
            self.interrupt("replaced", ending="replaced")
        if any(other.name == utterance.name for other in self._unfinished()):
            raise SpeechQueueError(f"an utterance named {utterance.name} is being spoken or waits already")
        self.queue.begin(utterance)
        self._wake()
        self.settle()

    def add(self, utterance: Utterance, voice: Samples) -> None:
        """Add samples to an utterance that was begun; SpeechQueueError if it has ended or too much would wait."""
        if utterance.ended is not None:
            raise SpeechQueueError(f"the utterance {utterance.name} has ended: {utterance.ended}")
        self.queue.require_room(len(voice))
        utterance.add(voice)
        self._wake()
        self.settle()

    def commit(self, utterance: Utterance, *, lost: bool = False) -> None:
        """Mark that an utterance has arrived whole, or that its sender was `lost` before it had."""
        if utterance.open:
            utterance.open, utterance.lost = False, lost
        self._wake()
        if utterance.ended is None:
            self._hearing.settle(utterance)

    def cancel(self, utterance: Utterance) -> None:
        """End an utterance; those before and behind it are spoken.

        One that sounds already is interrupted. Of one that was handed over and does not sound yet the chunks are drawn
        anew, with what comes behind it in its place.
        """
        if utterance.ended is not None:
            return
        if self._sounds(utterance):
            before = itertools.takewhile(lambda other: other is not utterance, self.handed_over)
            self.interrupt("cancelled", ending="cancelled", only=[*before, utterance])
            return
        self._drop([utterance], "cancelled")

    def _sounds(self, utterance: Utterance) -> bool:
        """Return whether an utterance has begun to leave for viewers."""
        begins = self._hearing.begins(utterance)
        return utterance.given > 0 and (begins is None or begins < FRAME * self._playout.next_frame)

    def _drop(self, utterances: Sequence[Utterance], why: EndReason) -> list[HeardPart]:
        """End utterances that do not sound yet, and return them; chunks that were given any of them are drawn anew."""
        begins = [at for utterance in utterances if (at := self._hearing.begins(utterance)) is not None]
        self.queue.remove(utterances)
        ended = [self._hearing.end(utterance, why) for utterance in utterances]
        if begins:
            at = -(-min(begins) // TIMES) * TIMES
            self.sound.hush(at)
            self.sound.give_again(at)
            self.interruptions.cut(-(-at // FRAME))
            self._wake()
        self.settle()
        return ended

    @property
    def handed_over(self) -> list[Utterance]:
        """Return the utterances of which samples were given to the drawing and not played yet, in order."""
        return self._hearing.unplayed

    def clear(self) -> list[HeardPart]:
        """End the utterances of which nothing is heard yet, and return them; the one that is being spoken goes on."""
        return self._drop([u for u in self._unfinished() if not self._sounds(u)], "cleared")

    def find(self, name: str) -> Utterance | None:
        """Return the utterance with this name that is being spoken or waits; None if there is none."""
        return next((u for u in self._unfinished() if u.name == name), None)

    def add_listener(self, delay: Delay) -> Callable[[], None]:
        """Count a viewer whose connection tells its delay; the returned function ends that, and may be called again."""
        self._hearing.viewers.add(delay)
        return lambda: self._hearing.viewers.discard(delay)

    def hear(self, sound: Samples) -> None:
        """Take samples ([samples] int16, 48 kHz) from the microphone of the viewer who controls the session.

        What speech does to a speaking avatar, even if the speech began first, `barge_in` says. The voice of a puppet
        interrupts only a sound that was handed over whole.
        """
        puppet = self.queue.use is MicrophoneUse.PUPPET
        if self.takes(sound, speaks=self.has_to_say):
            self.interrupt("somebody speaks", live=not puppet)
        self.settle()

    def takes(self, sound: Samples, *, speaks: bool) -> bool:
        """Take samples of the microphone as `hear` does, and return whether they interrupt, if somebody `speaks`."""
        self._listened = self._playout.released
        began = self.queue.hear(sound, echo=speaks)
        heard = began or self.queue.detector.over_echo
        if self.queue.use is MicrophoneUse.PUPPET:
            return speaks and began and self.queue.reads
        return speaks and heard and self.barge_in is BargeIn.STOP

    def interrupt(
        self,
        why: str,
        *,
        live: bool = True,
        ending: EndReason = "interrupted",
        only: Sequence[Utterance] | None = None,
    ) -> list[HeardPart]:
        """Silence the avatar from the next frame on; the mouth closes as soon as a closed mouth can be drawn.

        Returns what was heard of the utterances that this ends: all, or those that are `only` to end; what was handed
        over of those behind them is spoken afterwards. `why` goes into the event, `ending` into those of the
        utterances. Without `live`, sound that the microphone of a puppet gave is still spoken.
        """
        self._hearing.flush(self._playout.sounded)
        ended = self._unfinished() if only is None else [u for u in only if u.ended is None]
        if only is not None and not ended:
            return []  # the end of the last one has just left
        self.queue.remove(ended)
        if live:
            self.queue.forget_microphone()
        heard = [self._hearing.end(utterance, ending) for utterance in ended]
        if self.interruptions.interrupt(self._playout.next_frame):
            self._playout.hush()
            self.sound.give_again(FRAME * self._playout.next_frame)
            self._wake()
        # the frame that is being encoded counts as shown before the interruption, although it is reported afterwards
        self._loud, self._interrupted = None, self._playout.released
        self._tell(InterruptedEvent(frame=self._playout.released, epoch=self.epoch, why=why, heard=heard))
        self.settle()
        return heard

    def _unfinished(self) -> list[Utterance]:
        known = dict.fromkeys([*self._hearing.unplayed, *self.queue.utterances])
        return [u for u in known if u.ended is None]

    def _shown(self, shown: Shown, number: int) -> None:
        self._hearing.played(self._playout.sounded)
        self._watch_pace(shown)
        if shown.sound.any() and number >= self._interrupted:
            self._loud = number
        if self.queue.detector.open and number - self._listened > GONE:
            self.queue.hang_up()
        self._ear.played(self._played.add(self._aloud(shown)))
        self.settle()
        if self.meters is not None:
            self.meters.add(shown.picture, shown.sound)

    def _aloud(self, shown: Shown) -> Samples:
        """Return what listeners hear with a frame, whose echo the microphone may hear."""
        return shown.sound

    def _watch_pace(self, shown: Shown) -> None:
        """Tell when drawing becomes too slow for the film, and when it is fast enough again."""
        self._pace.append(shown.held)
        share = sum(self._pace) / WATCHED
        if share > SLOW if not self._slow else share < FAST_AGAIN:
            self._slow = not self._slow
            self._tell(SlowEvent(slow=self._slow, held=round(share, 2)))

    def settle(self) -> None:
        """Update the state and the voice's level, and publish events of what has changed.

        The avatar speaks from its first sound that leaves on, for as long as more follows.
        """
        playout = self._playout
        hears = self.queue.detector.open
        if hears is not self.hears:
            self.hears = hears
            self._tell(ListenerEvent(speaks=hears))
        listens = self.queue.use is MicrophoneUse.LISTEN
        playout.voice_gain.ducked = hears and listens and self.barge_in is BargeIn.DUCK
        goes_on = self.state is AvatarState.SPEAKING and self._loud is not None and self.has_to_say
        if self._was_heard or goes_on:
            state = AvatarState.SPEAKING
        else:
            state = AvatarState.LISTENING if hears else AvatarState.IDLE
        if state is not self.state:
            self.state = state
            self._tell(AvatarEvent(state=state))
