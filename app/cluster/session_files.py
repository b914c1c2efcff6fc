"""Keep on the shared folder what a session needs to go on in another process, beside journal and checkpoints."""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
import time
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.cluster.fleet import SessionReport
from models.checkpoints.synced_files import write_whole
from streaming.live.pacing import LookAhead
from streaming.take.history import TakeHistory
from streaming.take.take_file import CueLine

log = logging.getLogger(__name__)

FORGOTTEN_AFTER = 600.0  # seconds after which nobody looks for a session any more whose worker has vanished


class AskedCue(BaseModel):
    """Hold a cue of a command that waits to land."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    number: int  # of the command
    line: CueLine
    at: int | None = None  # latent from which on it lands; None: on the next chunk


class SessionFacts(BaseModel):
    """Hold what a session keeps wherever it runs.

    Workers of two releases read what the other has written, while the one takes the place of the other.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    worker: str  # that has it
    key: Annotated[str, Field(min_length=16)]
    take: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]  # whose journal tells all of it
    shown: int  # number in the take of the frame that is shown next
    fps: int
    playing: bool
    paused: bool
    watched: bool = False  # whether it has viewers
    look_ahead: LookAhead
    factor: float
    kind: str
    links: list[str] = []  # share links that are valid
    drawn: int = 0  # latents of the take
    asked: list[AskedCue] = []  # behind those latents, in the order in which they came

    def report(self) -> SessionReport:
        """Return what a director knows of the session."""
        return SessionReport(
            self.key, self.take, self.shown, self.fps, playing=self.playing, factor=self.factor, kind=self.kind
        )


def still_asked(facts: SessionFacts, past: TakeHistory | None) -> list[AskedCue]:
    """Return the cues that have not landed by the journal either, which may be newer than the facts by a chunk."""
    lines = past.landed if past is not None else []
    landed = [_said(line) for line in lines if line.landed is not None and line.landed >= facts.drawn]
    # cues for one chunk give way to the newest of them, and are taken back by it
    last = max((n for n, cue in enumerate(facts.asked) if cue.at is None and _said(cue.line) in landed), default=-1)
    return [
        cue for n, cue in enumerate(facts.asked) if _said(cue.line) not in landed and (n > last or cue.at is not None)
    ]


def _said(line: CueLine) -> dict[str, Any]:
    """Return what a cue says, whether it has landed or not."""
    return line.model_dump(exclude={"at", "landed", "hashes"})


class SessionFiles:
    """Read and write the facts of sessions, each in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def folder(self, session: str) -> Path:
        """Return the folder of a session, which holds its checkpoints too."""
        return self._folder / session

    def write(self, session: str, facts: SessionFacts) -> None:
        """Write what is known of a session, in one move; OSError if the disk does not take it."""
        folder = self.folder(session)
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "session.json", facts.model_dump_json().encode())

    def read(self, session: str) -> SessionFacts | None:
        """Return what is known of a session; None if nothing is, OSError if the disk does not answer."""
        try:
            return SessionFacts.model_validate_json((self.folder(session) / "session.json").read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def forget(self, session: str) -> None:
        """Delete what is kept of a session that has ended."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.folder(session))

    def left(self) -> dict[str, SessionFacts]:
        """Return the sessions that have not ended, by id; those that nobody has had for long are forgotten."""
        found: dict[str, SessionFacts] = {}
        folders = self._folder.iterdir() if self._folder.is_dir() else ()
        for folder in folders:
            if not re.fullmatch(r"[0-9a-f]{32}", folder.name):
                continue
            facts = self.read(folder.name)
            if facts is not None and time.time() - (folder / "session.json").stat().st_mtime < FORGOTTEN_AFTER:
                found[folder.name] = facts
            elif time.time() - folder.stat().st_mtime > FORGOTTEN_AFTER:
                self.forget(folder.name)
        return found
