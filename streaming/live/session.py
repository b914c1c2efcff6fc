"""Run a session: a rollout with a clock and viewers.

    commands → waiting cues → rollout (device thread) → frames → playout → encoder → broadcast → viewers

Two tasks do the work: the chunk producer draws as far ahead of the playhead as the look-ahead dial allows, and the
playout releases one frame after another at the media rate.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from models.checkpoints.assemble import Model
from models.errors import UserError
from streaming.live.chunk_producer import ChunkProducer
from streaming.live.clock import MONOTONIC, Clock
from streaming.live.device import DeviceThread
from streaming.live.event_bus import EventBus, Listener
from streaming.live.pacing import LookAhead
from streaming.live.playout import Playout, Shown
from streaming.live.recorder import Recorder
from streaming.live.session_loras import SessionLoras
from streaming.live.session_state import SessionState, next_state
from streaming.live.text_queue import TextError, TextQueue
from streaming.media.broadcast import Broadcast
from streaming.media.h264 import LiveEncoder, bitrate_for
from streaming.media.ingest import Camera
from streaming.speech.any_avatar import AvatarMaker
from streaming.take.history import TakeHistory
from streaming.take.picture_cue import CAMERA
from streaming.take.take_file import CueLine, Take
from streaming.take.take_loras import lora_record, offered_loras
from streaming.take.uploaded_files import ArrivingFile, CheckedFile, UploadedFile, UploadedFiles
from streaming.transport.commands import (
    BargeInCommand,
    Command,
    ControlError,
    CueCommand,
    LookAheadCommand,
    LoraCommand,
    MicrophoneCommand,
    PlainCommand,
    PrepareCommand,
    PromptCommand,
    RewindCommand,
    SlotCommand,
    TakeBackCommand,
)
from streaming.transport.events import (
    AcceptedEvent,
    CameraStatus,
    HelloEvent,
    PhaseEvent,
    PublishingEvent,
    PublishingState,
    RefusedEvent,
    ShownEvent,
    SlotEvent,
    StatusEvent,
    TakenBackEvent,
    TimelineEvent,
    WarningEvent,
)

log = logging.getLogger(__name__)


class Session:
    """Run one take. All methods belong to the event loop; only the model's work runs on the device thread."""

    def __init__(
        self,
        model: Model,
        take: Take,
        device: DeviceThread,
        *,
        folder: Path | None = None,
        look_ahead: LookAhead = LookAhead.SMOOTH,
        clock: Clock = MONOTONIC,
        past: TakeHistory | None = None,
        spare: Callable[[], bool] = lambda: True,
        avatar: AvatarMaker | None = None,
        loras: Sequence[str] = (),
    ) -> None:
        """Prepare a session of `take`; `start` begins it. Its files are written into `folder` (None: nowhere).

        With a `past`, `take` is how that one began, and the session goes on where that one ended, after it was drawn
        anew at the pace that `spare` allows (see `CatchUpPace`). With an `avatar` the film is driven by the avatar's
        speech, and drawn anew when the avatar is interrupted. The model forgets the `loras`, which were added to it for
        this session, when the session ends.
        """
        self.id = uuid.uuid4().hex
        self.model = model
        self.state, self.failure = SessionState.WARMING, ""
        self._events = EventBus()
        (width, height), fps = take.film_size(model.entry.size), model.entry.fps
        encoder = LiveEncoder(width, height, fps, bitrate_for(width, height, fps))
        self.playout = Playout(encoder, fps, freed=lambda: self.producer.wake(), clock=clock, sound=avatar is not None)
        self.playout.watch(self._shown)
        self.avatar = (
            avatar(playout=self.playout, tell=self._events.publish, wake=lambda: self.producer.wake(), clock=clock)
            if avatar is not None
            else None
        )
        self.camera = Camera(clock)
        self.producer = ChunkProducer(
            model,
            take,
            device,
            self.playout,
            folder=folder,
            look_ahead=LookAhead.INSTANT if self.avatar is not None else look_ahead,
            tell=self._events.publish,
            clock=clock,
            past=past,
            spare=spare,
            sound=self.avatar.sound if self.avatar is not None else None,
            interruptions=self.avatar.interruptions if self.avatar is not None else None,
            camera=self.camera,
        )
        self.began_as = self.history.id  # the take whose folder holds the uploaded files; `history` may be a branch
        self.files = UploadedFiles(folder, self.history.id, model, (width, height)) if folder is not None else None
        self.loras = SessionLoras(model, device, loras)
        self.producer.record.update(lora_record(model, loras))
        self._asked: set[str] = set()  # names of uploaded LoRAs that commands have named
        self._publishing: PublishingState | None = None
        self._recorder = Recorder(self.playout, self._events.publish)
        self._texts = TextQueue(model, device, self._events.publish)
        self._tasks: list[asyncio.Task[None]] = []

    # -- facts and events -----------------------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Return whether the session has ended or failed."""
        return self.state in (SessionState.ENDED, SessionState.FAILED)

    @property
    def history(self) -> TakeHistory:
        """Return what has been drawn of the take, or of the branch of it that the session is on."""
        return self.producer.history

    @property
    def index(self) -> int:
        """Return how many latents of the take have been drawn."""
        return self.history.length

    @property
    def broadcast(self) -> Broadcast:
        """Return the broadcast of the encoded pictures."""
        return self.playout.broadcast

    @property
    def viewers(self) -> int:
        """Return how many viewers the film has, in all codecs."""
        return len(self.broadcast) + len(self.playout.vp8.broadcast)

    @property
    def real_time_factor(self) -> float | None:
        """Return the seconds of device time that a second of media costs; None before the first chunks."""
        return self.producer.timings.real_time_factor

    def hello(self, *, controls: bool) -> HelloEvent:
        """Describe the session to a viewer that connects; `controls` says whether this viewer may send commands."""
        entry = self.model.entry
        return HelloEvent(
            session=self.id,
            controls=controls,
            model=entry.name,
            fps=entry.fps,
            chunk=entry.rollout.grid.chunk,
            first_chunk=entry.rollout.grid.first_chunk,
            phase=self.state,
            sound=self.playout.sound is not None,
            loras=self._offered_loras(),
            speakers=self.avatar.speakers if self.avatar is not None else [],
        )

    def _offered_loras(self) -> list[str]:
        """Return the names of the LoRAs that commands may name."""
        return list(dict.fromkeys([*offered_loras(self.history.take, self.model), *self.loras.names]))

    def take(self) -> Take:
        """Return the history as a take that a render replays to the same latents."""
        return self.history.as_take(self.producer.record)

    def status(self) -> StatusEvent:
        """Return where the session is and what it measures."""
        timings = self.producer.timings
        status = StatusEvent(
            phase=self.state,
            latent=self.index,
            catching_up=self.producer.catching_up,
            playhead=self.playout.playhead,
            oldest=self.producer.oldest,
            held_mb=round(self.producer.held_mb),
            generated_fps=timings.generated_fps,
            buffer_ms=round(1000 * len(self.playout) / self.playout.fps),
            prompt_ms=timings.prompt_ms,
            knots=timings.knots,
            viewers=self.viewers,
            look_ahead=self.producer.look_ahead,
            recorded_s=self._recorder.seconds,
            camera=_camera_status(self.camera),
        )
        if self._publishing is not None:
            status = status.model_copy(update={"publishing": self._publishing})
        return status if self.avatar is None else self.avatar.with_status(status)

    def timeline(self) -> TimelineEvent:
        """Return the cues of the take as it is now."""
        return self.producer.timeline()

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with every event from now on; the returned function ends that and may be called again."""
        return self._events.subscribe(listener)

    def warn(self, why: str) -> None:
        """Tell viewers of a problem in a line for a person."""
        self._events.publish(WarningEvent(why=why))

    def tell_publishing(self, event: PublishingEvent) -> None:
        """Tell viewers, and the status from now on, how the film is published."""
        self._publishing = event.state
        self._events.publish(event)

    # -- commands -------------------------------------------------------------------------------------------------

    def obey(self, command: Command) -> None:
        """Accept a command, or raise ControlError with the reason. Events tell what becomes of it."""
        if self.over:
            raise ControlError(f"the take has {self.state}", command.id)
        try:
            self._obey(command)
        except (ValueError, UserError) as e:
            raise ControlError(str(e), command.id) from None
        self._events.publish(AcceptedEvent(id=command.id))

    def _obey(self, command: Command) -> None:
        match command:
            case PlainCommand(type="interrupt") if self.avatar is not None:
                self.avatar.interrupt("asked to")
            case MicrophoneCommand(use=use) if self.avatar is not None:
                self.avatar.queue.use = use
            case BargeInCommand(policy=policy) if self.avatar is not None:
                self.avatar.barge_in = policy
            case PromptCommand() | LookAheadCommand() if self.avatar is not None:
                raise ValueError("an avatar is told nothing in words and answers as early as it can; let it speak")
            case RewindCommand(latent=latent):
                self.producer.rewind(latent)
            case TakeBackCommand(cue=cue):
                self.producer.take_back(cue)
                self._tell_taken_back(cue)
            case SlotCommand(slot=slot):
                self._events.publish(SlotEvent(slot=slot))
            case PrepareCommand(text=text):
                self._texts.require_room()  # before it is read, which takes time
                self.model.read_prompt(text)
                self._texts.add(text, command.id, partial(self._refuse, command.id))
            case LookAheadCommand(value=value):
                self.producer.look_ahead = value
                self.producer.wake()
            case PlainCommand(type="pause") if self.state is SessionState.LIVE:
                self._become(SessionState.PAUSED)
            case PlainCommand(type="resume") if self.state is SessionState.PAUSED:
                self._become(SessionState.LIVE)
            case PlainCommand(type="end"):
                self._become(SessionState.ENDED)
            case PlainCommand(type="record"):
                self._recorder.begin(self.producer.recording_path())
            case PlainCommand(type="stop_recording"):
                self._recorder.end()
            case PlainCommand(type="undo"):
                if (number := self.producer.undo()) is not None:
                    self._tell_taken_back(number)
            case MicrophoneCommand() | BargeInCommand() | PlainCommand(type="interrupt"):
                raise ValueError("only an avatar speaks and listens")
            case PlainCommand():
                raise ValueError(f"a take that is {self.state} cannot {command.type}")
            case _:
                self._cue(command)

    def _tell_taken_back(self, number: int) -> None:
        """Tell that a command's cue was taken back, after the answer to the command that did so."""
        asyncio.get_running_loop().call_soon(self._events.publish, TakenBackEvent(id=number))

    def _refuse(self, number: int, error: TextError) -> None:
        self._events.publish(RefusedEvent(id=number, why=str(error)))

    def _cue(self, command: CueCommand) -> None:
        if isinstance(command, PromptCommand):
            self._texts.require_room()  # before it is read, which takes time
            self.model.read_prompt(command.text)  # PromptError if it understands nothing
        if isinstance(command, LoraCommand) and command.name not in (offered := self._offered_loras()):
            there = f"there are {', '.join(offered)}" if offered else "upload one, or start the server with --lora"
            if self.model.generator.fixed.scales:
                there = f"this engine has {self.model.generator.fixed} merged for good; use --engine torch to change it"
            raise ValueError(f"no LoRA is called {command.name[:80]!r}; {there}")
        line = command.cue_line()
        if line.source == CAMERA and not self.camera.connected:
            raise ValueError("no camera is connected; connect one, or name a film to follow")
        self._require_own(line)
        if isinstance(command, LoraCommand) and (digest := self.loras.digest(command.name)) is not None:
            line = line.model_copy(update={"hashes": {command.name: digest}})
        if not isinstance(command, PromptCommand):
            self.producer.land(line, command.id)
        if isinstance(command, LoraCommand):
            self._asked.add(command.name)
        if isinstance(command, PromptCommand):
            self.producer.land(line, command.id, at=command.at, replaces=command.replaces)
            if command.replaces is not None:
                self._tell_taken_back(command.replaces)
            self._texts.add(command.text, command.id, partial(self.producer.refuse, command.id))

    def _require_own(self, line: CueLine) -> None:
        """Raise ValueError if a cue names a file that was not uploaded for this session and that its take has not used.

        The folder of takes holds the files of other sessions as well. A name is taken only as the upload gave it, so
        that a file in use is known by one name and is not deleted under another.
        """
        uploaded = {file.name for file in self.files.listed()} if self.files is not None else set()
        others = [name for name in line.files() if name not in uploaded]
        used = {name for cue in self.take().cues for name in cue.files()} if others else set()
        if strange := next((name for name in others if name not in used), None):
            raise ValueError(f"{strange[:80]}: no such file of this session; name it as the upload answered")

    # -- files ----------------------------------------------------------------------------------------------------

    @property
    def used_files(self) -> set[str]:
        """Return the names of the files that the take needs to be drawn again."""
        return self.producer.footage.used | self._asked

    async def keep_file(self, arriving: ArrivingFile, checked: CheckedFile) -> UploadedFile:
        """Make a checked file one of the session's own, and let commands name it; OSError if the disk does not."""
        assert self.files is not None, "a file has arrived where none is kept"
        kept = self.files.keep(arriving, checked)
        if checked.lora is not None:
            await self.loras.add(kept.name, checked.lora)
            self.producer.record.update(lora_record(self.model, [kept.name]))
            if self.over:  # it ended meanwhile, and no longer knows of the file
                await self.loras.drop(kept.name)
        return kept

    async def delete_file(self, name: str) -> None:
        """Delete a file that no cue has used; NoSuchFileError or UsedFileError otherwise."""
        assert self.files is not None, "there are no files where none is kept"
        self.files.delete(name, self.used_files)
        await self.loras.drop(name)

    # -- life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to draw and to play."""
        self._spawn(self.producer.run(self._begun))
        self._spawn(self.playout.run())
        self._spawn(self._texts.run())
        for work in self.avatar.measurements(lambda: self.viewers > 0) if self.avatar is not None else []:
            self._spawn(work)

    async def close(self) -> None:
        """End the session if it runs, and wait until nothing of it is left."""
        if not self.over:
            self._become(SessionState.ENDED)
        await self._recorder.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.broadcast.close()
        self.playout.vp8.broadcast.close()
        if self.playout.sound is not None:
            self.playout.sound.close()
        await self.producer.close()
        if self.files is not None:
            self.files.tidy(self.used_files)
        await self.loras.close()
        self.playout.clear()
        self._events.close()

    def _become(self, state: SessionState) -> None:
        self.state = next_state(self.state, state)
        if self.over:
            self.playout.end()
            self.producer.end()
            if self.playout.recording is not None:
                self.playout.recording.end()
        else:
            self.playout.hold(held=state is not SessionState.LIVE)
            self.producer.hold(held=state is SessionState.PAUSED)
        self._events.publish(PhaseEvent(phase=state, why=self.failure))

    def _begun(self) -> None:
        if self.state is SessionState.WARMING:
            self._become(SessionState.LIVE)

    def _shown(self, shown: Shown, number: int) -> None:
        for answer in shown.answers:
            self._events.publish(ShownEvent(id=answer, frame=number))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(self._guarded(work))
        self._tasks.append(task)
        task.add_done_callback(self._tasks.remove)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work; an error of it ends the session, with a reason for its viewers."""
        try:
            await work
        except Exception as e:
            log.exception("session %s failed", self.id)
            if not self.over:
                self.failure = f"the take stopped: {type(e).__name__}"
                self._become(SessionState.FAILED)


def _camera_status(camera: Camera) -> CameraStatus | None:
    """Return what a connected camera sends, as the status event tells it; None if none is connected."""
    figures = camera.figures()
    if figures is None:
        return None
    age_ms = None if figures.age is None else round(1000 * figures.age)
    return CameraStatus(width=figures.width, height=figures.height, fps=figures.fps, age_ms=age_ms)
