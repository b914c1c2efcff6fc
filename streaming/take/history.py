"""Keep the history of a take (its cues and chunks so far), and write it to its journal and its take file."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.checkpoints.synced_files import sync_file, write_whole
from models.noise import Noise
from models.source import Encoded
from streaming.rollout import Boundary
from streaming.take.camera_record import CameraRecord, CameraRecorder, RecordError
from streaming.take.journal import (
    VERSION,
    ChunkLine,
    EndLine,
    HeadLine,
    Journal,
    JournalLine,
    LandedCue,
    Record,
    RedrawnLine,
    landed_cue,
)
from streaming.take.take_file import CueLine, Take
from streaming.take.take_loras import only_used
from streaming.take.take_shelf import write_picture

Picture = NDArray[np.uint8]  # [H, W, 3] RGB


def new_id() -> str:
    """Return a new name for a take: 12 hexadecimal digits."""
    return uuid.uuid4().hex[:12]


@dataclass
class TakeHistory:
    """Hold the cues of a take with the latents on which they landed, and the hash of every chunk."""

    id: str
    take: Take  # as it began: model, seed, size and the first prompt
    parent: str | None = None
    landed: list[CueLine] = field(default_factory=list)  # every cue with the latent it landed on
    hashes: dict[int, str] = field(default_factory=dict)  # first latent of a chunk → hash of its latents
    length: int = 0  # latents

    def as_take(self, record: Record) -> Take:
        """Return the take, with its cues where they landed; a render with the same `record` gives the same latents."""
        cues = [e.model_copy(update={"at": e.landed}) for e in self.landed]
        changes = {"parent": self.parent, "cues": cues, "length": max(self.length, 1), "record": record}
        return only_used(self.take.model_copy(update=changes))

    def shortened(self, at: int) -> list[CueLine]:
        """Forget cues and chunks from latent `at` on, to draw them anew; return the cues that had landed there."""
        gone = [e for e in self.landed if (e.landed or 0) >= at]
        self.landed = [e for e in self.landed if (e.landed or 0) < at]
        self.hashes = {first: h for first, h in self.hashes.items() if first < at}
        self.length = at
        return gone

    def branched(self, at: int) -> TakeHistory:
        """Return the history of a new take that shares everything before latent `at`."""
        kept = [e for e in self.landed if (e.landed or 0) < at]
        hashes = {first: h for first, h in self.hashes.items() if first < at}
        return TakeHistory(new_id(), self.take, f"{self.id}@{at}", kept, hashes, at)


class TakeFiles:
    """Write the journal and the take file of a session's present take into a folder.

    A thread of its own waits for the disk, so that neither the stream nor the device does; lines that arrive meanwhile
    are synced together. An OSError in that thread is raised by the next call.
    """

    def __init__(self, folder: Path, record: Record) -> None:
        """Prepare to write into `folder`; `record` goes into the journals and take files."""
        self._folder, self._record = folder, record
        self._journal: Journal | None = None
        self._recorders: dict[str, CameraRecorder] = {}
        self._sounds: list[Path] = []  # synced before the lines of the chunks that it drives
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="take-files")
        self._waiting = 0  # jobs that have not begun
        self._lock = threading.Lock()
        self._failure: OSError | None = None

    def begin(self, history: TakeHistory) -> None:
        """Begin the journal of a take, with all that it shares with its parent; OSError as in `chunk`."""
        head = HeadLine(
            type="take",
            version=VERSION,
            id=history.id,
            take=history.take,
            parent=history.parent,
            record=self._record,
        )
        past: list[JournalLine] = [landed_cue(cue) for cue in history.landed]
        ends = [*list(history.hashes)[1:], history.length]
        for (first, digest), end in zip(history.hashes.items(), ends, strict=False):
            past.append(ChunkLine(type="chunk", first=first, latents=end - first, hash=digest))
        take, before = history.take, self._journal
        journal = self._journal = Journal(self._folder / f"{history.id}.jsonl")
        journal.write(head, *past)
        self._sounds = [self._folder / name for name in take.sounds]

        def sync() -> None:
            if before is not None:
                before.sync()
                before.close()
            for name in (*take.portraits, *take.sounds):
                sync_file(self._folder / name)

        self._soon(sync)

    def chunk(self, drawn: Boundary, cues: list[CueLine]) -> None:
        """Write a chunk and the cues that landed on it; OSError if the disk did not take this or an earlier write."""
        self._write(*(landed_cue(cue) for cue in cues), chunk_line(drawn))

    def picture(self, history: TakeHistory, picture: Picture) -> None:
        """Keep a small copy of a picture [H, W, 3] RGB for lists of takes; OSError as in `chunk`."""
        self._soon(lambda: write_picture(self._folder, history.id, picture))

    def redrawn(self, at: int) -> None:
        """Write that the chunks from latent `at` on are discarded and will be drawn anew; OSError as in `chunk`."""
        self._write(RedrawnLine.model_validate({"type": "redrawn", "from": at}))

    def end(self, history: TakeHistory) -> None:
        """End the journal, and write the take file beside it; OSError as in `chunk`."""
        path, text = self._folder / f"{history.id}.yaml", history.as_take(self._record).dumped().encode()
        if history.length:
            self._soon(lambda: write_whole(path, text))
        self._write(EndLine(type="end"))

    def camera(self, name: str, first: int, given: Encoded) -> None:
        """Append what a chunk was given of a camera to the record `name`; OSError as in `chunk`."""
        recorder = self._recorder(name)
        recorder.add(first, given)
        self._soon(recorder.sync)

    def copy_camera(self, name: str, other: str, frames: int) -> None:
        """Begin the record `other` with the first `frames` frames of the record `name`; OSError as in `chunk`.

        RecordError, and nothing is begun, if that is damaged.
        """
        record = CameraRecord(self._folder / name, name)
        if record.torn:
            raise RecordError(f"{name}: the record of the camera is damaged")
        recorder = self._recorder(other)
        for first, given in record.before(frames).items():
            recorder.add(first, given)

    def _recorder(self, name: str) -> CameraRecorder:
        if name not in self._recorders:
            self._recorders[name] = CameraRecorder(self._folder / name)
        return self._recorders[name]

    def beside(self, name: str) -> Path:
        """Return the path of a file called `name` in the folder of the take."""
        return self._folder / name

    def recording(self, history: TakeHistory) -> Path:
        """Return a path that is free for a new recording of the take; recordings are numbered from 1."""
        number = 1
        while (path := self._folder / f"{history.id}-{number}.mp4").exists():
            number += 1
        return path

    def close(self) -> None:
        """Wait until everything is on the disk and close the journal; OSError if the disk did not take it all."""
        self._thread.shutdown(wait=True)
        for recorder in self._recorders.values():
            recorder.close()
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        self._raise()

    def give_up(self) -> None:
        """Write nothing more, and let the thread close the journal once its jobs are done; return at once."""
        if self._journal is not None:
            self._thread.submit(self._journal.close)
        self._thread.shutdown(wait=False)

    def _write(self, *lines: JournalLine) -> None:
        """Write lines at once, for readers to find, and sync them; of a take with sound, once the sound is synced."""
        journal, sounds = self._journal, self._sounds
        if journal is None:
            return

        def write() -> None:
            for sound in sounds:
                sync_file(sound)
            if sounds:
                journal.write(*lines)

        if not sounds:
            journal.write(*lines)
        self._soon(write)

    def _soon(self, job: Callable[[], None]) -> None:
        """Queue a job for the thread, which syncs the journal whenever its queue is empty."""
        self._raise()
        with self._lock:
            self._waiting += 1
        self._thread.submit(self._do, job)

    def _do(self, job: Callable[[], None]) -> None:
        with self._lock:
            self._waiting -= 1
            newest = self._waiting == 0
        if self._failure is not None:
            return
        try:
            job()
            if newest and self._journal is not None:
                self._journal.sync()
        except OSError as e:
            self._failure = e

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure


@dataclass(frozen=True)
class JournalSummary:
    """Hold what was read from the journal of a live take."""

    history: TakeHistory
    record: Record
    ended: bool  # False: the take is running, or was cut off
    damage: str = ""  # one line about the part of the journal that could not be read

    def take(self) -> Take:
        """Return the take, with its cues where they landed; a render of it gives the same latents."""
        return self.history.as_take(self.record)


def replay_journal(lines: Sequence[JournalLine]) -> JournalSummary:
    """Return the history of a live take up to its journal's last whole chunk; ValueError if there is none."""
    if not lines or not isinstance(head := lines[0], HeadLine) or head.id is None or head.take is None:
        raise ValueError("not the journal of a live take")
    cues: list[CueLine] = []
    chunks: list[ChunkLine] = []
    for line in lines:
        match line:
            case LandedCue():
                cues.append(line.cue())
            case RedrawnLine(at=at):
                cues = [cue for cue in cues if (cue.landed or 0) < at]
                chunks = [chunk for chunk in chunks if chunk.first < at]
            case ChunkLine():
                chunks.append(line)
    if not chunks:
        raise ValueError("a journal without a chunk")
    length = chunks[-1].first + (chunks[-1].latents or 0)
    landed = [cue for cue in cues if cue.landed is not None and cue.landed < length]
    hashes = {chunk.first: chunk.hash for chunk in chunks}
    take = head.take.with_noise(Noise.TORCH)  # of an earlier release, if none is named
    history = TakeHistory(head.id, take, head.parent, landed, hashes, length)
    return JournalSummary(history, head.record, isinstance(lines[-1], EndLine))


def chunk_line(drawn: Boundary, seconds: dict[str, float] | None = None) -> ChunkLine:
    """Return the journal's line for a chunk; `seconds` is how long each part of it took, which a render adds."""
    return ChunkLine(
        type="chunk",
        first=drawn.first,
        latents=drawn.latents,
        hash=drawn.hash,
        disagreement=None if drawn.disagreement is None else round(drawn.disagreement, 4),
        seconds=seconds,
    )
