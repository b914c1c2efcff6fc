"""Write a running take to disk for as long as the disk accepts it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from models.source import Encoded
from streaming.rollout import Boundary
from streaming.speech.session_sound import SessionSound
from streaming.take.history import Picture, TakeFiles, TakeHistory
from streaming.take.journal import Record
from streaming.take.take_file import CueLine
from streaming.transport.events import Event, WarningEvent


class TakeWriter:
    """Write a take's journal, file and sound.

    The stream does not depend on it: after an error of the disk a warning is told and the take stays in memory only.
    """

    def __init__(self, folder: Path | None, record: Record, tell: Callable[[Event], None]) -> None:
        """Write into `folder` (None: nothing is written) with the record of the machine; `tell` gets the warning."""
        self._files = TakeFiles(folder, record) if folder is not None else None
        self._tell = tell

    def begin(self, history: TakeHistory) -> None:
        """Begin the journal of this take, with what it shares with its parent."""
        self._write(lambda files: files.begin(history))

    def chunk(self, boundary: Boundary, landed: list[CueLine]) -> None:
        """Write a chunk into the journal, with the cues that landed on it."""
        self._write(lambda files: files.chunk(boundary, landed))

    def picture(self, history: TakeHistory, picture: Picture) -> None:
        """Keep a small copy of a picture [H, W, 3] RGB of this take for lists of takes."""
        self._write(lambda files: files.picture(history, picture))

    def camera(self, name: str, first: int, given: Encoded) -> bool:
        """Record what a chunk was given of the camera, from frame `first` on; return whether takes are kept on disk."""
        self._write(lambda files: files.camera(name, first, given))
        return self._files is not None

    def copy_camera(self, name: str, other: str, frames: int) -> None:
        """Begin the record of a camera `other` with the first `frames` frames of the record `name`."""
        self._write(lambda files: files.copy_camera(name, other, frames))

    def redrawn(self, at: int) -> None:
        """Write that the chunks from latent `at` on are given up and will follow anew."""
        self._write(lambda files: files.redrawn(at))

    def end(self, history: TakeHistory) -> None:
        """End the journal and write the take file."""
        self._write(lambda files: files.end(history))

    async def close(self) -> None:
        """Wait until everything is on the disk, and close the journal's file."""
        if self._files is not None:
            try:
                await asyncio.to_thread(self._files.close)
            except OSError as e:
                self.give_up(e)

    def begin_sound(self, history: TakeHistory, sound: SessionSound) -> None:
        """Write portraits, and sounds as they come, into files beside the take, and name them in the take."""

        def write(files: TakeFiles) -> None:
            sound.failed = self.give_up
            history.take = history.take.model_copy(update=sound.keep(history.id, files.beside))

        self._write(write)

    def recording_path(self, history: TakeHistory) -> Path:
        """Return the path of a new recording of the take; ValueError if nothing is written to disk."""
        if self._files is None:
            raise ValueError("nothing can be recorded: takes are not kept on disk here")
        return self._files.recording(history)

    def give_up(self, error: OSError) -> None:
        """Write nothing more, because of an error of the disk, and tell that once."""
        if self._files is not None:
            self._files.give_up()
            self._files = None
            why = f"the take is no longer kept on disk ({error.strerror or error}): download it before you end it"
            self._tell(WarningEvent(why=why))

    def _write(self, write: Callable[[TakeFiles], None]) -> None:
        if self._files is None:
            return
        try:
            write(self._files)
        except OSError as e:
            self.give_up(e)
