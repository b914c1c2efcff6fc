"""A session of a portrait that speaks, listens and can be interrupted.

sounds and microphone → voice → drawing → frames with their sound → playout → encoders → viewers
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models.checkpoints.assemble import Model
from models.cue import Reference
from models.driving_signal import RATE
from models.judge.face_reader import FaceReader
from streaming.live.chunk_producer import ChunkProducer
from streaming.live.device import DeviceThread
from streaming.live.playout import Shown
from streaming.live.session import Session
from streaming.live.session_state import AvatarState
from streaming.speech.audio_file import Sound
from streaming.speech.avatar_producer import AvatarProducer
from streaming.speech.live_meters import LiveMeters
from streaming.speech.soundtrack import Samples
from streaming.speech.speech_queue import MicrophoneUse, SpeechQueue
from streaming.take.take_file import Take
from streaming.transport.commands import Command, LookAheadCommand, MicrophoneCommand, PlainCommand, PromptCommand
from streaming.transport.events import AvatarEvent, InterruptedEvent, StatusEvent

GONE = 12  # frames, 480 ms, after which a microphone that sends nothing, not even silence, is not there
PAUSE = 8  # silent frames, 320 ms, after which it no longer counts as speaking


class LiveAvatar(Session):
    """One running take of a driven model. When nothing is said it is driven by silence, and goes on living."""

    _drawing: AvatarProducer

    def __init__(
        self,
        model: Model,
        take: Take,
        device: DeviceThread,
        *,
        portrait: Reference,
        folder: Path | None = None,
        reader: FaceReader | None = None,
        **how: Any,
    ) -> None:
        """With a `reader` of faces the listeners are told, at a low rate, how well the mouth follows and the face stays."""
        self.voice = SpeechQueue()
        self.state = AvatarState.IDLE
        self._portrait = portrait
        self._meters = LiveMeters(reader, portrait) if reader is not None else None
        self._loud = -PAUSE  # frame that was last heard
        self._listened = 0  # frame at which the microphone last gave something
        super().__init__(model, take, device, folder=folder, **how)

    def _new_drawing(self, take: Take, device: DeviceThread, **how: Any) -> ChunkProducer:
        how = {k: how[k] for k in ("folder", "tell", "clock")}
        return AvatarProducer(self.model, take, device, self.playout, portrait=self._portrait, voice=self.voice, **how)

    @property
    def epoch(self) -> int:
        """Interruptions so far: what was asked for in an earlier one is stale."""
        return self._drawing.epoch

    def status(self) -> StatusEvent:
        """Tell where the session is, what the avatar does and what waits to be spoken."""
        facts = {
            "state": self.state,
            "use": self.voice.use,
            "epoch": self.epoch,
            "level": round(self.voice.gate.level),
            "to_say_s": round(self.voice.waiting / RATE, 1),
        }
        return super().status().model_copy(update=facts)

    # -- what it is told ------------------------------------------------------------------------------------------

    def say(self, sound: Sound) -> None:
        """Speak a sound after what waits; SpeechQueueError if too much would wait."""
        self.voice.say(sound)
        self._settle()

    def hear(self, sound: Samples) -> None:
        """What the microphone of whoever controls the session heard next.

        Who speaks while the avatar does interrupts, also who began before it; a puppet's own voice is no interruption.
        """
        if self.over:
            return
        self._listened = self.playout.released
        speaks = self.state is AvatarState.SPEAKING
        began, puppet = self.voice.hear(sound, echo=speaks), self.voice.use is MicrophoneUse.PUPPET
        if speaks and ((began and self.voice.reads) if puppet else (began or self.voice.gate.over_echo)):
            self.interrupt("somebody speaks", live=not puppet)
        self._settle()

    def interrupt(self, why: str, *, live: bool = True) -> None:
        """Silence with the next frame, and a mouth that closes as soon as it can be drawn."""
        self.voice.clear(live=live)
        self._drawing.interrupt()
        self._loud = -PAUSE
        # the first frame that is silent, and the epoch that begins with it
        self._tell(InterruptedEvent(frame=self.playout.released, epoch=self.epoch, why=why))
        self._settle()

    def _obey(self, command: Command) -> None:
        match command:
            case PlainCommand(type="interrupt"):
                self.interrupt("asked to")
            case MicrophoneCommand(use=use):
                self.voice.use = use
            case PromptCommand() | LookAheadCommand():
                raise ValueError("an avatar is told nothing in words and answers as early as it can; let it speak")
            case _:
                super()._obey(command)

    # -- what it tells --------------------------------------------------------------------------------------------

    def _shown(self, shown: Shown, number: int) -> None:
        super()._shown(shown, number)
        if shown.sound.any():
            self._loud = number
        if self.voice.gate.open and number - self._listened > GONE:
            self.voice.hang_up()
        self._settle()
        if self._meters is not None:
            self._meters.add(shown.picture, shown.sound)

    def _settle(self) -> None:
        """Tell what it does, if that has changed."""
        speaks = self.voice.waiting > 0 or self.playout.released - self._loud <= PAUSE or self.playout.audible
        state = AvatarState.SPEAKING if speaks else AvatarState.LISTENING if self.voice.gate.open else AvatarState.IDLE
        if state is not self.state:
            self.state = state
            self._tell(AvatarEvent(state=state))

    def start(self) -> None:
        super().start()
        if self._meters is not None:
            self._spawn(self._meters.run(self._tell, lambda: len(self.broadcast) > 0))
