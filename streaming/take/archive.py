"""Find the takes of a data folder. Each has a journal, whether its session ended, runs, or was cut off by a kill."""

from __future__ import annotations

import contextlib
import logging
import re
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from models.checkpoints.synced_files import AppendedFile, remove, write_whole
from streaming.media.live_recording import intact_bytes
from streaming.take import journal
from streaming.take.history import JournalSummary, replay_journal
from streaming.take.left_uploads import delete_left_uploads
from streaming.take.take_file import Take

log = logging.getLogger(__name__)

NEWEST = 100  # takes that are listed


class Archive:
    """Find takes by their ids; the take file, recordings and render of a take lie beside its journal."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        try:
            folder.chmod(0o700)  # speech and films in it are private: only the server's user may read them
        except PermissionError:
            log.warning("%s belongs to another user, who decides about its permissions", folder)
        self._known: dict[Path, tuple[int, JournalSummary | None]] = {}  # size of the journal when it was read

    def told(self, name: str) -> JournalSummary:
        """Return the summary of a take's journal; KeyError for an unknown id or a journal without a take."""
        path = self.file(f"{name}.jsonl") if re.fullmatch(r"[0-9a-f]{12}", name) else None
        told = self._read(path) if path is not None else None
        if told is None:
            raise KeyError(name)
        return told

    def file(self, name: str) -> Path | None:
        """Return the path of a regular file in the folder; None if there is none, or if it is a symbolic link."""
        path = self.folder / name
        try:
            inside = path.name == name and stat.S_ISREG(path.lstat().st_mode)
        except (OSError, ValueError):  # a name with a zero byte is a ValueError
            return None
        return path if inside else None

    def newest(self) -> Iterator[JournalSummary]:
        """Yield the summaries of the `NEWEST` takes written to last, the newest first."""
        journals = self._newest_journals()
        known = self._known  # another thread may replace it meanwhile
        self._known = {p: known[p] for p in journals if p in known}
        found = (self._read(path) for path in journals)
        return (told for told in found if told is not None)

    def _newest_journals(self) -> list[Path]:
        """Return the journals of the `NEWEST` takes, readable or not, the one written to last first."""
        written: dict[Path, float] = {}
        for path in self.folder.glob("*.jsonl"):
            if re.fullmatch(r"[0-9a-f]{12}", path.stem) and self.file(path.name):
                with contextlib.suppress(FileNotFoundError):  # it is deleted now, by another thread
                    written[path] = path.stat().st_mtime
        return sorted(written, key=lambda path: written[path], reverse=True)[:NEWEST]

    def changed(self, name: str) -> float:
        """Return when a take was last written to, in seconds of the wall clock; FileNotFoundError if it is deleted."""
        return (self.folder / f"{name}.jsonl").stat().st_mtime

    def recover(self) -> None:
        """Write the missing take files of takes that were cut off, and cut damage off their recordings.

        Only the `NEWEST` takes are looked at, so that a start does not read every journal of a large folder. Call it
        after a start and before any session: it deletes every file that was only partly written, and uploaded files of
        which no take knows.
        """
        for path in self.folder.glob("*.partial"):
            with contextlib.suppress(OSError):
                remove(path)
        for told in self.newest():
            if not self._recovered(told):
                with contextlib.suppress(OSError):  # a full disk is no reason not to start
                    self.write(told.history.id, told.take())
                    for path in self.recordings(told.history.id):
                        _mend(path)
        delete_left_uploads(self.folder, [path.stem for path in self._newest_journals()])

    def _recovered(self, told: JournalSummary) -> bool:
        """Return whether a take's file is there and is as complete as its journal."""
        file = self.take_file(told.history.id)
        if not file.exists():
            return False
        journalled = (self.folder / f"{told.history.id}.jsonl").stat().st_mtime_ns
        return told.ended or bool(told.damage) or file.stat().st_mtime_ns >= journalled

    def take_file(self, name: str) -> Path:
        """Return the path of a take's file."""
        return self.folder / f"{name}.yaml"

    def write(self, name: str, take: Take) -> Path:
        """Write a take file in one move, synced, and return its path; OSError if the disk does not take it."""
        path = self.take_file(name)
        write_whole(path, take.dumped().encode())
        return path

    def forget_sound(self, name: str) -> None:
        """Delete the sound file of a take, which holds an avatar's speech; the take file still names it."""
        remove(self.folder / f"{name}.wav")
        for spoken in self.folder.glob(f"{name}-*.wav"):  # of the speakers of a dialogue
            remove(spoken)

    def recordings(self, name: str) -> list[Path]:
        """Return the paths of a take's recordings, by number."""
        found = [
            p
            for p in self.folder.glob(f"{name}-*.mp4")
            if re.fullmatch(r"[0-9a-f]{12}-\d{1,6}", p.stem) and self.file(p.name)
        ]
        return sorted(found, key=lambda p: int(p.stem.partition("-")[2]))

    def newest_film(self, name: str) -> Path | None:
        """Return the path of a take's rendered film, or of its newest recording; None if there is neither."""
        return self.file(f"{name}.mp4") or next(reversed(self.recordings(name)), None)

    def _read(self, path: Path) -> JournalSummary | None:
        """Return what a journal tells; None if it has no chunk, cannot be read or was deleted meanwhile."""
        try:
            size = path.stat().st_size
            known = self._known.get(path)
            if known is not None and known[0] == size:
                return known[1]
            reading = journal.examine(path)
        except FileNotFoundError:
            return None
        except PermissionError:  # such as of a server that ran as another user
            log.warning("%s belongs to another user and cannot be read; the take is left out", path.name)
            self._known[path] = size, None
            return None
        if reading.damage:
            log.warning("%s: %s", path.name, reading.damage)
        try:
            told = replace(replay_journal(reading.lines), damage=reading.damage)
        except ValueError:
            told = None
        self._known[path] = size, told
        return told


def _mend(recording: Path) -> None:
    """Cut off the bytes after the last intact fragment of a recording; a power cut can damage those."""
    size, intact = recording.stat().st_size, intact_bytes(recording)
    if intact < size:
        log.warning("%s: its last %d bytes were damaged and are cut off", recording.name, size - intact)
        with AppendedFile(recording, keep=intact) as file:
            file.sync()
