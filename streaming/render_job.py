"""Render: a rollout with a muxer. Crash-safe: checkpoints with every fragment, and what is regenerated is compared."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable
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
from models.errors import UserError
from streaming.media.video_writer import VideoWriter
from streaming.rollout import Boundary, DriveSource, Rollout, record_of
from streaming.take import journal
from streaming.take.take_file import Take, latent_at

CHUNKS_PER_FRAGMENT = 5
CHECKPOINT_BUDGET = 1 << 30  # bytes of checkpoints kept beside the newest


class RenderError(UserError):
    """A render that cannot go on; the message is one line for a person."""


@dataclass
class Report:
    """What a render measured."""

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
        """What a person should know, a line each."""
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
    """Where a render goes on: after a fragment whose end has a checkpoint."""

    latent: int
    offset: int
    fragments: int
    frames: int


class Job:
    """One output file with what belongs to it: the working file, and beside it a folder with journal and checkpoints."""

    def __init__(
        self,
        take: Take,
        model: Model,
        out: Path,
        *,
        scale: int = 1,
        drive: Callable[[], DriveSource | None] = lambda: None,
        heard: str | None = None,
    ) -> None:
        """Render `take` to the file `out`, its pictures enlarged `scale` times.

        `drive` gives a new drive source for every rollout; `heard` names the sound that it reads: of a render that
        heard another, nothing is taken over.
        """
        self.take, self.model, self.out, self.scale = take, model, out, scale
        self._drive, self._heard = drive, heard
        self.partial = out.with_name(f"{out.stem}.partial.mp4")
        self.folder = out.with_name(f"{out.stem}.render")
        self.grid, self.fps = model.entry.rollout.grid, model.entry.fps
        self.chunks = take.chunks(self.grid, self.fps)
        self.record = record_of(model, model.generator.device)

    # -- where to begin --------------------------------------------------------------------------------------------

    def _head(self) -> dict[str, Any]:
        size = list(self.take.width_height(self.model.entry.size))
        head = {"type": "take", "seed": self.take.seed, "size": size, "scale": self.scale, "record": self.record}
        return head | ({"heard": self._heard} if self._heard else {})

    def place(self, report: Report, limit: int | None = None) -> tuple[Place, list[dict[str, Any]]] | None:
        """The newest checkpoint (not after latent `limit`) whose past this take shares, and the journal up to now."""
        lines = journal.read(self.folder / "journal.jsonl")
        if not lines or lines[0].get("type") != "take":
            return None
        then, now = lines[0], self._head()
        if any(then.get(k) != now.get(k) for k in ("seed", "size", "scale", "heard")):
            return None
        differs = [k for k in self.record if then.get("record", {}).get(k) != self.record[k]]
        if {"model", "weights", "codec"} & set(differs):  # a film is drawn and decoded by one model
            return None
        if differs:
            said = ", ".join(f"{k} {then['record'].get(k)} → {self.record[k]}" for k in differs)
            report.warnings.append(f"not the same record as before ({said}); frames may differ slightly")
        rollout = Rollout(self.model, self.take, drive=self._drive())
        shared = 0  # latents on whose cues the old render and this take agree
        for line in lines[1:]:
            if line.get("type") == "chunk":
                if line["first"] != shared or line["landed"] != [repr(c) for c in rollout.cues_at(shared)]:
                    break
                shared += self.grid.length(shared)
        end = min(shared, self.grid.start(self.chunks), shared if limit is None else limit)
        for line in reversed(lines):
            if line.get("type") == "checkpoint" and line["latent"] <= end and self._checkpoint(line["latent"]).exists():
                source = self.partial if self.partial.exists() else self.out
                if source.exists() and source.stat().st_size >= line["offset"]:
                    return Place(line["latent"], line["offset"], line["fragments"], line["frames"]), lines
        return None

    def _checkpoint(self, latent: int) -> Path:
        return self.folder / f"checkpoint-{latent:07d}.safetensors"

    # -- the work --------------------------------------------------------------------------------------------------

    def run(
        self, *, go_on: bool, limit: int | None = None, progress: Callable[[Boundary, Report], None] = lambda b, r: None
    ) -> Report:
        """Render to the end; with `go_on` from the newest usable checkpoint. The output appears only when it is whole."""
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
        found: tuple[Place, list[dict[str, Any]]] | None,
        report: Report,
        began: float,
        progress: Callable[[Boundary, Report], None],
    ) -> None:
        place, old = found or (None, [])
        snapshot, keep, before = None, [self._head()], {}
        if place:
            generator, layers = self.model.generator, self.model.entry.transformer["num_layers"]
            snapshot = load_snapshot(self._checkpoint(place.latent), generator.device, layers, generator.dtype)
            keep += [x for x in old[1:] if x.get("first", -1) < place.latent and x.get("latent", 0) <= place.latent]
            before = {
                x["first"]: (x["hash"], x["landed"])
                for x in old
                if x.get("type") == "chunk" and x["first"] >= place.latent
            }
        rollout = Rollout(self.model, self.take, snapshot, self._drive())
        log = journal.Journal(self.folder / "journal.jsonl", keep=keep)
        start = {"offset": place.offset, "fragments": place.fragments, "frames": place.frames} if place else {}
        with VideoWriter(self.partial, self.fps, scale=self.scale, **start) as recorder:
            for boundary in rollout.until(self.chunks):
                recorder.add(boundary.frames)
                landed = [repr(c) for c in boundary.landed]
                if boundary.first in before and before[boundary.first][1] == landed:
                    report.regenerated += 1
                    if before[boundary.first][0] != boundary.hash:
                        report.differing.append(boundary.first)
                line = {"type": "chunk", "first": boundary.first, "hash": boundary.hash, "landed": landed}
                if boundary.disagreement is not None:
                    line["disagreement"] = round(boundary.disagreement, 4)
                log.write({**line, "seconds": {k: round(v, 5) for k, v in boundary.seconds.items()}})
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
        place = {
            "latent": latent,
            "offset": recorder.offset,
            "fragments": recorder.fragments,
            "frames": recorder.frames,
        }
        log.write({"type": "checkpoint", **place})
        self._tidy(latent)

    def _tidy(self, newest: int) -> None:
        """Old checkpoints go when they and the newest exceed the budget; every second one first, then the oldest."""
        held = sorted(self.folder.glob("checkpoint-*.safetensors"))
        size = sum(p.stat().st_size for p in held)
        while size > CHECKPOINT_BUDGET and len(held) > 1:
            gone = held.pop(1 if len(held) > 2 else 0)
            size -= gone.stat().st_size
            gone.unlink()

    def _landed(self) -> list[Any]:
        return [entry.model_copy(update={"landed": first}) for first, entry in self.take.landing(self.grid, self.fps)]


def _alone(folder: Path, out: Path) -> IO[str]:
    """A file whose lock ends with this process; RenderError if another render holds it."""
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
    """Evenly spaced frames of a video as one PNG, left to right, top to bottom."""
    import av

    with av.open(str(video)) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    chosen = [frames[i] for i in np.linspace(0, len(frames) - 1, columns * rows).round().astype(int)]
    grid = np.concatenate([np.concatenate(chosen[r * columns : (r + 1) * columns], 1) for r in range(rows)], 0)
    if not cv2.imwrite(str(sheet), grid[..., ::-1]):
        raise RenderError(f"{sheet}: cannot be written")


def position(text: str, fps: int) -> int:
    """Seconds such as 12s, or latents, as given on the command line → latents."""
    try:
        return latent_at(int(text) if text.isdigit() else text, fps)
    except ValueError as e:
        raise RenderError(f"{text!r} is neither a number of latents nor seconds such as 12s") from e


def extended(take: Take, more: str, entry: Entry, folder: Path) -> Take:
    """The take, longer by `more` than the render in `folder` came to."""
    lines = [x for x in journal.read(folder / "journal.jsonl") if x.get("type") == "chunk"]
    asked = latent_at(take.length, entry.fps)
    have = lines[-1]["first"] + entry.rollout.grid.length(lines[-1]["first"]) if lines else asked
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
