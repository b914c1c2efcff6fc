"""A session: a rollout with a clock and viewers.

    commands → waiting cues → rollout.step (device thread) → frames → playout → encoder → broadcast → viewers

Two tasks run it: one draws chunks as far ahead of the playhead as the look-ahead dial allows, the other releases one
frame after another at the media rate.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from models.checkpoints.assemble import Model
from streaming.live.chunk_producer import ChunkProducer
from streaming.live.device import DeviceThread
from streaming.live.pacing import LookAhead
from streaming.live.playout import Playout, Shown
from streaming.live.session_state import SessionState, next_state
from streaming.media.broadcast import Broadcast
from streaming.media.live_recording import LiveRecording, RecordingError
from streaming.take.history import TakeHistory
from streaming.take.take_file import Take
from streaming.transport.commands import (
    Command,
    ControlError,
    CueCommand,
    LookAheadCommand,
    MicrophoneCommand,
    PlainCommand,
    PrepareCommand,
    PromptCommand,
    RewindCommand,
)
from streaming.transport.events import (
    AcceptedEvent,
    EncodedEvent,
    Event,
    HelloEvent,
    PhaseEvent,
    RecordingEvent,
    ShownEvent,
    StatusEvent,
    TakenBackEvent,
    TimelineEvent,
)

log = logging.getLogger(__name__)

MOST_TASKS = 128  # that one session may have at a time
Listener = Callable[[Event], None]


class Session:
    """One running take. All methods belong to the event loop; only steps run on the device thread."""

    def __init__(
        self,
        model: Model,
        take: Take,
        device: DeviceThread,
        *,
        folder: Path | None = None,
        look_ahead: LookAhead = LookAhead.SMOOTH,
        clock: Callable[[], float] = time.monotonic,
        past: TakeHistory | None = None,
    ) -> None:
        """With a `past`, `take` is what that began as, and this session goes on where it ended."""
        self.id = uuid.uuid4().hex
        self.model, self.device = model, device
        self.phase, self.failure = SessionState.WARMING, ""
        size = take.width_height(model.entry.size)
        self._listeners: list[Listener] = []
        self.playout = Playout(
            size,
            model.entry.fps,
            freed=lambda: self._drawing.wake(),
            shown=self._shown,
            clock=clock,
            sound=model.entry.drive is not None,
        )
        self._drawing = self._new_drawing(
            take, device, folder=folder, look_ahead=look_ahead, tell=self._tell, clock=clock, past=past
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._recorder: asyncio.Task[None] | None = None

    def _new_drawing(self, take: Take, device: DeviceThread, **how: Any) -> ChunkProducer:
        return ChunkProducer(self.model, take, device, self.playout, **how)

    # -- what it tells --------------------------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        return self.phase in (SessionState.ENDED, SessionState.FAILED)

    @property
    def line(self) -> TakeHistory:
        """What has been lived through, of the branch that it is on."""
        return self._drawing.line

    @property
    def index(self) -> int:
        """Latents drawn so far."""
        return self.line.length

    @property
    def broadcast(self) -> Broadcast:
        return self.playout.broadcast

    @property
    def real_time_factor(self) -> float | None:
        """Seconds of device time a second of media costs; None before the first chunks."""
        return self._drawing.figures.real_time_factor

    def hello(self, *, controls: bool) -> HelloEvent:
        """Describe the session to a viewer that connects, and says whether that one may send commands."""
        entry = self.model.entry
        return HelloEvent(
            session=self.id,
            controls=controls,
            model=entry.name,
            fps=entry.fps,
            chunk=entry.rollout.chunk,
            phase=self.phase,
            sound=self.playout.sound is not None,
        )

    def take(self) -> Take:
        """The surviving line as a take that render replays to the same latents."""
        return self.line.as_take(self._drawing.record)

    def status(self) -> StatusEvent:
        """Tell where the session is and what it measures."""
        timings, knots = self._drawing.figures, self._drawing.figures.knots
        return StatusEvent(
            phase=self.phase,
            latent=self.index,
            catching_up=self._drawing.catching_up,
            playhead=self.playout.playhead,
            oldest=self._drawing.snapshots.oldest(),
            held_mb=round(self._drawing.snapshots.bytes() / 1e6),
            generated_fps=timings.generated_fps,
            buffer_ms=round(1000 * len(self.playout) / self.playout.fps),
            prompt_ms=timings.prompt_ms,
            knots=knots,
            viewers=len(self.broadcast),
            look_ahead=self._drawing.look_ahead,
            recorded_s=round(self.playout.recording.seconds, 1) if self.playout.recording else None,
        )

    def timeline(self) -> TimelineEvent:
        """List the cues of the take as it is now."""
        return self._drawing.timeline()

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Every event goes to `listener` from now on; the returned function ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def _tell(self, event: Event) -> None:
        for listener in list(self._listeners):
            listener(event)

    # -- what it is told ------------------------------------------------------------------------------------------

    def obey(self, command: Command) -> None:
        """Accept a command; ControlError says why not. What becomes of it is told to the listeners."""
        if self.over:
            raise ControlError(f"the take has {self.phase}", command.id)
        try:
            self._obey(command)
        except ValueError as e:
            raise ControlError(str(e), command.id) from None
        self._tell(AcceptedEvent(id=command.id))

    def _obey(self, command: Command) -> None:
        match command:
            case RewindCommand(latent=latent):
                self._drawing.rewind(latent)
            case PrepareCommand(text=text):
                self._prepare(text, command.id)
            case LookAheadCommand(value=value):
                self._drawing.look_ahead = value
                self._drawing.wake()
            case PlainCommand(type="pause") if self.phase is SessionState.LIVE:
                self._become(SessionState.PAUSED)
            case PlainCommand(type="resume") if self.phase is SessionState.PAUSED:
                self._become(SessionState.LIVE)
            case PlainCommand(type="end"):
                self._become(SessionState.ENDED)
            case PlainCommand(type="record"):
                if self.playout.recording is not None:
                    raise ValueError("it is being recorded already")
                self._record()
            case PlainCommand(type="stop_recording"):
                if self.playout.recording is None:
                    raise ValueError("nothing is being recorded")
                self.playout.recording.end()
            case PlainCommand(type="undo"):
                if (number := self._drawing.undo()) is not None:  # told behind the answer to the undo itself
                    asyncio.get_running_loop().call_soon(self._tell, TakenBackEvent(id=number))
            case MicrophoneCommand() | PlainCommand(type="interrupt"):
                raise ValueError("only an avatar speaks and listens")
            case PlainCommand():
                raise ValueError(f"a take that is {self.phase} cannot {command.type}")
            case _:
                self._cue(command)

    def _cue(self, command: CueCommand) -> None:
        self._drawing.land(command.cue_line(), command.id)
        if isinstance(command, PromptCommand):
            self._prepare(command.text, command.id)

    def _prepare(self, text: str, number: int) -> None:
        """Have a text encoded before its chunk is drawn, so that the switch does not wait for it."""
        if len(self._tasks) > MOST_TASKS:
            raise ValueError("too many texts wait to be encoded")
        self._spawn(self._encode(text, number))

    async def _encode(self, text: str, number: int) -> None:
        await self.device.run(lambda: self.model.generator.text(text))
        self._tell(EncodedEvent(id=number, not_understood=self.model.not_understood(text)))

    def _record(self) -> None:
        """Begin a recording beside the take; the stream does not depend on how it fares."""
        playout = self.playout
        size, sound = (playout.picture_width, playout.picture_height), playout.sound is not None
        recording = LiveRecording(self._drawing.recording(), *size, playout.fps, sound=sound)
        playout.recording = recording

        async def run() -> None:
            why = ""
            self._tell(RecordingEvent(name=recording.path.stem, on=True))
            try:
                await recording.run()
            except RecordingError as e:
                why = str(e)
            finally:
                playout.recording = None
            self._tell(RecordingEvent(name=recording.path.stem, on=False, why=why))

        self._recorder = self._spawn(run())

    # -- life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._spawn(self._drawing.run(self._begun))
        self._spawn(self.playout.run())

    async def close(self) -> None:
        """End it if it runs, and wait until nothing of it is left."""
        if not self.over:
            self._become(SessionState.ENDED)
        if self._recorder is not None:  # it has its last fragment to write
            await asyncio.wait([self._recorder], timeout=5)
        for task in self._tasks:
            task.cancel()
        for task in list(self._tasks):
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self.broadcast.close()
        if self.playout.sound is not None:
            self.playout.sound.close()
        self._drawing.close()
        self.playout.clear()
        self._listeners.clear()

    def _become(self, phase: SessionState) -> None:
        self.phase = next_state(self.phase, phase)
        if self.over:
            self.playout.end()
            self._drawing.end()
            if self.playout.recording is not None:
                self.playout.recording.end()
        else:
            self.playout.hold(held=phase is not SessionState.LIVE)
            self._drawing.hold(held=phase is SessionState.PAUSED)
        self._tell(PhaseEvent(phase=phase, why=self.failure))

    def _begun(self) -> None:
        if self.phase is SessionState.WARMING:
            self._become(SessionState.LIVE)

    def _shown(self, shown: Shown, number: int) -> None:
        for answer in shown.answers:
            self._tell(ShownEvent(id=answer, frame=number))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._guarded(work))
        self._tasks.append(task)
        task.add_done_callback(lambda t: self._tasks.remove(t) if t in self._tasks else None)
        return task

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except Exception as e:
            log.exception("session %s failed", self.id)
            if not self.over:
                self.failure = f"the take stopped: {type(e).__name__}"
                self._become(SessionState.FAILED)
