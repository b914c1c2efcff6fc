"""Draw the chunks of a session ahead of its playhead: the drawing half, whose other half is `playout`."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from models.checkpoints.assemble import Model
from models.errors import UserError
from models.time_grid import frames_before
from streaming.live.camera_recording import CameraRecording
from streaming.live.catching_up import CatchUpPace
from streaming.live.clock import Clock
from streaming.live.device import DeviceThread
from streaming.live.device_rollout import DeviceRollout
from streaming.live.pacing import LookAhead, frames_left, may_draw
from streaming.live.playout import Playout, frames_of
from streaming.live.take_writer import TakeWriter
from streaming.live.text_queue import TextError
from streaming.live.timings import Timings
from streaming.live.waiting_cues import (
    WaitingCue,
    WaitingCues,
    is_hold,
    is_recache,
    kept_of,
    merged,
    require_new,
    with_recache,
)
from streaming.media.ingest import Camera
from streaming.rollout import Boundary, Chunk, Rollout, record_of
from streaming.speech.early_voice import Redrawn, redrawn
from streaming.speech.interruptions import DrawingInterruptions, GivenUpError, Interruptions
from streaming.speech.live_sound import LiveSound
from streaming.speech.session_sound import SessionSound
from streaming.take.footage import TakeFootage
from streaming.take.history import TakeHistory, new_id
from streaming.take.picture_cue import NOTHING
from streaming.take.take_file import CueLine, Take
from streaming.take.take_loras import offered_loras
from streaming.transport.events import (
    CueToCome,
    Event,
    LiveEvent,
    RefusedEvent,
    TakenBackEvent,
    TimelineEvent,
    WarningEvent,
)

SNAPSHOT_BUDGET_MB = 512


class ChunkProducer:
    """Draw a take as far ahead of its playout as the look-ahead dial allows.

    A turn of its loop lands the cues that wait, draws a chunk, queues the chunk's frames and brings it to its boundary,
    at which the take's history grows. All methods belong to the event loop; only the rollout runs on the device thread.
    """

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
        spare: Callable[[], bool] = lambda: True,
        sound: SessionSound | None = None,
        interruptions: DrawingInterruptions | None = None,
        camera: Camera | None = None,
    ) -> None:
        """Draw `take` into `playout`; `tell` gets events.

        The take's journal and file are written into `folder` (None: nowhere). With a `past` the take branches at the
        end of that one: its chunks are drawn anew first, without being shown, at the pace that `spare` allows (see
        `CatchUpPace`). A `sound` drives the model, and `interruptions` say when chunks that wait to be shown must be
        drawn anew. The take may follow a `camera`; what it is given of it is recorded into `folder`.
        """
        self.history = TakeHistory(new_id(), take.with_noise(), f"{past.id}@{past.length}" if past else None)
        self._past, self._differs = past, False
        self.look_ahead = look_ahead
        self._grid = model.entry.rollout.grid
        self.timings = Timings(self._grid.frames, model.entry.fps)
        self._pace = CatchUpPace(self._grid.frames / model.entry.fps, spare, clock)
        self.record = record_of(model, model.generator.device, offered_loras(take, model))
        self._model, self._playout, self._tell, self._clock = model, playout, tell, clock
        size = take.width_height(model.entry.size)
        self._writer = TakeWriter(folder, self.record, tell)
        self._camera = CameraRecording(camera, size, model.entry.rollout.latents_ahead, self._writer, tell)
        self.footage = TakeFootage(model.entry, size, folder, camera=self._camera.footage)
        self._sound = sound
        self._interruptions: DrawingInterruptions = interruptions or Interruptions()
        self._waiting = WaitingCues()
        self._landing: list[WaitingCue] = []  # on the chunk that is being drawn
        self._rewind_to: int | None = None  # the boundary to go back to before the next chunk, or 0 for the start
        self._settling: asyncio.Future[None] | None = None  # of the newest chunk whose frames were queued
        self._wake = asyncio.Event()
        self._held, self._over = False, False
        self._pictured = ""  # the take of which a picture is kept
        self._anew: int | None = None  # the latent of a chunk that takes the place of one that was shown
        if sound is not None:
            self._writer.begin_sound(self.history, sound)
        self._rollout = DeviceRollout(device, self._new_rollout)

    @property
    def catching_up(self) -> int | None:
        """Return the latent at which a continued take begins to be shown; None once its past is drawn anew."""
        return self._past.length if self._past is not None else None

    @property
    def oldest(self) -> int | None:
        """Return the earliest latent that `rewind` can reach, apart from 0; None before the first boundary."""
        return self._rollout.oldest

    @property
    def held_mb(self) -> float:
        """Return the megabytes of the snapshots that `rewind` goes back to."""
        return self._rollout.held_mb

    def timeline(self) -> TimelineEvent:
        """List the cues of the take as it is now."""
        to_come = [
            CueToCome(id=cue.number, prompt=cue.line.prompt, at=cue.at, blend=cue.line.blend, cut=cue.line.cut)
            for cue in self._waiting.to_come()
            if cue.number is not None and cue.line.prompt is not None and cue.at is not None
        ]
        return TimelineEvent(
            take=self.history.id, parent=self.history.parent, cues=self.history.landed, to_come=to_come
        )

    # -- requests -------------------------------------------------------------------------------------------------

    def land(self, line: CueLine, number: int | None, *, at: int | None = None, replaces: int | None = None) -> None:
        """Have a cue of the command `number` land on the next chunk, or on the first one from latent `at` on.

        It takes the place of the prompt of the command that it `replaces`. UserError if the cue names something that is
        not there. ValueError if the prompt to replace does not wait, if another one waits for the same chunk, if a cue
        of the same number has not landed, or if too many wait. After an error what waits is as before.
        """
        due = self._waiting.next(self.look_ahead, self.history.length)
        self._rollout.check(line, [w.line for w in (*self._landing, *due)])
        if self._settling is None or self._settling.done():  # else those that land are live, and their numbers free
            require_new(number, self._landing)
        old = None if replaces is None else self._waiting.of(replaces)
        if old is not None and old.line.prompt is None:
            raise ValueError(f"command {replaces} asked for no prompt; take its cue back instead of replacing it")
        if at is not None:
            self._waiting.require_free(at, old, self._grid, self.history.length)
        self._waiting.add(WaitingCue(line, number, self._clock(), at), old)
        if at is not None or replaces is not None:
            self._tell(self.timeline())
        self.wake()

    def take_back(self, number: int) -> None:
        """Remove the cue of the command `number`, which has not landed; ValueError if it does not wait."""
        self._waiting.remove(number)
        self._tell(self.timeline())

    def rewind(self, latent: int) -> None:
        """Go back to the last boundary at or before `latent` (0: the start) before the next chunk is drawn.

        ValueError if its snapshot is not kept any more. The boundary is held from here on, because a chunk that is
        being drawn may push the oldest snapshot out of the budget.
        """
        if self._sound is not None:
            raise ValueError("an avatar's take has no way back; interrupt what it says, or begin a new one")
        if latent > self.history.length:
            held = "nothing is yet" if self.oldest is None else f"one can go back to {self.oldest}"
            raise ValueError(f"latent {latent} is not held; {held}")
        self._rewind_to = self._rollout.hold(latent) if latent else 0
        self.wake()

    def undo(self) -> int | None:
        """Take back the newest cue: remove it if it waits and return its command's number, or go back before it.

        A cue behind the boundary that an earlier undo or rewind will go back to is gone already. ValueError if there is
        none to take back.
        """
        if (number := self._waiting.undo()) is not None:
            return number
        end = self.history.length if self._rewind_to is None else self._rewind_to
        # the cues that land on the first chunk are the take itself
        drawing = bool(self._landing) and self._rewind_to is None and end > 0
        asked = (e for e in self.history.landed if not is_recache(e))
        last = max((e.landed for e in asked if e.landed is not None and e.landed < end), default=0)
        if not (last or drawing):
            raise ValueError("there is nothing to undo")
        self.rewind(end if drawing else last)
        return None

    def refuse(self, number: int, error: TextError) -> None:
        """Remove the cue of the command `number`, whose text cannot be encoded, and say so.

        One that is landing already is refused with its chunk, or lands if its text can be encoded after all.
        """
        if self._waiting.refuse(number, error.text):
            self._tell(RefusedEvent(id=number, why=str(error)))
            self._tell(self.timeline())  # which may have listed it

    def wake(self) -> None:
        """Have the loop look again whether to draw, after something has changed."""
        self._wake.set()

    def hold(self, *, held: bool) -> None:
        """Draw no chunk while held; a rewind is still carried out."""
        self._held = held
        self.wake()

    def end(self) -> None:
        """Draw no further chunk."""
        self._over = True
        self.wake()

    async def close(self) -> None:
        """Write the take file, and release snapshots and files; waits for the boundary of a chunk that may be seen."""
        if self._settling is not None:
            await asyncio.wait([self._settling])
        self._writer.end(self.history)
        await self._writer.close()
        self._rollout.forget()
        if self._sound is not None:
            self._sound.close()

    def recording_path(self) -> Path:
        """Return the path of a new recording of the take; ValueError if nothing is kept on disk."""
        return self._writer.recording_path(self.history)

    # -- work -----------------------------------------------------------------------------------------------------

    async def run(self, begun: Callable[[], None]) -> None:
        """Draw until `end` is called; `begun` is called after every chunk whose frames were queued."""
        self._writer.begin(self.history)
        while not self._over:
            await self._go_back_if_asked()
            if self._past is not None:
                await self._catch_up(self._past)
                continue
            if self._held or not self._may_draw():
                await self._wake.wait()
                self._wake.clear()
                continue
            self._leave_ended_record()
            self._landing = self._possible(self._waiting.take(self.look_ahead, self.history.length))
            drawn = await self._draw(merged(self._landing))
            if drawn is None:
                self._waiting.put_back(self._landing)
                self._landing = []
                continue
            chunk, lines = drawn
            lines = with_recache(lines, chunk)
            self._queue_frames(chunk, lines)
            begun()
            self._settling = asyncio.ensure_future(self._settle(lines, chunk.first + chunk.latents))
            await asyncio.shield(self._settling)

    async def _settle(self, lines: Sequence[CueLine], end: int) -> None:
        """Bring the chunk whose frames were queued, and on which these cues landed, to its boundary at latent `end`."""
        # a prompt that waits already will recompute the cache, so the clean pass is left out
        coming = merged(self._waiting.next(self.look_ahead, end))
        boundary, seconds = await self._rollout.settle(coming)
        self._grow(boundary, seconds, await self._with_hashes(boundary, lines))
        self._landing = []

    def _leave_ended_record(self) -> None:
        """Have the take follow nothing from the next chunk on if what it follows is a record that has ended."""
        if any(waiting.line.source for waiting in self._waiting.next(self.look_ahead, self.history.length)):
            return
        if self._camera.ends(self._rollout.following):
            self._waiting.put_back([WaitingCue(CueLine(source=NOTHING), None, self._clock())])

    def _possible(self, landing: list[WaitingCue]) -> list[WaitingCue]:
        """Return the cues that can land; of others, as after a rewind behind what they name, a warning is told."""
        possible: list[WaitingCue] = []
        for waiting in landing:
            try:
                self._rollout.check(waiting.line, [w.line for w in possible])
            except UserError as e:
                self._tell(WarningEvent(why=str(e)))
            else:
                possible.append(waiting)
        return possible

    def _may_draw(self) -> bool:
        # where there is sound, the frames that wait in the playout may be about to be drawn anew
        unplayed = len(self._playout) if self._sound is None else self._unplayed(self._sound)
        return may_draw(self.look_ahead, unplayed=unplayed, chunk=self._grid.frames, production=self.timings.production)

    def _new_rollout(self) -> Rollout:
        drive = self._sound.new_drive() if self._sound is not None else None
        return Rollout(
            self._model,
            self.history.take,
            drive=drive,
            keep_mb=SNAPSHOT_BUDGET_MB,
            footage=self.footage,
            faces=self.history.take.faces,
        )

    async def _go_back_if_asked(self) -> None:
        """Carry out rewinds, and the interruptions of an avatar, before the next chunk is begun."""
        while self._rewind_to is not None:  # another one may come while the device is waited for
            await self._branch(self._rewind_to)
        while self._sound is not None and (frame := self._interruptions.take()) is not None:
            await self._draw_anew(frame, self._sound)
        if isinstance(self._sound, LiveSound) and self._past is None and not self._held:  # turns of a dialogue wait
            await self._begin_sooner(self._sound)

    def _unplayed(self, sound: SessionSound) -> int:
        """Count the frames of an avatar's film that are drawn and still to be shown; below 0 it is late."""
        length = self.history.length
        return frames_before(length) + (sound.held(length - 1) if length else 0) - self._playout.next_frame

    def _hold(self, sound: SessionSound, lines: Sequence[CueLine]) -> list[CueLine]:
        """Return the cue that holds the picture until the next chunk can be drawn, if it will not be drawn in time.

        A chunk that is drawn anew takes its former place.
        """
        if self._anew == self.history.length or not self._playout.playing or any(map(is_hold, lines)):
            return []
        late = math.ceil(self.timings.lead) - self._unplayed(sound)
        most = sound.longest_hold(self.history.length)
        late = late if most is None else min(late, most)
        return [CueLine(hold=late)] if late > 0 and self.history.length else []

    async def _draw(self, lines: list[CueLine]) -> tuple[Chunk, list[CueLine]] | None:
        """Draw the next chunk, on which these cues land, and return it with all that did; None if nothing was drawn.

        That is so if an interruption or the end made the chunk useless, or a prompt's text cannot be encoded.
        """
        generation = self._interruptions.generation
        if self._sound is not None:
            await self._sound.wait(
                self.history.length, lambda: generation == self._interruptions.generation and not self._over
            )
            if generation != self._interruptions.generation or self._over:
                return None
            lines = [*lines, *self._hold(self._sound, lines)]
            self._sound.give(self.history.length, sum(line.hold or 0 for line in lines))
        began = self._clock()
        try:
            chunk = await self._rollout.step(lines, self._interruptions.check)
        except GivenUpError:
            return None
        except TextError as e:
            self._refuse_landing(e)
            return None
        if generation != self._interruptions.generation:
            return None
        self._anew = None
        if self.history.length:  # the first chunk is slower
            self.timings.led(self._clock() - began)
        return chunk, lines

    def _refuse_landing(self, error: TextError) -> None:
        """Drop the prompts that land on the next chunk and cannot be encoded, and say so; other cues still land."""
        for waiting in [w for w in self._landing if w.line.prompt == error.text]:
            self._landing.remove(waiting)
            self._tell(
                WarningEvent(why=str(error))
                if waiting.number is None
                else RefusedEvent(id=waiting.number, why=str(error))
            )

    async def _catch_up(self, past: TakeHistory) -> None:
        """Draw the next chunk of the past with the cues that landed on it, or note that the past is complete.

        Return without a chunk if it is too early for one.
        """
        at = self.history.length
        if at >= past.length:
            self._past = None
            return
        if (delay := self._pace.delay()) > 0:
            await self._clock.wait(self._wake, delay)
            self._wake.clear()
            return
        own = len(past.take.cues)  # which the rollout lands by itself
        lines = [e for e in past.landed[own:] if e.landed == at]
        await self._rollout.step(lines)
        boundary, seconds = await self._rollout.settle()
        self._grow(boundary, seconds, await self._with_hashes(boundary, lines))
        if boundary.hash != past.hashes.get(at, boundary.hash) and not self._differs:
            self._differs = True
            why = f"from latent {at} on the replay differs from what was seen: another machine, version or weights"
            self._tell(WarningEvent(why=why))

    def _queue_frames(self, chunk: Chunk, lines: Sequence[CueLine]) -> None:
        """Queue the frames of a chunk, on which these cues landed, and tell which commands are live with it.

        Of commands whose cues gave way to newer ones it is told that they were taken back.
        """
        ahead = len(self._playout)
        kept = kept_of(self._landing)
        live = {w.number for w in kept}
        for waiting in self._landing:
            if waiting.number is not None and waiting.number not in live:
                self._tell(TakenBackEvent(id=waiting.number))
        for waiting in kept:
            if waiting.at is None:
                self.timings.waited(self._clock() - waiting.since + ahead / self._model.entry.fps)
            if waiting.number is not None:
                self._tell(LiveEvent(id=waiting.number, latent=chunk.first, frame=self._playout.released + ahead))
        if chunk.first > 0 and self._pictured != self.history.id:  # the first chunk may still be finding its picture
            self._pictured = self.history.id
            self._writer.picture(self.history, chunk.frames[-1])
        own = self.history.take.cues if chunk.first == 0 else []
        answers = tuple(w.number for w in kept if w.number is not None)
        frames = frames_of(chunk, cut=any(e.cut for e in [*own, *lines]), answers=answers)
        if self._sound is not None:
            self._playout.redraw(self._sound.in_film(frames, chunk.first))
        else:
            self._playout.add(frames)

    async def _with_hashes(self, boundary: Boundary, lines: Sequence[CueLine]) -> list[CueLine]:
        """Return all cues that landed on a chunk with the hashes of their files, each of which may be a long film."""
        own = self.history.take.cues if boundary.first == 0 else []
        hashed = self.footage.hashed
        return [await asyncio.to_thread(hashed, cue) if cue.files() else cue for cue in (*own, *lines)]

    def _grow(self, boundary: Boundary, settling: float, lines: Sequence[CueLine]) -> None:
        """Add a chunk at its boundary to the history and the journal, with all cues that landed on it."""
        if boundary.first > 0:  # the first chunk is slower, as caches and kernels warm up, and may have its own length
            self.timings.drew(boundary.seconds["draw"] + boundary.seconds["decode"], settling)
            if boundary.disagreement is not None:
                self.timings.fused(boundary.disagreement)
        landed = [cue.model_copy(update={"landed": boundary.first}) for cue in lines]
        landed = self._camera.recorded(self.history.id, self._rollout.following, landed)
        self.history.landed += landed
        self.history.hashes[boundary.first] = boundary.hash
        self.history.length = boundary.first + boundary.latents
        self._writer.chunk(boundary, landed)
        if not all(map(is_hold, landed)):
            self._tell(self.timeline())

    # -- the way back ---------------------------------------------------------------------------------------------

    async def _branch(self, at: int) -> None:
        """Begin another take at a boundary, or at the start (0); the chunks after it belong to the take before."""
        self._rewind_to, self._past = None, None
        left, self.history = self.history, self.history.branched(at)
        # before the device is waited for, so that a rewind or an undo that comes meanwhile counts from here
        self._writer.end(left)
        self._camera.copy(left, self.history, at)
        self._writer.begin(self.history)
        self._tell(self.timeline())
        await self._rollout.go_back(at)
        self._playout.clear()

    async def _draw_anew(self, frame: int, sound: SessionSound) -> None:
        """Draw anew, from where that is seen soonest, without what was to be heard after frame `frame`.

        The take stays the same.
        """
        held = sound.held(max(0, self.history.length - 1))
        at = self._interruptions.soonest(
            self._grid,
            frame=frame - held,
            next_frame=self._playout.next_frame - held,
            production=self.timings.production,
            length=self.history.length,
        )
        await self._rollout.go_back(at)
        sound.silence(frame, at, self._playout.next_frame)
        if at < self.history.length:
            self._redraw_from(at)
        earlier = self._waiting.take_hushes()  # of interruptions that have not landed yet
        hushes = sound.hush_cues(frame, at, earlier)
        self._waiting.put_back([WaitingCue(line, None, self._clock()) for line in hushes])

    def _redraw_from(self, at: int) -> None:
        """Forget the chunks from latent `at` on, which will be drawn anew with the cues that landed on them."""
        self._anew = at
        again = [
            e.model_copy(update={"at": 0, "landed": None})
            for e in self.history.shortened(at)
            # where a recache is still needed, the rollout adds it; holds of chunks behind it are found anew
            if not is_recache(e) and (not is_hold(e) or e.landed == at)
        ]
        self._waiting.put_back([WaitingCue(line, None, self._clock()) for line in again])
        self._writer.redrawn(at)

    async def _begin_sooner(self, sound: LiveSound) -> None:
        """Draw the newest chunk anew where a voice that has arrived in silence is then heard sooner."""
        at = self._grid.start(self._grid.number(max(0, self.history.length - 1)))
        new = self._redrawn(sound) if at and self._playout.playing else None
        if new is None or not sound.may_begin_sooner(at, sound.start(at, new.frame), new.further):
            return
        generation = self._interruptions.generation
        await self._rollout.go_back(at)
        if generation == self._interruptions.generation:
            sound.begin_sooner(sound.start(at, max(new.frame, self._playout.next_frame)))
        self._redraw_from(at)

    def _redrawn(self, sound: LiveSound) -> Redrawn | None:
        """Return what the newest chunk would show if it was drawn anew now; None if that is not known or too slow."""
        busy, production, chunk = self.timings.real_time_factor, self.timings.production, self._grid.frames
        if busy is None:
            return None
        return redrawn(
            next_frame=self._playout.next_frame,
            left=self._unplayed(sound),
            chunk=chunk,
            lead=self.timings.lead,
            settling=busy * chunk - production,
            ahead=frames_left(self.look_ahead, chunk=chunk, production=production),
        )
