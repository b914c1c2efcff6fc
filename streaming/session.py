"""A session: a rollout with a clock and viewers.

    commands → waiting cues → rollout.step (device thread) → frames → pace → encoder → broadcast → viewers

Two tasks run it: one draws chunks as far ahead of the playhead as the look-ahead dial allows, the other releases one
frame after another at the media rate. Frames are numbered as they are released, so media time only ever grows, also
over a rewind.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import statistics
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from models.checkpoints.assemble import Model
from models.state import Snapshot, Snapshots
from streaming.broadcast import Broadcast
from streaming.control import (
    Command,
    ControlError,
    CueCommand,
    LookAheadCommand,
    PlainCommand,
    PromptCommand,
    RewindCommand,
    cues_of,
    merged,
)
from streaming.device import DeviceThread
from streaming.encoder import LiveEncoder, bitrate_for
from streaming.journal import Journal
from streaming.pacing import LookAhead, Pace, may_draw, pts_of
from streaming.phase import Phase, onward
from streaming.recorder import Frames
from streaming.rollout import Boundary, Rollout, record_of
from streaming.take import Entry, Take

log = logging.getLogger(__name__)

SNAPSHOT_BUDGET_MB = 512
Listener = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Waiting:
    """A cue that was accepted and waits for the next chunk; `number` is that of the message that asked for it."""

    number: int | None
    entry: Entry
    since: float


@dataclass(frozen=True)
class Shown:
    """A frame on its way to the screen, and the latent at whose chunk it began."""

    picture: Frames  # [H, W, 3]
    chunk: int  # first latent of its chunk
    cut: bool = False  # the first frame after a cut: the encoder starts anew there
    answers: tuple[int, ...] = ()  # messages whose cues this frame is the first to show


@dataclass
class Line:
    """The part of a take that has been lived through: what its journal and its file say."""

    id: str
    take: Take  # as it began: model, seed, size and the first prompt
    parent: str | None = None
    landed: list[Entry] = field(default_factory=list)  # every cue with the latent it landed on
    hashes: dict[int, str] = field(default_factory=dict)  # first latent of a chunk → hash of its latents
    length: int = 0  # latents

    def as_take(self, record: dict[str, Any]) -> Take:
        cues = [e.model_copy(update={"at": e.landed}) for e in self.landed]
        changes = {"parent": self.parent, "cues": cues, "length": max(self.length, 1), "record": record}
        return self.take.model_copy(update=changes)

    def branched(self, at: int) -> Line:
        """A new line that shares this one's past before latent `at`."""
        kept = [e for e in self.landed if (e.landed or 0) < at or at == 0 == (e.landed or 0)]
        hashes = {first: h for first, h in self.hashes.items() if first < at}
        return Line(uuid.uuid4().hex[:12], self.take, f"{self.id}@{at}", kept, hashes, at)


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
    ) -> None:
        self.id = uuid.uuid4().hex
        self.model, self.device, self.folder, self.look_ahead = model, device, folder, look_ahead
        self.phase, self.failure = Phase.WARMING, ""
        self.line = Line(uuid.uuid4().hex[:12], take)
        self.lines: dict[str, Take] = {}  # branches left behind, as takes
        self.broadcast = Broadcast()
        self.released = 0  # frames
        self.playhead = 0  # first latent of the chunk on screen
        self._clock = clock
        self._rollout = Rollout(model, take)
        self._record = record_of(model, model.generator.device)
        self._snapshots = Snapshots(SNAPSHOT_BUDGET_MB)
        self._frames: deque[Shown] = deque()
        self._waiting: list[Waiting] = []
        self._rewind_to: int | None = None
        self._draw_wake, self._play_wake = asyncio.Event(), asyncio.Event()
        self._listeners: list[Listener] = []
        self._journal: Journal | None = None
        self._production: deque[float] = deque(maxlen=20)  # seconds of a chunk
        self._landing_waits: deque[float] = deque(maxlen=200)  # seconds from a command to its first frame's release
        width, height = take.width_height(model.entry.size)
        fps = model.entry.fps
        self._encoder = LiveEncoder(width, height, fps, bitrate_for(width, height, fps))
        self._tasks: list[asyncio.Task[None]] = []

    # -- what it tells --------------------------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        return self.phase in (Phase.ENDED, Phase.FAILED)

    @property
    def index(self) -> int:
        """Latents drawn so far."""
        return self.line.length

    @property
    def frames_ahead(self) -> int:
        return len(self._frames)

    @property
    def real_time_factor(self) -> float | None:
        """Seconds of device time a second of media costs; None before the first chunks."""
        if len(self._production) < 2:
            return None
        media = self.model.entry.rollout.chunk * 4 / self.model.entry.fps
        return statistics.median(self._production) / media

    @property
    def picture_width(self) -> int:
        """Of the encoded picture, in pixels."""
        return self._encoder.width

    @property
    def picture_height(self) -> int:
        return self._encoder.height

    def facts(self) -> dict[str, Any]:
        """What a viewer needs to know of the film once."""
        entry = self.model.entry
        return {"model": entry.name, "fps": entry.fps, "chunk": entry.rollout.chunk, "phase": self.phase}

    def take(self) -> Take:
        """The surviving line as a take that render replays to the same latents."""
        return self.line.as_take(self._record)

    def status(self) -> dict[str, Any]:
        fps, waits = self.model.entry.fps, sorted(self._landing_waits)
        chunk_frames = 4 * self.model.entry.rollout.chunk
        return {
            "type": "status",
            "phase": self.phase,
            "latent": self.index,
            "playhead": self.playhead,
            "oldest": self._snapshots.oldest(),
            "generated_fps": round(chunk_frames / statistics.median(self._production), 1) if self._production else None,
            "buffer_ms": round(1000 * len(self._frames) / fps),
            "prompt_ms": [round(1000 * w) for w in (self._landing_waits[-1], _at(waits, 0.5), _at(waits, 0.95))]
            if waits
            else None,
            "viewers": len(self.broadcast),
            "look_ahead": self.look_ahead,
        }

    def timeline(self) -> dict[str, Any]:
        """The cue blocks of the present line."""
        cues = [e.model_dump(exclude_defaults=True) for e in self.line.landed]
        return {"type": "timeline", "take": self.line.id, "parent": self.line.parent, "cues": cues}

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Every event goes to `listener` from now on; the returned function ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def _tell(self, event: dict[str, Any]) -> None:
        for listener in list(self._listeners):
            listener(event)

    # -- what it is told ------------------------------------------------------------------------------------------

    def obey(self, command: Command) -> None:
        """Accept a command; ControlError says why not. What becomes of it is told to the listeners."""
        if self.over:
            raise ControlError(f"the take has {self.phase}", command.id)
        match command:
            case RewindCommand(latent=latent):
                self._rewind(latent, command.id)
            case LookAheadCommand(value=value):
                self.look_ahead = value
            case PlainCommand(type="pause") if self.phase is Phase.LIVE:
                self._become(Phase.PAUSED)
            case PlainCommand(type="resume") if self.phase is Phase.PAUSED:
                self._become(Phase.LIVE)
            case PlainCommand(type="end"):
                self._become(Phase.ENDED)
            case PlainCommand(type="undo"):
                last = max((e.landed or 0 for e in self.line.landed), default=0)
                if last == 0:
                    raise ControlError("there is nothing to undo", command.id)
                self._rewind(last, command.id)
            case PlainCommand():
                raise ControlError(f"a take that is {self.phase} cannot {command.type}", command.id)
            case _:
                self._cue(command)
        self._tell({"type": "accepted", "id": command.id})
        self._wake()

    def _cue(self, command: CueCommand) -> None:
        if len(self._waiting) >= 64:
            raise ControlError("too many cues wait for the next chunk", command.id)
        self._waiting.append(Waiting(command.id, command.entry(), self._clock()))
        if isinstance(command, PromptCommand):
            self._spawn(self._encode(command))

    async def _encode(self, command: PromptCommand) -> None:
        """Encode the text before its chunk is drawn, so that the switch does not wait for it."""
        await self.device.run(lambda: self.model.generator.text(command.text))
        self._tell({"type": "encoded", "id": command.id, "not_understood": self.model.not_understood(command.text)})

    def _rewind(self, latent: int, number: int) -> None:
        oldest = self._snapshots.oldest()
        if latent > self.index or (latent and (oldest is None or latent < oldest)):
            raise ControlError(f"latent {latent} is not held; one can go back to {oldest}", number)
        self._rewind_to = latent

    def _become(self, phase: Phase) -> None:
        self.phase = onward(self.phase, phase)
        self._wake()
        self._tell({"type": "phase", "phase": phase, "why": self.failure})

    # -- life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._open_journal()
        self._spawn(self._draw_on())
        self._spawn(self._play_on())

    async def close(self) -> None:
        """End it if it runs, and wait until nothing of it is left."""
        if not self.over:
            self._become(Phase.ENDED)
        for task in self._tasks:
            task.cancel()
        for task in list(self._tasks):
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self.broadcast.close()
        if self._journal is not None:
            self._save()
            self._journal.close()
        self._frames.clear()
        self._snapshots = Snapshots(0)
        self._listeners.clear()

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(self._guarded(work))
        self._tasks.append(task)
        task.add_done_callback(lambda t: self._tasks.remove(t) if t in self._tasks else None)

    async def _guarded(self, work: Any) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except Exception as e:
            log.exception("session %s failed", self.id)
            if not self.over:
                self.failure = f"the take stopped: {type(e).__name__}"
                self._become(Phase.FAILED)

    def _wake(self) -> None:
        """Something changed that drawing or playing may wait for."""
        self._draw_wake.set()
        self._play_wake.set()

    # -- drawing --------------------------------------------------------------------------------------------------

    async def _draw_on(self) -> None:
        chunk_frames = 4 * self.model.entry.rollout.chunk
        while not self.over:
            if self._rewind_to is not None:
                await self._go_back(self._rewind_to)
            production = statistics.median(self._production) * self.model.entry.fps if self._production else 0.0
            if self.phase is Phase.PAUSED or not may_draw(
                self.look_ahead, unplayed=len(self._frames), chunk=chunk_frames, production=production
            ):
                await _next(self._draw_wake)
                continue
            landing, self._waiting = self._waiting, []
            if self.look_ahead is LookAhead.LOSSLESS:  # every prompt has its chunk
                later = next((i for i, w in enumerate(landing) if i and w.entry.prompt is not None), len(landing))
                landing, self._waiting = landing[:later], landing[later:]
            entries = merged([w.entry for w in landing])
            boundary = await self.device.run(lambda e=entries: self._step(e))  # type: ignore[misc]
            self._arrived(boundary, entries, landing)

    def _step(self, entries: list[Entry]) -> tuple[Boundary, Snapshot, float]:
        began = time.perf_counter()
        boundary = self._rollout.step(cues_of(entries))
        return boundary, self._rollout.snapshot(), time.perf_counter() - began

    def _arrived(self, drawn: tuple[Boundary, Snapshot, float], entries: list[Entry], landing: list[Waiting]) -> None:
        """A chunk is drawn: its frames queue up, its cues become part of the line."""
        boundary, snapshot, seconds = drawn
        self._snapshots.add(snapshot)
        if boundary.first > 0:  # the first chunk warms things up
            self._production.append(seconds)
        own = self.line.take.cues if boundary.first == 0 else []
        entries = [e.model_copy(update={"landed": boundary.first}) for e in [*own, *entries]]
        self.line.landed += entries
        self.line.hashes[boundary.first] = boundary.hash
        self.line.length = boundary.first + boundary.latents
        self._write([*({"type": "cue", **e.model_dump(exclude_defaults=True)} for e in entries)])
        self._write([{"type": "chunk", "first": boundary.first, "hash": boundary.hash}])
        number = self.released + len(self._frames)
        cut = any(e.cut for e in entries)
        answers = tuple(w.number for w in landing if w.number is not None)
        head, *rest = (Shown(f, boundary.first) for f in boundary.frames)
        self._frames.extend([replace(head, cut=cut, answers=answers), *rest])
        for waiting in landing:
            shown_in = len(self._frames) - len(boundary.frames)
            self._landing_waits.append(self._clock() - waiting.since + shown_in / self.model.entry.fps)
            if waiting.number is not None:
                self._tell({"type": "live", "id": waiting.number, "latent": boundary.first, "frame": number})
        if entries:
            self._tell(self.timeline())
        if self.phase is Phase.WARMING:
            self._become(Phase.LIVE)
        self._wake()

    async def _go_back(self, latent: int) -> None:
        """Branch at the newest boundary at or before `latent`: what lay ahead is another take's."""
        self._rewind_to = None
        left = self.line
        if latent == 0:
            at = 0
            self._rollout = await self.device.run(lambda: Rollout(self.model, left.take))
        else:
            snapshot = self._snapshots.at(latent)
            at = snapshot.index
            self._rollout.state = await self.device.run(lambda: self.model.generator.restore(snapshot))
        self._snapshots.drop_after(at)
        self._save()
        self.lines[left.id] = left.as_take(self._record)
        self.line = left.branched(at)
        if at == 0:
            self.line.landed = []
        self._frames.clear()
        self._open_journal()
        self._tell(self.timeline())

    # -- playing --------------------------------------------------------------------------------------------------

    async def _play_on(self) -> None:
        pace: Pace | None = None
        last: Shown | None = None
        while not self.over:
            if self.phase is not Phase.LIVE or not self._frames:
                pace = None if self.phase is not Phase.LIVE else pace
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(_next(self._play_wake), 0.25)
                if self.phase is Phase.PAUSED and last is not None and self.broadcast.keyframe_wanted:
                    await self._show(replace(last, answers=()))  # who joins a pause sees where it stands
                continue
            pace = pace or Pace(self.model.entry.fps, self.released, self._clock())
            if (delay := pace.due(self.released) - self._clock()) > 0:
                await asyncio.sleep(delay)
                if self.phase is not Phase.LIVE or not self._frames:
                    continue
            pace = pace.released(self.released, self._clock())
            last = self._frames.popleft()
            await self._show(last)

    async def _show(self, shown: Shown) -> None:
        """Release one frame: encode it, send it, and tell whose prompt it is the first to show."""
        number, self.released, self.playhead = self.released, self.released + 1, shown.chunk
        self._draw_wake.set()
        pts, keyframe = pts_of(number, self.model.entry.fps), shown.cut or self.broadcast.keyframe_wanted
        encode = partial(self._encoder.encode, shown.picture, pts, keyframe=keyframe)
        for packet in await asyncio.get_running_loop().run_in_executor(None, encode):
            self.broadcast.send(packet)
        for answer in shown.answers:
            self._tell({"type": "shown", "id": answer, "frame": number})

    # -- the file -------------------------------------------------------------------------------------------------

    def _open_journal(self) -> None:
        if self.folder is None:
            return
        if self._journal is not None:
            self._journal.close()
        head: dict[str, Any] = {
            "type": "take",
            "id": self.line.id,
            "take": self.line.take.model_dump(exclude_defaults=True),
        }
        head |= {"parent": self.line.parent, "record": self._record}
        past: list[dict[str, Any]] = [{"type": "cue", **e.model_dump(exclude_defaults=True)} for e in self.line.landed]
        past += [{"type": "chunk", "first": first, "hash": h} for first, h in self.line.hashes.items()]
        self._journal = Journal(self.folder / f"{self.line.id}.jsonl", keep=[head, *past])

    def _write(self, lines: list[dict[str, Any]]) -> None:
        for line in lines if self._journal is not None else []:
            self._journal.write(line)  # type: ignore[union-attr]

    def _save(self) -> None:
        """The line as a take file beside its journal."""
        if self.folder is not None and self.line.length:
            (self.folder / f"{self.line.id}.yaml").write_text(self.take().dumped(), encoding="utf-8")


async def _next(event: asyncio.Event) -> None:
    await event.wait()
    event.clear()


def _at(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
