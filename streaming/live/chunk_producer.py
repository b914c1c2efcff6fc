"""The drawing half of a session: waiting cues land, chunks are drawn ahead of the playhead, the line grows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from models.checkpoints.assemble import Model
from models.cue import Cue
from models.state import Snapshot, Snapshots
from models.time_grid import frames_before
from streaming.live.device import DeviceThread
from streaming.live.pacing import LookAhead, may_draw
from streaming.live.playout import Playout, Shown
from streaming.live.timings import Timings
from streaming.rollout import Boundary, Chunk, Rollout, record_of
from streaming.take.history import TakeFiles, TakeHistory, new_id
from streaming.take.take_file import CueLine, Take
from streaming.transport.commands import cues_of, merged
from streaming.transport.events import Event, LiveEvent, TimelineEvent, WarningEvent

SNAPSHOT_BUDGET_MB = 512


@dataclass(frozen=True)
class Waiting:
    """A cue that was accepted and waits for the next chunk; `number` is that of the message that asked for it."""

    number: int | None
    entry: CueLine
    since: float


class ChunkProducer:
    """Draws a take as far ahead of its playout as the look-ahead dial allows. Only steps run on the device thread."""

    def __init__(
        self,
        model: Model,
        take: Take,
        device: DeviceThread,
        playout: Playout,
        *,
        folder: Path | None,
        look_ahead: LookAhead,
        tell: Callable[[Event], None],
        clock: Callable[[], float],
        past: TakeHistory | None = None,
    ) -> None:
        """With a folder the line's journal and take file are kept there. `tell` gets what listeners should know.

        With a `past` the take branches at its end: its chunks are drawn anew, unseen and as fast as the device can.
        """
        self.line = TakeHistory(new_id(), take, f"{past.id}@{past.length}" if past else None)
        self._past, self._differs = past, False
        self.look_ahead = look_ahead
        self.snapshots = Snapshots(SNAPSHOT_BUDGET_MB)
        self.figures = Timings(model.entry.rollout.grid.frames, model.entry.fps)
        self.record = record_of(model, model.generator.device)
        self._model, self._device, self._playout, self._tell, self._clock = model, device, playout, tell, clock
        self._files = TakeFiles(folder, self.record) if folder is not None else None
        self._rollout = self._new_rollout(take)
        self._waiting: list[Waiting] = []
        self._landing: list[Waiting] = []  # on the chunk that is being drawn
        self._rewind_to: Snapshot | None = None
        self._restart = False
        self._wake = asyncio.Event()
        self._held, self._over = False, False

    @property
    def catching_up(self) -> int | None:
        """The latent at which a continued take begins to be seen; None once it is."""
        return self._past.length if self._past is not None else None

    def timeline(self) -> TimelineEvent:
        """List the cues of the take as it is now."""
        return TimelineEvent(take=self.line.id, parent=self.line.parent, cues=self.line.landed)

    # -- what it is told ------------------------------------------------------------------------------------------

    def land(self, entry: CueLine, number: int | None) -> None:
        """Have a cue land on the next chunk; ValueError if too many wait for it."""
        if len(self._waiting) >= 64:
            raise ValueError("too many cues wait for the next chunk")
        self._waiting.append(Waiting(number, entry, self._clock()))
        self.wake()

    def rewind(self, latent: int) -> None:
        """Go back before the next chunk; ValueError if that latent is not held."""
        oldest = self.snapshots.oldest()
        if latent > self.line.length or (latent and (oldest is None or latent < oldest)):
            raise ValueError(f"latent {latent} is not held; one can go back to {oldest}")
        self._restart = latent == 0
        # held from here on: a chunk that is being drawn may push the oldest out of the budget before the way back begins
        self._rewind_to = self.snapshots.at(latent) if latent else None
        self.wake()

    def undo(self) -> int | None:
        """Take back the newest cue: forget one that waits, and give its message's number; go back before one that landed.

        ValueError if there is none.
        """
        newest = next((w for w in reversed(self._waiting) if w.number is not None), None)
        if newest is not None:
            self._waiting = [w for w in self._waiting if w is not newest]
            return newest.number
        last = max((e.landed or 0 for e in self.line.landed), default=0)
        drawing = bool(self._landing) and self.line.length > 0  # what lands on the first chunk is the take itself
        if not (last or drawing):
            raise ValueError("there is nothing to undo")
        self.rewind(self.line.length if drawing else last)
        return None

    def wake(self) -> None:
        """Something changed that drawing may wait for."""
        self._wake.set()

    def hold(self, *, held: bool) -> None:
        """Draw nothing while held, but go back if asked to."""
        self._held = held
        self.wake()

    def end(self) -> None:
        self._over = True
        self.wake()

    def close(self) -> None:
        """Write the take file and let go of all that takes memory."""
        self._keep(lambda files: files.end(self.line))
        self._keep(TakeFiles.close)
        self.snapshots = Snapshots(0)

    def recording(self) -> Path:
        """Where a new recording of the line goes; ValueError if nothing is kept on disk."""
        if self._files is None:
            raise ValueError("nothing can be recorded: takes are not kept on disk here")
        return self._files.recording(self.line)

    def _keep(self, write: Callable[[TakeFiles], None]) -> None:
        """Write to the line's files. Whatever the disk does, the stream goes on: the take is then kept in memory only."""
        if self._files is None:
            return
        try:
            write(self._files)
        except OSError as e:
            self._no_longer_kept(e)

    def _no_longer_kept(self, e: OSError) -> None:
        if self._files is not None:
            self._files = None
            why = f"the take is no longer kept on disk ({e.strerror or e}): download it before you end it"
            self._tell(WarningEvent(why=why))

    # -- what it does ---------------------------------------------------------------------------------------------

    async def run(self, begun: Callable[[], None]) -> None:
        """Draw until the end; `begun` is called when a chunk has come."""
        self._keep(lambda files: files.begin(self.line))
        frames = self._model.entry.rollout.grid.frames
        while not self._over:
            await self._turn_back()
            if self._past is not None:
                await self._catch_up(self._past)
                continue
            ready = may_draw(self.look_ahead, unplayed=self._unplayed, chunk=frames, production=self.figures.production)
            if self._held or not ready:
                await self._wake.wait()
                self._wake.clear()
                continue
            self._landing, self._waiting = self._split()
            entries = merged([w.entry for w in self._landing])
            chunk = await self._draw(entries)
            if chunk is None:
                self._waiting, self._landing = self._landing + self._waiting, []
                continue
            self._arrived(chunk, entries)
            begun()
            self._grow(*await self._settle(), entries)
            self._landing = []

    def _split(self) -> tuple[list[Waiting], list[Waiting]]:
        """The waiting cues that land on the next chunk, and those that wait on: `lossless` gives every prompt its chunk."""
        waiting = self._waiting
        if self.look_ahead is not LookAhead.LOSSLESS:
            return waiting, []
        later = next((i for i, w in enumerate(waiting) if i and w.entry.prompt is not None), len(waiting))
        return waiting[:later], waiting[later:]

    @property
    def _unplayed(self) -> int:
        """Frames of the line that are still to be shown."""
        return len(self._playout)

    def _new_rollout(self, take: Take) -> Rollout:
        return Rollout(self._model, take)

    async def _turn_back(self) -> None:
        """Before a chunk: leave what is drawn, if that was asked for."""
        if self._restart or self._rewind_to is not None:
            await self._go_back(self._rewind_to)

    async def _draw(self, entries: list[CueLine]) -> Chunk | None:
        """The next chunk, on which these cues land; None if it was given up."""
        return await self._device.run(lambda: self._rollout.step(cues_of(entries)))

    async def _settle(self) -> tuple[Boundary, Snapshot, float]:
        """Bring the newest chunk to its boundary, while its frames are shown; its snapshot, and the seconds that this took.

        A prompt that waits already will have the cache computed anew, so the clean pass is left out.
        """
        landing, _ = self._split()
        coming = cues_of(merged([w.entry for w in landing]))
        return await self._device.run(lambda: self._settled(coming))

    def _settled(self, coming: list[Cue]) -> tuple[Boundary, Snapshot, float]:
        began = time.perf_counter()
        boundary = self._rollout.settle(coming)
        return boundary, self._rollout.snapshot(), time.perf_counter() - began

    async def _catch_up(self, past: TakeHistory) -> None:
        """Draw the next chunk as it was, or be done with the past."""
        at = self.line.length
        if at >= past.length:
            self._past = None
            return
        own = len(past.take.cues)  # the rollout lands those by itself
        entries = [e for e in past.landed[own:] if e.landed == at]
        await self._device.run(lambda: self._rollout.step(cues_of(entries)))
        boundary, snapshot, seconds = await self._device.run(lambda: self._settled([]))
        self._grow(boundary, snapshot, seconds, entries)
        if boundary.hash != past.hashes.get(at, boundary.hash) and not self._differs:
            self._differs = True
            why = f"from latent {at} on the replay differs from what was seen: another machine, version or weights"
            self._tell(WarningEvent(why=why))

    def _grow(self, boundary: Boundary, snapshot: Snapshot, settling: float, entries: list[CueLine]) -> None:
        """A chunk at its boundary becomes part of the line, with the cues that landed on it."""
        self.snapshots.add(snapshot)
        if boundary.first > 0:  # the first chunk warms things up
            self.figures.drew(boundary.seconds["draw"] + boundary.seconds["decode"], settling)
            if boundary.disagreement is not None:  # and begins as the picture that it was given, if there is one
                self.figures.tied(boundary.disagreement)
        own = self.line.take.cues if boundary.first == 0 else []
        entries = [e.model_copy(update={"landed": boundary.first}) for e in [*own, *entries]]
        self.line.landed += entries
        self.line.hashes[boundary.first] = boundary.hash
        self.line.length = boundary.first + boundary.latents
        self._keep(lambda files: files.chunk(boundary, entries))
        if entries:
            self._tell(self.timeline())

    def _arrived(self, chunk: Chunk, entries: list[CueLine]) -> None:
        """A chunk is drawn, with these cues: its frames queue up at once, before its clean pass."""
        ahead = len(self._playout)
        for waiting in self._landing:
            self.figures.waited(self._clock() - waiting.since + ahead / self._model.entry.fps)
            if waiting.number is not None:
                frame = self._playout.released + ahead
                self._tell(LiveEvent(id=waiting.number, latent=chunk.first, frame=frame))
        own = self.line.take.cues if chunk.first == 0 else []
        cut = any(e.cut for e in [*own, *entries])
        answers = tuple(w.number for w in self._landing if w.number is not None)
        head, *rest = self._shown(chunk)
        self._queue([replace(head, cut=cut, answers=answers), *rest])

    def _shown(self, chunk: Chunk) -> list[Shown]:
        """The frames of a chunk, as they go to the playout."""
        begin = frames_before(chunk.first)
        return [Shown(f, chunk.first, frame=i) for i, f in enumerate(chunk.frames, begin)]

    def _queue(self, frames: list[Shown]) -> None:
        self._playout.add(frames)

    async def _go_back(self, snapshot: Snapshot | None) -> None:
        """Branch at a snapshot, or at the start: what lay ahead is another take's."""
        self._rewind_to, self._restart, self._past = None, False, None
        left, at = self.line, snapshot.index if snapshot else 0
        self.snapshots.drop_after(at)
        if snapshot is None:
            self._rollout = await self._device.run(lambda: self._new_rollout(left.take))
        else:
            self._rollout.state = await self._device.run(lambda: self._model.generator.restore(snapshot))
            self.snapshots.add(snapshot)
        self.line = left.branched(at)
        self._playout.clear()
        self._keep(lambda files: files.end(left))
        self._keep(lambda files: files.begin(self.line))
        self._tell(self.timeline())
