"""Render a take to a file: a rollout with a muxer, which goes on after a crash.

A checkpoint goes with every fragment, and chunks that are drawn again are compared with what they were.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
import torch

from models.catalog import Entry
from models.checkpoints.assemble import Model
from models.checkpoints.snapshot_file import load_snapshot, save_snapshot
from models.checkpoints.weight_files import CheckpointError
from models.cue import Cue
from models.errors import UserError
from streaming.media.video_writer import VideoWriter
from streaming.rollout import Boundary, DriveSource, Rollout, record_of
from streaming.take import journal
from streaming.take.history import chunk_line
from streaming.take.journal import (
    VERSION,
    CheckpointLine,
    ChunkLine,
    HeadLine,
    JournalLine,
    LandedCue,
    RenderFacts,
    landed_cue,
)
from streaming.take.legacy_cues import in_version_1
from streaming.take.take_file import CueLine, Take, latent_at

CHUNKS_PER_FRAGMENT = 5
CHECKPOINT_BUDGET = 1 << 30  # bytes of checkpoints kept beside the newest


class RenderError(UserError):
    """Report a render that cannot go on, in one line for a person."""


@dataclass
class Report:
    """Hold what a render measured."""

    chunks: int = 0
    frames: int = 0
    regenerated: int = 0
    differing: list[int] = field(default_factory=list)  # first latents of chunks that came out otherwise than before
    warnings: list[str] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    first_frame_s: float | None = None  # from the start of the render
    wall_s: float = 0.0

    def add(self, name: str, seconds: float) -> None:
        self.seconds.setdefault(name, []).append(seconds)

    def notes(self) -> list[str]:
        """Return what a person should know, a line each."""
        differing = f"{len(self.differing)} regenerated chunks differ from before, first at latent "
        return [*self.warnings, *([f"{differing}{self.differing[0]}"] if self.differing else [])]

    def as_json(self) -> dict[str, Any]:
        medians = {f"{name}_median_s": round(statistics.median(v), 5) for name, v in self.seconds.items()}
        drawn = sum(sum(v) for v in self.seconds.values())
        facts = {k: getattr(self, k) for k in ("chunks", "frames", "regenerated", "differing", "warnings", "wall_s")}
        return {
            **facts,
            "first_frame_s": self.first_frame_s,
            "fps": round(self.frames / drawn, 2) if drawn else 0.0,
            **medians,
        }


@dataclass(frozen=True)
class Place:
    """Say where a render goes on: after a fragment whose end has a checkpoint."""

    latent: int
    offset: int
    fragments: int
    frames: int


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
    ) -> None:
        """Render `take` to the file `out`, its pictures enlarged `scale` times.

        `drive` gives a new drive source for every rollout; `heard` and `portrait` name the sound and the picture that
        it reads: of a render of another sound or picture nothing is taken over.
        """
        self.take, self.model, self.out, self.scale = take, model, out, scale
        self._drive, self._heard, self._portrait = drive, heard, portrait
        self.partial = out.with_name(f"{out.stem}.partial.mp4")
        self.folder = out.with_name(f"{out.stem}.render")
        self.grid, self.fps = model.entry.rollout.grid, model.entry.fps
        self.chunks = take.chunks(self.grid, self.fps)
        self.record = record_of(model, model.generator.device)

    # -- where to begin --------------------------------------------------------------------------------------------

    def _head(self) -> HeadLine:
        facts = RenderFacts(
            seed=self.take.seed,
            size=self.take.width_height(self.model.entry.size),
            scale=self.scale,
            heard=self._heard,
            portrait=self._portrait,
        )
        return HeadLine(type="take", version=VERSION, record=self.record, render=facts)

    def place(self, report: Report, limit: int | None = None) -> tuple[Place, list[JournalLine]] | None:
        """Find the newest checkpoint, not after latent `limit`, whose past this take shares; and the journal so far."""
        lines = journal.read(self.folder / "journal.jsonl")
        if not lines or not isinstance(then := lines[0], HeadLine) or then.render is None:
            return None
        now = self._head().render
        if then.version == 1 and now is not None:  # the cues of its first chunk tell of the portrait
            now = now.model_copy(update={"portrait": None})
        if then.render != now:
            return None
        differs = [k for k in self.record if then.record.get(k) != self.record[k]]
        if {"model", "weights", "codec"} & set(differs):  # a film is drawn and decoded by one model
            return None
        if differs:
            said = ", ".join(f"{k} {then.record.get(k)} → {self.record[k]}" for k in differs)
            report.warnings.append(f"not the same record as before ({said}); frames may differ slightly")
        old = _PastChunks(lines)
        rollout = Rollout(self.model, self.take, drive=self._drive())
        shared = 0  # latents on whose cues the old render and this take agree
        while old.has(shared) and old.agrees(shared, self._landing_on(shared), rollout.cues_at(shared)):
            shared += self.grid.length(shared)
        end = min(shared, self.grid.start(self.chunks), shared if limit is None else limit)
        for line in reversed(lines):
            if isinstance(line, CheckpointLine) and line.latent <= end and self._checkpoint(line.latent).exists():
                source = self.partial if self.partial.exists() else self.out
                if source.exists() and source.stat().st_size >= line.offset:
                    return Place(line.latent, line.offset, line.fragments, line.frames), lines
        return None

    def _landing_on(self, first: int) -> list[CueLine]:
        return [line for at, line in self.take.landing(self.grid, self.fps) if at == first]

    def _checkpoint(self, latent: int) -> Path:
        return self.folder / f"checkpoint-{latent:07d}.safetensors"

    # -- the work --------------------------------------------------------------------------------------------------

    def run(
        self, *, go_on: bool, limit: int | None = None, progress: Callable[[Boundary, Report], None] = lambda b, r: None
    ) -> Report:
        """Render to the end, with `go_on` from the newest usable checkpoint; the output appears once it is whole."""
        began, report = time.perf_counter(), Report()
        try:
            self.folder.mkdir(exist_ok=True)
            lock = _alone(self.folder, self.out)
            found = self.place(report, limit) if go_on else None
            if go_on and found is None:
                report.warnings.append("nothing to continue from; rendering from the start")
            if found and not self.partial.exists():
                shutil.copyfile(self.out, self.partial)
            self._render(found, report, began, progress)
            os.replace(self.partial, self.out)
            self.out.with_name(f"{self.out.stem}.take.yaml").write_text(
                self.take.model_copy(update={"record": self.record, "cues": self._landed()}).dumped(), encoding="utf-8"
            )
            lock.close()
        except (OSError, CheckpointError) as e:
            reason = e.strerror if isinstance(e, OSError) and e.strerror else str(e).splitlines()[0]
            kept = "; what is done is kept, continue with --resume" if self.partial.exists() else ""
            raise RenderError(f"{self.out}: cannot be written ({reason}){kept}") from e
        report.wall_s = round(time.perf_counter() - began, 3)
        return report

    def _render(
        self,
        found: tuple[Place, list[JournalLine]] | None,
        report: Report,
        began: float,
        progress: Callable[[Boundary, Report], None],
    ) -> None:
        place, lines = found or (None, [])
        snapshot, keep, old = None, list[JournalLine]([self._head()]), _PastChunks([])
        if place:
            generator = self.model.generator
            snapshot = load_snapshot(self._checkpoint(place.latent), generator.device, generator.dtype)
            old = _PastChunks(lines)
            keep += self._kept(lines, place.latent)
        rollout = Rollout(self.model, self.take, snapshot, self._drive())
        log = journal.Journal(self.folder / "journal.jsonl", keep=keep)
        start = {"offset": place.offset, "fragments": place.fragments, "frames": place.frames} if place else {}
        with VideoWriter(self.partial, self.fps, scale=self.scale, **start) as recorder:
            for boundary in rollout.until(self.chunks):
                recorder.add(boundary.frames)
                lines_here = self._landing_on(boundary.first)
                if old.has(boundary.first) and old.agrees(boundary.first, lines_here, boundary.landed):
                    report.regenerated += 1
                    if old.hash(boundary.first) != boundary.hash:
                        report.differing.append(boundary.first)
                for line in lines_here:
                    log.write(landed_cue(line.model_copy(update={"landed": boundary.first})))
                log.write(chunk_line(boundary, {k: round(v, 5) for k, v in boundary.seconds.items()}))
                report.first_frame_s = report.first_frame_s or round(time.perf_counter() - began, 3)
                report.chunks, report.frames = report.chunks + 1, report.frames + len(boundary.frames)
                for name, seconds in boundary.seconds.items():
                    report.add(name, seconds)
                done = self.grid.chunks(rollout.state.index)
                if done % CHUNKS_PER_FRAGMENT == 0 or done == self.chunks:
                    self._end_fragment(rollout, recorder, log, report, whole=done % CHUNKS_PER_FRAGMENT == 0)
                progress(boundary, report)
            ending = rollout.ending()
            recorder.add(ending)  # a fragment of its own behind the last checkpoint: extending the take cuts it off
            report.frames += len(ending)
        log.close()

    def _end_fragment(
        self, rollout: Rollout, recorder: VideoWriter, log: journal.Journal, report: Report, *, whole: bool
    ) -> None:
        clock = time.perf_counter()
        recorder.end_fragment()
        report.add("encode", time.perf_counter() - clock)
        if not whole:  # a take that is extended renders its last, short fragment anew
            return
        latent = rollout.state.index
        save_snapshot(rollout.snapshot(), self._checkpoint(latent))
        log.write(
            CheckpointLine(
                type="checkpoint",
                latent=latent,
                offset=recorder.offset,
                fragments=recorder.fragments,
                frames=recorder.frames,
            )
        )
        self._tidy(latent)

    def _tidy(self, newest: int) -> None:
        """Delete old checkpoints when all exceed the budget: every second one first, then the oldest."""
        held = sorted(self.folder.glob("checkpoint-*.safetensors"))
        size = sum(p.stat().st_size for p in held)
        while size > CHECKPOINT_BUDGET and len(held) > 1:
            gone = held.pop(1 if len(held) > 2 else 0)
            size -= gone.stat().st_size
            gone.unlink()

    def _kept(self, lines: Sequence[JournalLine], latent: int) -> list[JournalLine]:
        """Return the lines of an older render that end at a checkpoint at `latent`, in today's format."""
        kept: list[JournalLine] = []
        for line in lines:
            if isinstance(line, ChunkLine) and line.first < latent:
                cues = self._landing_on(line.first)  # the same that landed then
                kept += [landed_cue(cue.model_copy(update={"landed": line.first})) for cue in cues]
                kept.append(line.model_copy(update={"landed": None, "latents": self.grid.length(line.first)}))
            elif isinstance(line, CheckpointLine) and line.latent <= latent:
                kept.append(line)
        return kept

    def _landed(self) -> list[CueLine]:
        return [entry.model_copy(update={"landed": first}) for first, entry in self.take.landing(self.grid, self.fps)]


