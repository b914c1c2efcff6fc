"""Run several avatars in one session: a live dialogue, whose faces speak in turn.

Each face has a speech queue, a soundtrack and events of its own, which name its speaker. They are drawn in step, in one
batch, and shown side by side or one at a time. One microphone listens for all; its first speech silences all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from models.checkpoints.assemble import Model
from models.cue import Reference
from models.errors import ErrorKind, UserError
from models.judge.face_reader import FaceReader
from streaming.live.clock import Clock
from streaming.live.playout import Playout, Shown
from streaming.live.session_state import AvatarState
from streaming.media.opus import SILENCE
from streaming.speech.avatar import Avatar, Place
from streaming.speech.barge_in import BargeIn
from streaming.speech.face_playout import FacePlayout
from streaming.speech.fullband import Samples
from streaming.speech.hearing import Delay
from streaming.speech.interruptions import JoinedInterruptions
from streaming.speech.joined_sound import JoinedSound
from streaming.speech.speech_queue import MicrophoneUse, SpeechQueue, SpeechQueueError
from streaming.speech.utterance import EndReason, Utterance
from streaming.speech.voice_activity import VoiceActivityDetector
from streaming.take.speakers import LayoutName
from streaming.transport.events import (
    AvatarEvent,
    CaptionEvent,
    Event,
    HeardPart,
    InterruptedEvent,
    ListenerEvent,
    MetersEvent,
    SlowEvent,
    StatusEvent,
    UtteranceEndedEvent,
    UtteranceSpokenEvent,
    UtteranceStartedEvent,
)

OF_A_SPEAKER = (
    AvatarEvent
    | CaptionEvent
    | InterruptedEvent
    | MetersEvent
    | UtteranceEndedEvent
    | UtteranceSpokenEvent
    | UtteranceStartedEvent
)


class UnknownSpeakerError(UserError):
    """Report a speaker whom the dialogue does not have."""

    kind = ErrorKind.NOT_FOUND


class DialogueFace(Avatar):
    """Speak for one face of a dialogue, in turn with the others."""

    def __init__(self, dialogue: LiveDialogue, name: str, *args: Any, **parts: Any) -> None:
        """Make the avatar of the speaker `name`; the further arguments are those of `Avatar`."""
        super().__init__(*args, **parts)
        self._dialogue, self.name = dialogue, name

    @property
    def conversation(self) -> LiveDialogue:
        """Return the dialogue, whose requests keep their order."""
        return self._dialogue

    def new_name(self) -> str:
        """Return a name for an utterance that no face of the dialogue has given yet."""
        return self._dialogue.new_name()

    def begin(self, utterance: Utterance, place: Place = Place.APPEND) -> None:
        """Speak an utterance after all that any face says or will say, or instead of it.

        Raises SpeechQueueError as `Avatar.begin`, also for a name that another face's utterance has.
        """
        if place is Place.REPLACE:
            self._dialogue.interrupt("replaced", ending="replaced")
        if self._dialogue.find(utterance.name) is not None:
            raise SpeechQueueError(f"an utterance named {utterance.name} is being spoken or waits already")
        self._dialogue.sound.await_turn(self.name, utterance)
        super().begin(utterance)

    def cancel(self, utterance: Utterance) -> None:
        """End an utterance; one that was handed over already ends all of its face that were, as turns depend on it."""
        if utterance.given:
            self.interrupt("cancelled", ending="cancelled", only=[*self.handed_over, utterance])
        else:
            super().cancel(utterance)

    def _aloud(self, shown: Shown) -> Samples:
        return self._dialogue.aloud


class LiveDialogue:
    """Let several faces speak in turn, listen together, and be interrupted one by one or all at once."""

    def __init__(
        self,
        model: Model,
        portraits: Mapping[str, Reference],
        reader: FaceReader | None = None,
        *,
        layout: LayoutName = "side",
        detector: VoiceActivityDetector | None = None,
        barge_in: BargeIn = BargeIn.STOP,
        playout: Playout,
        tell: Callable[[Event], None],
        wake: Callable[[], None],
        clock: Clock,
    ) -> None:
        """Speak through a playout with these portraits, by speaker, in the order in which their faces stand.

        The other arguments are those of `Avatar`. Where the film cuts to the speaker no face is measured, because a
        mouth is seen only while it speaks.
        """
        self._playout, self._tell, self._layout = playout, tell, layout
        self._named = 0
        self.aloud = SILENCE  # what listeners hear with the newest frame
        self.state = AvatarState.IDLE
        self._views: dict[str, FacePlayout] = {}
        self.faces: dict[str, DialogueFace] = {}
        for name, portrait in portraits.items():
            leads = not self.faces
            view = self._views[name] = FacePlayout(playout, leads=leads)
            self.faces[name] = DialogueFace(
                self,
                name,
                model,
                portrait,
                reader if layout == "side" else None,
                detector=detector if leads else None,
                barge_in=barge_in,
                playout=view,
                tell=partial(self._told, name, leads),
                wake=wake,
                clock=clock,
            )
        self._first = next(iter(self.faces.values()))
        self.sound = JoinedSound({name: face.sound for name, face in self.faces.items()}, layout)
        self.interruptions = JoinedInterruptions([face.interruptions for face in self.faces.values()])
        playout.film_sound, playout.seen_of = self.sound, self.sound.seen_of
        playout.watch(self._shown)

    # -- facts -----------------------------------------------------------------------------------------------------

    def speaker(self, name: str | None) -> Avatar:
        """Return the avatar of a speaker, by name, case aside; the first one without a name.

        UnknownSpeakerError names those that there are.
        """
        if name is None:
            return self._first
        found = next((face for face in self.faces.values() if face.name.casefold() == name.casefold()), None)
        if found is None:
            raise UnknownSpeakerError(f"no speaker is called {name[:40]!r}; there are {', '.join(self.faces)}")
        return found

    @property
    def speakers(self) -> list[str]:
        """Return the names of the speakers, in the order in which their faces stand."""
        return list(self.faces)

    @property
    def epoch(self) -> int:
        """Return the number of interruptions so far, of all faces; a request from an earlier epoch may be stale."""
        return sum(face.epoch for face in self.faces.values())

    @property
    def queue(self) -> SpeechQueue:
        """Return the queue of the face through which the microphone speaks, if it is used for that."""
        return self._first.queue

    @property
    def barge_in(self) -> BargeIn:
        """Return what the voice of a listener does to those who speak."""
        return self._first.barge_in

    @barge_in.setter
    def barge_in(self, policy: BargeIn) -> None:
        self._first.barge_in = policy

    @property
    def has_to_say(self) -> bool:
        """Return whether a face is heard or is about to be."""
        return any(face.has_to_say for face in self.faces.values())

    def with_status(self, status: StatusEvent) -> StatusEvent:
        """Return a session's status as `Avatar.with_status` does, with the speakers who speak now."""
        facts = {
            "state": self.state,
            "epoch": self.epoch,
            "to_say_s": round(sum(face.to_say for face in self.faces.values()), 1),
            "speaking": [name for name, face in self.faces.items() if face.state is AvatarState.SPEAKING],
        }
        return self._first.with_status(status).model_copy(update=facts)

    def measurements(self, watched: Callable[[], bool]) -> list[Coroutine[Any, Any, None]]:
        """Return what measures each face while `watched()` is true, to be run as tasks."""
        return [work for face in self.faces.values() for work in face.measurements(watched)]

    # -- speech ----------------------------------------------------------------------------------------------------

    def new_name(self) -> str:
        """Return a name for an utterance that was not given one."""
        self._named += 1
        return f"u{self._named}"

    def find(self, name: str) -> Utterance | None:
        """Return the utterance with this name that a face speaks or that waits; None if there is none."""
        return next((found for face in self.faces.values() if (found := face.find(name)) is not None), None)

    def cancel(self, utterance: Utterance) -> None:
        """End an utterance of any face, as `Avatar.cancel` does."""
        for face in self.faces.values():
            if face.find(utterance.name) is utterance:
                face.cancel(utterance)

    def clear(self) -> list[HeardPart]:
        """End the utterances of all faces that wait, and return them; the one that is being spoken goes on."""
        return [part for face in self.faces.values() for part in face.clear()]

    def interrupt(self, why: str, *, live: bool = True, ending: EndReason = "interrupted") -> list[HeardPart]:
        """Silence all faces, and return what was heard of their utterances; the arguments are `Avatar.interrupt`'s."""
        return [part for face in self.faces.values() for part in face.interrupt(why, live=live, ending=ending)]

    def hear(self, sound: Samples) -> None:
        """Take samples ([samples] int16, 48 kHz) from the microphone of the viewer who controls the session.

        Speech that would silence an avatar silences every face that speaks.
        """
        puppet = self._first.queue.use is MicrophoneUse.PUPPET
        if self._first.takes(sound, speaks=self.has_to_say):
            self.interrupt("somebody speaks", live=not puppet)
        self._first.settle()

    def add_listener(self, delay: Delay) -> Callable[[], None]:
        """Count a viewer whose connection tells its delay, for all faces; the returned function ends that."""
        ends = [face.add_listener(delay) for face in self.faces.values()]

        def end() -> None:
            for one in ends:
                one()

        return end

    # -- events ----------------------------------------------------------------------------------------------------

    def _told(self, name: str, leads: bool, event: Event) -> None:  # noqa: FBT001 (bound by `partial`)
        """Pass on an event of a face, with its speaker; of those that concern all faces only the first one's."""
        if isinstance(event, SlowEvent | ListenerEvent) and not leads:
            return
        named = event.model_copy(update={"speaker": name}) if isinstance(event, OF_A_SPEAKER) else event
        self._tell(named)
        speaks = any(face.state is AvatarState.SPEAKING for face in self.faces.values())
        state = AvatarState.SPEAKING if speaks else self._first.state
        if state is not self.state:
            self.state = state
            self._tell(AvatarEvent(state=state))

    def _shown(self, shown: Shown, number: int) -> None:
        """Show each face its part of a frame that was sent, with its own sound."""
        self.aloud = shown.sound
        silent = not shown.sound.any()  # also where a frame is sent once more
        width = shown.picture.shape[1] // (len(self.faces) if self._layout == "side" else 1)
        for i, (view, own) in enumerate(zip(self._views.values(), self.sound.own(), strict=True)):
            at = i * width if self._layout == "side" else 0
            view.show(
                replace(shown, picture=shown.picture[:, at : at + width], sound=SILENCE if silent else own), number
            )
