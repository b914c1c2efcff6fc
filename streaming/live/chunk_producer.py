"""The drawing half of a session: cues land, chunks are drawn ahead of the playhead, the take's history grows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from models.checkpoints.assemble import Model
from models.cue import Cue
from models.time_grid import frames_before
from streaming.live.clock import Clock
from streaming.live.device import DeviceThread
from streaming.live.pacing import LookAhead, may_draw
from streaming.live.playout import Playout, Shown
from streaming.live.timings import Timings
from streaming.live.waiting_cues import WaitingCue, WaitingCues, cues_of, merged
from streaming.rollout import Boundary, Chunk, Rollout, record_of
from streaming.speech.interruptions import GivenUpError, Interruptions
from streaming.speech.live_sound import LiveSound
from streaming.take.history import TakeFiles, TakeHistory, new_id
from streaming.take.take_file import CueLine, Take
from streaming.transport.events import Event, LiveEvent, TimelineEvent, WarningEvent

SNAPSHOT_BUDGET_MB = 512


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
        clock: Clock,
        past: TakeHistory | None = None,
        sound: LiveSound | None = None,
        interruptions: Interruptions | None = None,
    ) -> None:
        """Draw `take` into `playout`; `tell` gets events.

        With a folder the take's journal and file are kept there. With a `past` the take branches at its end, whose
        chunks are drawn anew first, unseen and as fast as the device can. With a `sound` the model is driven by it, and
        `interruptions` say when chunks that wait to be shown are drawn anew.
        """
        self.history = TakeHistory(new_id(), take, f"{past.id}@{past.length}" if past else None)
        self._past, self._differs = past, False
        self.look_ahead = look_ahead
        self.timings = Timings(model.entry.rollout.grid.frames, model.entry.fps)
        self.record = record_of(model, model.generator.device)
        self._model, self._device, self._playout, self._tell, self._clock = model, device, playout, tell, clock
        self._files = TakeFiles(folder, self.record) if folder is not None else None
        self._sound, self._interruptions = sound, interruptions or Interruptions()
        self._waiting = WaitingCues()
        self._landing: list[WaitingCue] = []  # on the chunk that is being drawn
        self._rewind_to: int | None = None  # a boundary that is held, or 0 for the start
        self._wake = asyncio.Event()
        self._held, self._over = False, False
        self._keep(self._keep_sound)
        self._rollout = self._new_rollout()

    @property
    def catching_up(self) -> int | None:
        """Return the latent at which a continued take begins to be seen; None once it is."""
        return self._past.length if self._past is not None else None

    @property
    def oldest(self) -> int | None:
        """Return the earliest latent that one can go back to, but for the start; None before the first boundary."""
        return self._rollout.oldest()

    @property
    def held_mb(self) -> float:
        """Return the megabytes that the way back takes."""
        return self._rollout.held_mb()

    def timeline(self) -> TimelineEvent:
        """List the cues of the take as it is now."""
        return TimelineEvent(take=self.history.id, parent=self.history.parent, cues=self.history.landed)

    # -- requests -------------------------------------------------------------------------------------------------

    def land(self, line: CueLine, number: int | None) -> None:
        """Have a cue land on the next chunk; ValueError if too many wait for it."""
        self._waiting.add(WaitingCue(line, number, self._clock()))
        self.wake()

    def rewind(self, latent: int) -> None:
        """Go back before the next chunk; ValueError if that latent is not held."""
        if self._sound is not None:
            raise ValueError("an avatar's take has no way back; interrupt what it says, or begin a new one")
        if latent > self.history.length:
            raise ValueError(f"latent {latent} is not held; one can go back to {self.oldest}")
        # held from here on: a chunk that is being drawn may push the oldest out of the budget first
        self._rewind_to = self._rollout.hold(latent) if latent else 0
        self.wake()

    def undo(self) -> int | None:
        """Take back the newest cue: remove it if it waits and return its command's number, or go back before it.

        ValueError if there is none.
        """
        number = self._waiting.undo()
        if number is not None:
            return number
        last = max((e.landed or 0 for e in self.history.landed), default=0)
        drawing = bool(self._landing) and self.history.length > 0  # what lands on the first chunk is the take itself
        if not (last or drawing):
            raise ValueError("there is nothing to undo")
        self.rewind(self.history.length if drawing else last)
        return None

    def wake(self) -> None:
        """Look again whether to draw: something has changed."""
        self._wake.set()

    def hold(self, *, held: bool) -> None:
        """Draw nothing while held, but go back if asked to."""
        self._held = held
        self.wake()

    def end(self) -> None:
        """Draw no further chunk."""
        self._over = True
        self.wake()

    def close(self) -> None:
        """Write the take file and release snapshots and files."""
        self._keep(lambda files: files.end(self.history))
        self._keep(TakeFiles.close)
        self._rollout.forget()
        if self._sound is not None:
            self._sound.close()

    def recording(self) -> Path:
        """Return where a new recording of the take goes; ValueError if nothing is kept on disk."""
        if self._files is None:
            raise ValueError("nothing can be recorded: takes are not kept on disk here")
        return self._files.recording(self.history)

    # -- work -----------------------------------------------------------------------------------------------------

    async def run(self, begun: Callable[[], None]) -> None:
        """Draw until the end; `begun` is called when a chunk has come."""
        self._keep(lambda files: files.begin(self.history))
        while not self._over:
            await self._turn_back()
            if self._past is not None:
                await self._catch_up(self._past)
                continue
            if self._held or not self._may_draw():
                await self._wake.wait()
                self._wake.clear()
                continue
            self._landing = self._waiting.take(self.look_ahead)
            lines = merged(self._landing)
            chunk = await self._draw(lines)
            if chunk is None:
                self._waiting.put_back(self._landing)
                self._landing = []
                continue
            self._arrived(chunk, lines)
            begun()
            self._grow(*await self._settle(), lines)
            self._landing = []

    def _may_draw(self) -> bool:
        # of a film with sound, what waits in the playout may be about to be drawn anew
        unplayed = frames_before(self.history.length) - self._playout.next_frame if self._sound else len(self._playout)
        frames = self._model.entry.rollout.grid.frames
        return may_draw(self.look_ahead, unplayed=unplayed, chunk=frames, production=self.timings.production)

    def _new_rollout(self) -> Rollout:
        drive = self._sound.new_drive() if self._sound is not None else None
        return Rollout(self._model, self.history.take, drive=drive, keep_mb=SNAPSHOT_BUDGET_MB)

    async def _turn_back(self) -> None:
        """Leave what is drawn, if that was asked for, before the next chunk is begun."""
        if self._rewind_to is not None:
            await self._branch(self._rewind_to)
        while self._sound is not None and (frame := self._interruptions.take()) is not None:
            await self._draw_anew(frame, self._sound)

    async def _draw(self, lines: Sequence[CueLine]) -> Chunk | None:
        """Draw the next chunk, on which these cues land; None if it was given up."""
        generation = self._interruptions.generation
        if self._sound is not None:
            await self._sound.wait(
                self.history.length, lambda: generation == self._interruptions.generation and not self._over
            )
            if generation != self._interruptions.generation or self._over:
                return None
            self._give_sound(self._sound)
        step = self._rollout.step
        try:
            chunk = await self._device.run(lambda: step(cues_of(lines), self._interruptions.check))
        except GivenUpError:
            return None
        return chunk if generation == self._interruptions.generation else None

    def _give_sound(self, sound: LiveSound) -> None:
        given = sound.give(self.history.length)
        self._interruptions.gave(given)
        try:
            sound.keep(given)
        except OSError as e:
            self._no_longer_kept(e)

    async def _settle(self) -> tuple[Boundary, float]:
        """Bring the newest chunk to its boundary, while its frames are shown; return it and the seconds that took.

        A prompt that waits already will have the cache computed anew, so the clean pass is left out.
        """
        coming = cues_of(merged(self._waiting.next(self.look_ahead)))
        return await self._device.run(lambda: self._settled(coming))

    def _settled(self, coming: list[Cue]) -> tuple[Boundary, float]:
        began = time.perf_counter()
        return self._rollout.settle(coming), time.perf_counter() - began

    async def _catch_up(self, past: TakeHistory) -> None:
        """Draw the next chunk of the past as it was, or be done with it."""
        at = self.history.length
        if at >= past.length:
            self._past = None
            return
        own = len(past.take.cues)  # the rollout lands those by itself
        lines = [e for e in past.landed[own:] if e.landed == at]
        await self._device.run(lambda: self._rollout.step(cues_of(lines)))
        boundary, seconds = await self._device.run(lambda: self._settled([]))
        self._grow(boundary, seconds, lines)
        if boundary.hash != past.hashes.get(at, boundary.hash) and not self._differs:
            self._differs = True
            why = f"from latent {at} on the replay differs from what was seen: another machine, version or weights"
            self._tell(WarningEvent(why=why))

    def _arrived(self, chunk: Chunk, lines: Sequence[CueLine]) -> None:
        """Queue the frames of a chunk that is drawn, with these cues, before its clean pass."""
        ahead = len(self._playout)
        for waiting in self._landing:
            self.timings.waited(self._clock() - waiting.since + ahead / self._model.entry.fps)
            if waiting.number is not None:
                frame = self._playout.released + ahead
                self._tell(LiveEvent(id=waiting.number, latent=chunk.first, frame=frame))
        own = self.history.take.cues if chunk.first == 0 else []
        cut = any(e.cut for e in [*own, *lines])
        answers = tuple(w.number for w in self._landing if w.number is not None)
        begin = frames_before(chunk.first)
        frames = [Shown(picture, chunk.first, frame=i) for i, picture in enumerate(chunk.frames, begin)]
        frames[0] = replace(frames[0], cut=cut, answers=answers)
        if self._sound is not None:
            self._playout.redraw(self._sound.with_frames(frames))
        else:
            self._playout.add(frames)

    def _grow(self, boundary: Boundary, settling: float, lines: Sequence[CueLine]) -> None:
        """Add a chunk at its boundary to the history, with the cues that landed on it."""
        if boundary.first > 0:  # the first chunk warms things up
            self.timings.drew(boundary.seconds["draw"] + boundary.seconds["decode"], settling)
            if boundary.disagreement is not None:  # and begins as the picture that it was given, if there is one
                self.timings.fused(boundary.disagreement)
        own = self.history.take.cues if boundary.first == 0 else []
        landed = [e.model_copy(update={"landed": boundary.first}) for e in [*own, *lines]]
        self.history.landed += landed
        self.history.hashes[boundary.first] = boundary.hash
        self.history.length = boundary.first + boundary.latents
        self._keep(lambda files: files.chunk(boundary, landed))
        if landed:
            self._tell(self.timeline())

    # -- the way back ---------------------------------------------------------------------------------------------

    async def _branch(self, at: int) -> None:
        """Begin another take at a boundary, or at the start (0): what lay ahead belongs to the one before."""
        self._rewind_to, self._past = None, None
        left = self.history
        await self._go_back(at)
        self.history = left.branched(at)
        self._playout.clear()
        self._keep(lambda files: files.end(left))
        self._keep(lambda files: files.begin(self.history))
        self._tell(self.timeline())

    async def _draw_anew(self, frame: int, sound: LiveSound) -> None:
        """Go back to where silence after `frame` of the take is seen soonest; the take stays the same one."""
        at = self._interruptions.soonest(
            self._model.entry.rollout.grid,
            next_frame=self._playout.next_frame,
            production=self.timings.production,
            length=self.history.length,
        )
        await self._go_back(at)
        sound.silence(frame, at)
        now = self._clock()
        if at < self.history.length:
            again = [e.model_copy(update={"at": 0, "landed": None}) for e in self.history.shortened(at)]
            self._waiting.put_back([WaitingCue(line, None, now) for line in again])
            self._keep(lambda files: files.redrawn(at))
        silent_from = min([frame, *self._waiting.take_hushes()])  # of interruptions just before, too
        if sound.was_heard(silent_from, at):
            self._waiting.put_back([WaitingCue(CueLine(hush=silent_from), None, now)])

    async def _go_back(self, at: int) -> None:
        """Go back to a boundary, or to the start (0), and forget what lay ahead."""
        rollout = self._rollout
        if at:
            await self._device.run(lambda: rollout.go_back(at))
        else:
            self._rollout = await self._device.run(self._new_rollout)

    # -- files ----------------------------------------------------------------------------------------------------

    def _keep_sound(self, files: TakeFiles) -> None:
        """Keep portrait and sound beside the take, which names them."""
        if self._sound is not None:
            portrait, sound = f"{self.history.id}.png", f"{self.history.id}.wav"
            self._sound.keep_in(files.beside(portrait), files.beside(sound))
            names = {"reference": portrait, "sound": sound}
            self.history.take = self.history.take.model_copy(update=names)

    def _keep(self, write: Callable[[TakeFiles], None]) -> None:
        """Write to the take's files. If the disk fails, the stream goes on and the take is kept in memory only."""
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
