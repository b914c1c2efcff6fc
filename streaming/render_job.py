"""Render a take to a file: a rollout with a muxer, which goes on after a crash.

A checkpoint goes with every fragment, and chunks that are drawn again are compared with what they were. At every
fragment the film, the checkpoint and then the journal's line about both are synced, so that a power cut costs no more
than the fragment that was being drawn.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from models.checkpoints.assemble import Model
from models.checkpoints.film_latents import FilmFacts, write_film_latents
from models.checkpoints.snapshot_file import load_snapshot, save_snapshot
from models.checkpoints.synced_files import copy_beginning, make_folder, move, remove, write_whole
from models.checkpoints.weight_files import CheckpointError
from models.conditions import kept_by_codec
from models.snapshots import Snapshot
from models.time_grid import frames_before
from models.upscaler import Upscaler
from streaming.arrangement import ONE_FACE, Arrangement
from streaming.film_parts import FilmPart, begin_at
from streaming.media.video_writer import Frames, VideoWriter
from streaming.render_files import CHUNKS_PER_FRAGMENT, RenderError, RenderFiles
from streaming.render_report import Report
from streaming.render_resume import BEGIN_ANEW, PastRender, refuse_to_throw_away, shared_latents
from streaming.rollout import Boundary, DriveSource, Rollout, record_of
from streaming.speech.film_sound import with_sound
from streaming.speech.source_sound import parts_of, write_source_sound
from streaming.take.footage import TakeFootage, file_hash
from streaming.take.history import chunk_line
from streaming.take.journal import (
    VERSION,
    CheckpointLine,
    ChunkLine,
    EndLine,
    HeadLine,
    IntentLine,
    Journal,
    JournalLine,
    RenderFacts,
    landed_cue,
)
from streaming.take.take_file import CueLine, Take, latent_at
from streaming.take.take_loras import lora_names
from streaming.upscaled_pictures import UpscaledPictures

LITTLE = 22.0  # dB; pocket's codec keeps pictures of its world at 25 to 29


@dataclass(frozen=True)
class Place:
    """Say where a render goes on: after a fragment whose end has a checkpoint."""

    line: CheckpointLine
    snapshot: Snapshot


class Job:
    """Make one output file; beside it lie the working file and a folder with journal and checkpoints."""

    def __init__(
        self,
        take: Take,
        model: Model,
        out: Path,
        *,
        scale: int = 1,
        drive: Callable[[], DriveSource | None] = lambda: None,
        heard: str | None = None,
        portrait: str | None = None,
        intent: IntentLine | None = None,
        limit: int | None = None,
        footage: TakeFootage | None = None,
        arrangement: Arrangement = ONE_FACE,
        upscaler: Upscaler | None = None,
        part: FilmPart | None = None,
    ) -> None:
        """Render `take` to the file `out`, its pictures enlarged `scale` times, or by an `upscaler`.

        `drive` gives a new drive source for every rollout; `heard` and `portrait` name the sound and the picture that
        it reads: of a render of another sound or picture nothing is taken over. `intent` is what was asked for, and
        `limit` the latent from which on nothing is taken over (both as `request_of` gives them). `footage` reads the
        pictures and films that the take names. UserError if one of them is not there. With an `arrangement` of several
        faces, `drive` gives what drives each of them. With a `part`, only that is drawn of the film, and `out` gets the
        bytes that the film has there.
        """
        self.model, self.out, self.scale = model, out, scale
        self._footage = footage or TakeFootage(model.entry, take.width_height(model.entry.size))
        self._footage.codec = model.codec
        self.take = take.model_copy(update={"cues": [self._footage.hashed(cue) for cue in take.cues]})
        self._names_noise = take.noise is not None or take.record is not None
        self._drive, self._heard, self._portrait, self._limit = drive, heard, portrait, limit
        self._arrangement, self._upscaler = arrangement, upscaler
        self.files = RenderFiles(out)
        self.grid, self.fps = model.entry.rollout.grid, model.entry.fps
        self.chunks = take.chunks(self.grid, self.fps) if part is None else part.end
        self._part, self._first = part, 0 if part is None else self.grid.start(part.first)
        self.record = record_of(model, model.generator.device, lora_names(take))
        length = latent_at(take.length, self.fps)
        self._newest: Tensor | None = None  # clean latents of the film's end, where a take can go on from them
        self._intent = intent or IntentLine(type="intent", own=length, length=length)

    # -- where to begin --------------------------------------------------------------------------------------------

    def _facts(self) -> RenderFacts:
        return RenderFacts(
            seed=self.take.seed,
            noise=self.take.drawn_from.value,
            size=self.take.width_height(self.model.entry.size),
            scale=self.scale,
            heard=self._heard,
            portrait=self._portrait,
            layout=self._arrangement.name,
            upscaler=self._upscaler.fingerprint if self._upscaler else None,
            background=self.take.background,
            part=self._part.facts if self._part else None,
        )

    def place(self, past: PastRender, report: Report) -> Place | None:
        """Find the newest whole checkpoint whose past this take shares; None where the render begins at its start.

        `report` gets a note of whatever is passed over. RenderError if what is there is of another take or model. A
        take that names no generator of noise keeps that of what is there.
        """
        facts = self._facts()
        if not self._names_noise and past.head is not None and past.head.render is not None:
            facts = facts.model_copy(update={"noise": past.head.render.noise})
        if reason := past.cannot_go_on(facts, self.record):
            raise RenderError(f"{self.out}: cannot go on, {reason}; {BEGIN_ANEW}")
        if not past.lines:
            report.warnings.append("nothing to continue from; rendering from the start")
            return None
        report.warnings += [note for note in (past.damage, past.other_record(self.record)) if note]
        rollout = self.rollout(None)
        own = self.grid.start(self.chunks)
        end = shared_latents(
            self.grid,
            lambda at: past.agrees(at, self._landing_on(at), rollout.cues_at(at)),
            past.length(self.grid),
            self._first,
        )
        first = past.checkpoints[0].latent if past.checkpoints else 1 if past.chunks else 0
        if first > min(end, own):
            why = f"its take differs from latent {end} on" if end < own else "the take has become shorter"
            raise RenderError(f"{self.out}: cannot go on, {why}, before anything that was kept; {BEGIN_ANEW}")
        if end < min(own, past.length(self.grid)):
            report.warnings.append(f"the take differs from what was rendered from latent {end} on")
        found = self._newest_whole(past, min(end, own, *([] if self._limit is None else [self._limit])), report)
        if found is not None:
            self.take = self.take.with_noise(found.snapshot.take.noise)
        return found

    def rollout(self, snapshot: Snapshot | None = None) -> Rollout:
        """Return the rollout that draws the take, from its start, the cut of a part or a snapshot."""
        faces = self._arrangement.faces
        rollout = Rollout(self.model, self.take, snapshot, self._drive(), footage=self._footage, faces=faces)
        if snapshot is None and self._part is not None and self._part.cut:
            cut = self._part.cut
            lines = [line for at, line in self.take.landing(self.grid, self.fps) if at < cut]
            begin_at(self.model.generator, rollout.state, lines, cut)
        return rollout

    def _newest_whole(self, past: PastRender, end: int, report: Report) -> Place | None:
        """Find the newest place up to latent `end` whose film and checkpoint are as they were written."""
        generator = self.model.generator
        film = self.files.film
        whole = past.whole_fragments(film)
        if len(whole) < len(past.checkpoints):
            seconds = frames_before(whole[-1].latent if whole else 0) / self.fps
            report.warnings.append(f"{film.name} is damaged after {seconds:.1f} s; it is rendered anew from there")
        for line in reversed([line for line in whole if line.latent <= end]):
            path = self.files.checkpoint(line.latent)
            if not path.exists():  # the budget let it go
                continue
            try:
                return Place(line, load_snapshot(path, generator.device, generator.dtype))
            except CheckpointError:
                report.warnings.append(f"{path.name} is damaged; an older checkpoint is used")
        report.warnings.append("nothing whole to continue from; rendering from the start")
        return None

    def _landing_on(self, first: int) -> list[CueLine]:
        return [line for at, line in self.take.landing(self.grid, self.fps) if at == first]

    # -- the work --------------------------------------------------------------------------------------------------

    def run(
        self,
        *,
        go_on: bool,
        restart: bool = False,
        progress: Callable[[Boundary, Report], None] = lambda b, r: None,
    ) -> Report:
        """Render to the end, with `go_on` from the newest usable checkpoint; the output appears once it is whole.

        What an earlier run left is thrown away only with `restart`; together with `go_on`, only if it is of no use.
        RenderError if it is in the way, before anything is touched, or if the disk does not take the film.
        """
        began, report = time.perf_counter(), Report()
        try:
            make_folder(self.files.folder)
            with self.files.locked():
                past = PastRender(self.files)
                found = self._begin(past, report, go_on=go_on, restart=restart)
                self._render(past, found, report, began, progress)
                if self._part is not None:
                    move(self.files.partial, self.out)
                    return report
                landed = self.take.with_noise().model_copy(update={"record": self.record, "cues": self._landed()})
                landed = self._footage.kept_beside(landed, self.out)
                write_whole(self.files.take, landed.dumped().encode())
                report.warnings += self._publish(report.film_frames)
                self._keep_latents()
                self.files.thin(finished=True)
        except OSError as e:
            kept = "; what is done is kept, continue with --resume" if self.files.partial.exists() else ""
            raise RenderError(f"{self.out}: cannot be written ({e.strerror or e}){kept}") from e
        report.warnings += [*self._losses(), *self._footage.notes]
        report.wall_s = round(time.perf_counter() - began, 3)
        return report

    def _losses(self) -> list[str]:
        """Return a note on each picture or film that the take begins with: what the model's codec keeps of it."""
        notes: list[str] = []
        for cue in self.take.cues:
            if cue.start is None:
                continue
            start = self._footage.start(cue.start, cue.fit, None)
            if start.kept:
                notes.append(f"{cue.start}: gone on from its own latents, which lie beside it")
                continue
            kept = kept_by_codec(self.model.generator.codec, start)
            name = self.model.entry.name
            little = f", which is little: {name} can show its own world only" if kept < LITTLE else ""
            notes.append(f"{cue.start}: the codec of {name} keeps it at {kept:.1f} dB{little}")
        return notes

    def _publish(self, frames: int) -> list[str]:
        """Make the finished film the output, with the sound of films that it follows; return notes.

        With sound, the film as it was rendered stays in the render's folder, for a render that goes on.
        """
        files, sound = self.files, self.files.folder / "source.wav"
        parts = parts_of(self.take, self.grid, self.fps, frames)
        remove(sound)  # of a run that was killed
        notes = write_source_sound(parts, self._footage, frames, self.fps, sound) if parts else []
        if not sound.exists():
            move(files.partial, self.out)
            remove(files.silent)
            return notes
        move(files.partial, files.silent)
        sounding = files.folder / "sounding.mp4"
        notes += with_sound(files.silent, sound, sounding)
        move(sounding, self.out)
        remove(sound)
        return notes

    def _keep_latents(self) -> None:
        """Keep the clean latents of the film's end beside it, for takes that go on from it."""
        if self._newest is None:
            remove(self.files.latents)
            return
        facts = FilmFacts(file_hash(self.out), self.model.codec, self.take.width_height(self.model.entry.size))
        write_film_latents(self.files.latents, self._newest, facts)

    def end(self) -> None:
        """Write that what was asked for is done and was said: until then the same command would only go on with it."""
        try:
            with self.files.locked():
                Journal.replacing(self.files.journal, [*PastRender(self.files).lines, EndLine(type="end")]).close()
        except OSError as e:
            raise RenderError(f"{self.files.journal}: cannot be written ({e.strerror or e}); the film is whole") from e

    def _begin(self, past: PastRender, report: Report, *, go_on: bool, restart: bool) -> Place | None:
        if go_on:
            try:
                return self.place(past, report)
            except RenderError as e:
                if not restart:
                    raise
                report.warnings.append(f"{str(e).removesuffix(f'; {BEGIN_ANEW}')}; begun anew")
        elif not restart:
            refuse_to_throw_away(self.files, self.model.entry)
            if past.unfinished:
                report.warnings.append("an earlier render was cut off before anything of it could be kept; begun anew")
        return None

    def _render(
        self,
        past: PastRender,
        found: Place | None,
        report: Report,
        began: float,
        progress: Callable[[Boundary, Report], None],
    ) -> None:
        snapshot = found.snapshot if found else None
        rollout = self.rollout(snapshot)
        head = HeadLine(type="take", version=VERSION, record=self.record, render=self._facts())
        upscaled = UpscaledPictures(self._upscaler) if self._upscaler else None
        keep: list[JournalLine] = [head, self._intent]
        keep += self._kept(past, found.line.latent) if found else []
        with ExitStack() as files:
            log = files.enter_context(Journal.replacing(self.files.journal, keep))
            self.files.tidy([line.latent for line in keep if isinstance(line, CheckpointLine)])
            if found and not self.files.partial.exists():
                copy_beginning(self.files.film, self.files.partial, found.line.offset)
            recorder = files.enter_context(self._writer(found))
            for boundary in rollout.until(self.chunks):
                if boundary.first < self._first:  # the part before writes it
                    continue
                frames = self._shown(boundary.frames, boundary.first, upscaled, report)
                recorder.add(np.concatenate([frames, self._held(frames, boundary.first + boundary.latents)]))
                self._log(boundary, past if found else None, log, report)
                report.first_frame_s = report.first_frame_s or round(time.perf_counter() - began, 3)
                done = self.grid.chunks(rollout.state.index)
                if done % CHUNKS_PER_FRAGMENT == 0 or done == self.chunks:
                    self._end_fragment(rollout, recorder, log, report, whole=done % CHUNKS_PER_FRAGMENT == 0)
                progress(boundary, report)
            if self._part is not None:
                return
            ending = rollout.ending()
            # a fragment of its own behind the last checkpoint: extending the take cuts it off
            recorder.add(self._shown(ending, rollout.state.index, upscaled, report))
            report.frames += len(ending)
            self._newest = rollout.newest_latents()
            recorder.end_fragment()
            log.sync()
            report.film_frames = recorder.frames
        if upscaled is not None:
            report.upscaled = upscaled.facts()
            report.warnings += [warning] if (warning := upscaled.warning()) else []

    def _shown(self, frames: Frames, latent: int, upscaled: UpscaledPictures | None, report: Report) -> Frames:
        """Return frames that begin with those of `latent` as they stand in the film."""
        shown = self._arrangement.shown(frames, frames_before(latent))
        if upscaled is None or not len(shown):
            return shown
        clock = time.perf_counter()
        large = upscaled.of(shown)
        report.add("upscale", time.perf_counter() - clock)
        return large

    def _held(self, frames: Frames, following: int) -> Frames:
        """Return the last of these frames as often as the picture is held before the chunk at latent `following`."""
        return np.repeat(frames[-1:], sum(line.hold or 0 for line in self._landing_on(following)), axis=0)

    def _writer(self, found: Place | None) -> VideoWriter:
        """Open the film so far where it goes on."""
        path, fps, scale = self.files.partial, self.fps, self.scale
        if found is None:
            fragments = 0 if self._part is None else self._part.first // CHUNKS_PER_FRAGMENT
            return VideoWriter(path, fps, scale=scale, fragments=fragments, frames=frames_before(self._first))
        line = found.line
        return VideoWriter(path, fps, scale=scale, offset=line.offset, fragments=line.fragments, frames=line.frames)

    def _log(self, boundary: Boundary, past: PastRender | None, log: Journal, report: Report) -> None:
        """Write of a chunk with the cues that landed on it, and compare it with what it was before."""
        lines = self._landing_on(boundary.first)
        if past is not None and past.agrees(boundary.first, lines, boundary.landed):
            report.regenerated += 1
            if past.chunks[boundary.first].hash != boundary.hash:
                report.differing.append(boundary.first)
        cues = [landed_cue(line.model_copy(update={"landed": boundary.first})) for line in lines]
        log.write(*cues, chunk_line(boundary, {k: round(v, 5) for k, v in boundary.seconds.items()}))
        report.chunks, report.frames = report.chunks + 1, report.frames + len(boundary.frames)
        for name, seconds in boundary.seconds.items():
            report.add(name, seconds)

    def _end_fragment(
        self, rollout: Rollout, recorder: VideoWriter, log: Journal, report: Report, *, whole: bool
    ) -> None:
        clock = time.perf_counter()
        digest = recorder.end_fragment()
        report.add("encode", time.perf_counter() - clock)
        if not whole:  # a take that is extended renders its last, short fragment anew
            return
        latent = rollout.state.index
        save_snapshot(rollout.snapshot(), self.files.checkpoint(latent))
        log.write(
            CheckpointLine(
                type="checkpoint",
                latent=latent,
                offset=recorder.offset,
                fragments=recorder.fragments,
                frames=recorder.frames,
                digest=digest,
            )
        )
        log.sync()
        self.files.thin()

    def _kept(self, past: PastRender, latent: int) -> list[JournalLine]:
        """Return the lines of an earlier render that end at a checkpoint at `latent`, in today's format."""
        kept: list[JournalLine] = []
        for line in past.lines:
            if isinstance(line, ChunkLine) and line.first < latent:
                cues = self._landing_on(line.first)  # the same that landed then
                kept += [landed_cue(cue.model_copy(update={"landed": line.first})) for cue in cues]
                kept.append(line.model_copy(update={"landed": None, "latents": self.grid.length(line.first)}))
            elif isinstance(line, CheckpointLine) and line.latent <= latent:
                kept.append(line)
        return kept

    def _landed(self) -> list[CueLine]:
        """Return the cues with what they landed on; one after the end of the take landed on nothing."""
        end = self.grid.start(self.chunks)
        return [
            entry.model_copy(update={"landed": first if first < end else None})
            for first, entry in self.take.landing(self.grid, self.fps)
        ]