class _PastChunks:
    """The chunks of an older render by their first latents, and the cues that landed on them."""

    def __init__(self, lines: Sequence[JournalLine]) -> None:
        self._chunks = {line.first: line for line in lines if isinstance(line, ChunkLine)}
        self._cues: dict[int | None, list[CueLine]] = {}
        for line in lines:
            if isinstance(line, LandedCue):
                self._cues.setdefault(line.landed, []).append(line.cue())

    def has(self, first: int) -> bool:
        """Return whether there was a chunk that begins at latent `first`."""
        return first in self._chunks

    def hash(self, first: int) -> str:
        """Return the hash of a chunk's latents."""
        return self._chunks[first].hash

    def agrees(self, first: int, lines: Sequence[CueLine], cues: Sequence[Cue]) -> bool:
        """Return whether the same landed on a chunk: these lines of the take, which stand for these cues."""
        old = self._chunks[first].landed
        if old is not None:  # of version 1
            return list(old) == [in_version_1(cue) for cue in cues]
        return _bare(self._cues.get(first, [])) == _bare(lines)


def _bare(lines: Sequence[CueLine]) -> list[CueLine]:
    """Return what lines do, whatever position they were asked for."""
    return [line.model_copy(update={"at": 0, "landed": None}) for line in lines]


