"""The history of a take: what has been drawn of it, as its journal and its file tell."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from models.checkpoints.synced_files import sync_file, write_whole
from streaming.rollout import Boundary
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


def new_id() -> str:
    """Return a new name for a take: 12 hexadecimal digits."""
    return uuid.uuid4().hex[:12]


@dataclass
class TakeHistory:
    """Keeps the cues of a take with what they landed on, and the hash of every chunk."""

    id: str
    take: Take  # as it began: model, seed, size and the first prompt
    parent: str | None = None
    landed: list[CueLine] = field(default_factory=list)  # every cue with the latent it landed on
    hashes: dict[int, str] = field(default_factory=dict)  # first latent of a chunk → hash of its latents
    length: int = 0  # latents

    def as_take(self, record: Record) -> Take:
        """Return the take that a render replays to the same latents where `record` is the same."""
        cues = [e.model_copy(update={"at": e.landed}) for e in self.landed]
        changes = {"parent": self.parent, "cues": cues, "length": max(self.length, 1), "record": record}
        return self.take.model_copy(update=changes)

    def shortened(self, at: int) -> list[CueLine]:
        """Forget what was drawn from latent `at` on, to draw it anew; returns the cues that had landed there."""
        gone = [e for e in self.landed if (e.landed or 0) >= at]
        self.landed = [e for e in self.landed if (e.landed or 0) < at]
        self.hashes = {first: h for first, h in self.hashes.items() if first < at}
        self.length = at
        return gone

    def branched(self, at: int) -> TakeHistory:
        """Return a new take that shares the past before latent `at`."""
        kept = [e for e in self.landed if (e.landed or 0) < at]
        hashes = {first: h for first, h in self.hashes.items() if first < at}
        return TakeHistory(new_id(), self.take, f"{self.id}@{at}", kept, hashes, at)


class TakeFiles:
    """Writes journal and take file of the take that a session is on, in a folder.

    A thread of its own waits for the disk, so that neither the stream nor the device does: lines that come meanwhile
    are synced together. What fails there is raised by the next call.
    """

    def __init__(self, folder: Path, record: Record) -> None:
        """Prepare to write into `folder`; `record` goes into the files."""
        self._folder, self._record = folder, record
        self._journal: Journal | None = None
        self._sound: Path | None = None  # which must be on the disk before the lines of chunks that hear it
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="take-files")
        self._waiting = 0  # jobs that have not begun
        self._lock = threading.Lock()
        self._failure: OSError | None = None

    def begin(self, history: TakeHistory) -> None:
        """Write this take's journal from now on; what it shares with its parent stands in it. OSError as of `chunk`."""
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
        self._sound = self._folder / take.sound if take.sound else None

        def sync() -> None:
            if before is not None:
                before.sync()
                before.close()
            for name in (take.reference, take.sound):
                if name is not None:
                    sync_file(self._folder / name)

        self._soon(sync)

    def chunk(self, drawn: Boundary, cues: list[CueLine]) -> None:
        """Have a chunk written, with the cues that landed on it. OSError if the disk did not take what was before."""
        self._write(*(landed_cue(cue) for cue in cues), chunk_line(drawn))

    def redrawn(self, at: int) -> None:
        """Have written that what was drawn from latent `at` on is given up; it follows anew. OSError as of `chunk`."""
        self._write(RedrawnLine.model_validate({"type": "redrawn", "from": at}))

    def end(self, history: TakeHistory) -> None:
        """Have the journal ended, and the take file written beside it. OSError as of `chunk`."""
        path, text = self._folder / f"{history.id}.yaml", history.as_take(self._record).dumped().encode()
        if history.length:
            self._soon(lambda: write_whole(path, text))
        self._write(EndLine(type="end"))

    def beside(self, name: str) -> Path:
        """Return the path of a file of that name beside the take."""
        return self._folder / name

    def recording(self, history: TakeHistory) -> Path:
        """Return the path of a new recording of the take; they are numbered from 1."""
        number = 1
        while (path := self._folder / f"{history.id}-{number}.mp4").exists():
            number += 1
        return path

    def close(self) -> None:
        """Wait until everything is on the disk and close the journal; OSError if the disk did not take it all."""
        self._thread.shutdown(wait=True)
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        self._raise()

    def give_up(self) -> None:
        """Write nothing more, and have the journal closed once the disk has answered."""
        if self._journal is not None:
            self._thread.submit(self._journal.close)
        self._thread.shutdown(wait=False)

    def _write(self, *lines: JournalLine) -> None:
        """Write lines at once, so that readers find them, and have them synced; of a take with sound, behind that."""
        journal, sound = self._journal, self._sound
        if journal is None:
            return

        def write() -> None:
            if sound is not None:
                sync_file(sound)
                journal.write(*lines)

        if sound is None:
            journal.write(*lines)
        self._soon(write)

    def _soon(self, job: Callable[[], None]) -> None:
        """Have the thread do a job behind those that wait, and sync the journal when none waits any more."""
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
    """What the journal of a live take tells."""

    history: TakeHistory
    record: Record
    ended: bool  # False: the take is running, or was cut off
    damage: str = ""  # one line about what of the journal could not be read

    def take(self) -> Take:
        """Return the take that a render replays to the same latents."""
        return self.history.as_take(self.record)


def replay_journal(lines: Sequence[JournalLine]) -> JournalSummary:
    """Return the history in the journal of a live take up to its last whole chunk; ValueError if it holds none."""
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
    history = TakeHistory(head.id, head.take, head.parent, landed, hashes, length)
    return JournalSummary(history, head.record, isinstance(lines[-1], EndLine))


def chunk_line(drawn: Boundary, seconds: dict[str, float] | None = None) -> ChunkLine:
    """Return the journal's line for a chunk; a render tells the seconds that its parts took."""
    return ChunkLine(
        type="chunk",
        first=drawn.first,
        latents=drawn.latents,
        hash=drawn.hash,
        disagreement=None if drawn.disagreement is None else round(drawn.disagreement, 4),
        seconds=seconds,
    )