def _alone(folder: Path, out: Path) -> IO[str]:
    """Return a file whose lock ends with this process; RenderError if another render holds it."""
    lock = (folder / "lock").open("w")
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise RenderError(f"{out}: another render is writing it; wait for it, or end it") from None
    return lock


def contact_sheet(video: Path, sheet: Path, columns: int = 8, rows: int = 4) -> None:
    """Write evenly spaced frames of a video as one PNG, left to right, top to bottom."""
    import av

    with av.open(str(video)) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    chosen = [frames[i] for i in np.linspace(0, len(frames) - 1, columns * rows).round().astype(int)]
    grid = np.concatenate([np.concatenate(chosen[r * columns : (r + 1) * columns], 1) for r in range(rows)], 0)
    if not cv2.imwrite(str(sheet), grid[..., ::-1]):
        raise RenderError(f"{sheet}: cannot be written")


def position(text: str, fps: int) -> int:
    """Return the latent that seconds such as 12s, or a number of latents, on the command line mean."""
    try:
        return latent_at(int(text) if text.isdigit() else text, fps)
    except ValueError as e:
        raise RenderError(f"{text!r} is neither a number of latents nor seconds such as 12s") from e


def extended(take: Take, more: str, entry: Entry, folder: Path) -> Take:
    """The take, longer by `more` than the render in `folder` came to."""
    lines = [line for line in journal.read(folder / "journal.jsonl") if isinstance(line, ChunkLine)]
    asked = latent_at(take.length, entry.fps)
    have = lines[-1].first + entry.rollout.grid.length(lines[-1].first) if lines else asked
    return take.model_copy(update={"length": max(have, asked) + position(more, entry.fps)})


def write_report(report: Report, job: Job, path: Path) -> None:
    landed = [
        {"latent": first, **entry.model_dump(exclude_defaults=True)}
        for first, entry in job.take.landing(job.grid, job.fps)
    ]
    path.write_text(
        json.dumps({"record": job.record, "cues": landed, **report.as_json()}, indent=2) + "\n", encoding="utf-8"
    )


def torch_device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise RenderError("no CUDA device is here; leave --device out or say cpu")
    return torch.device(name)
