"""Keep the pictures, films and LoRAs that were uploaded for a session's take, in a folder beside the take."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.checkpoints.assemble import Model
from models.checkpoints.lora_file import UsableLora, lora_for
from models.checkpoints.safetensors_header import begins_header
from models.checkpoints.synced_files import make_folder, move, open_no_link, remove, sync_file
from models.errors import ErrorKind, UserError
from streaming.media.film_pictures import FORMATS as FILMS
from streaming.media.film_reader import FilmReader
from streaming.speech.format_name import HEAD, format_name
from streaming.speech.portrait_file import FORMATS as PICTURES
from streaming.speech.portrait_file import picture_in
from streaming.take.left_uploads import FOLDER_SUFFIX
from streaming.take.take_loras import loras_of

MOST_BYTES = 64 << 20  # of a picture or a film
MOST_TOTAL = 256 << 20  # of a session's pictures and films together, those that are arriving included
MOST_LORA_BYTES = 1 << 30  # of a session's LoRAs together, those that are arriving included
MOST_FILES = 32  # of a session
LORA_SUFFIX = ".safetensors"
_SUFFIXES = {
    "a PNG picture": ".png",
    "a JPEG picture": ".jpg",
    "a WebP picture": ".webp",
    "an AVIF picture": ".avif",
    "a GIF picture": ".gif",
    "an MP4 file": ".mp4",
    "a Matroska or WebM video": ".webm",
    "an AVI video": ".avi",
    "an MPEG video": ".mpg",
    "an MPEG transport stream": ".ts",
}


class UnknownFormatError(UserError):
    """Report a file that is no picture, film or LoRA that can be read."""


class DamagedFileError(UserError):
    """Report a picture or a film that cannot be decoded, or a LoRA that cannot be merged."""


class NoRoomError(UserError):
    """Report that a session has as many files, or bytes of files, as it may have."""


class UsedFileError(UserError):
    """Report that a file cannot be deleted, because a cue of the take has used it."""

    kind = ErrorKind.CONFLICT


class NoSuchFileError(UserError):
    """Report that no uploaded file has this name."""

    kind = ErrorKind.NOT_FOUND


Kind = Literal["picture", "film", "lora"]


@dataclass(frozen=True)
class UploadedFile:
    """Describe an uploaded file: the name by which cues name it, its kind, its bytes, and notes for a person."""

    name: str
    kind: Kind
    size: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckedFile:
    """Hold what a file that has arrived is: the suffix of its format, what describes it, and what a LoRA changes."""

    suffix: str
    described: UploadedFile
    lora: UsableLora | None = None


class ArrivingFile:
    """Take in a file, which becomes one of the session's files once it was checked."""

    def __init__(self, files: UploadedFiles, path: Path) -> None:
        """Write into a new file at `path`, which only the server's user may read; OSError if that fails."""
        self._files, self.path, self.size = files, path, 0
        self._head = b""
        self._file = open_no_link(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    @property
    def is_lora(self) -> bool:
        """Return whether it begins as a safetensors file does, of whose size a LoRA may be."""
        return begins_header(self._head)

    def write(self, block: bytes) -> None:
        """Append a block; NoRoomError beyond what a file or the session may have, OSError if the disk is full."""
        self._head += block[: HEAD - len(self._head)]
        if not self.is_lora and self.size + len(block) > MOST_BYTES:
            raise NoRoomError(f"a picture or a film has at most {MOST_BYTES >> 20} MB; send a smaller or shorter one")
        self._files.require_room(len(block), lora=self.is_lora)
        rest = memoryview(block)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        self.size += len(block)

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        if self._file >= 0:
            file, self._file = self._file, -1
            os.close(file)


def is_uploaded(name: str) -> bool:
    """Return whether a name that a cue has is that of an uploaded file."""
    folder, _, file = name.partition("/")
    return folder.endswith(FOLDER_SUFFIX) and len(folder) > len(FOLDER_SUFFIX) and not set(file) & set("/\\")


class UploadedFiles:
    """Hold the files of one session. All methods but `checked` belong to the event loop."""

    def __init__(self, takes: Path, take: str, model: Model, size: tuple[int, int]) -> None:
        """Keep files for takes of `size` (width, height) below the folder `takes`, in one named after the id `take`."""
        self._takes, self._take, self._model, self._size = takes, take, model, size
        self.folder = takes / f"{take}{FOLDER_SUFFIX}"
        self._files: dict[str, UploadedFile] = {}
        self._arriving: set[ArrivingFile] = set()

    def listed(self) -> list[UploadedFile]:
        """Return the files in the order in which they came."""
        return list(self._files.values())

    def require_room(self, more: int, *, lora: bool) -> None:
        """Raise NoRoomError if the session may not have `more` further bytes, of a LoRA or of another file."""
        most, what = (MOST_LORA_BYTES, "LoRAs") if lora else (MOST_TOTAL, "pictures and films")
        total = sum(file.size for file in self._files.values() if (file.kind == "lora") is lora)
        total += sum(file.size for file in self._arriving if file.is_lora is lora)
        if total + more > most:
            raise NoRoomError(f"the {what} of a session have at most {most >> 20} MB together; delete one first")

    def begin(self) -> ArrivingFile:
        """Return a new file to write into; NoRoomError if the session has its most files. Hand it to `drop` at last."""
        if len(self._files) + len(self._arriving) >= MOST_FILES:
            raise NoRoomError(f"a session has at most {MOST_FILES} files; delete one first")
        # a server that starts deletes what ends like this, so that nothing stays behind after a kill
        arriving = ArrivingFile(self, self._takes / f"{self._take}.{secrets.token_hex(8)}.partial")
        self._arriving.add(arriving)
        return arriving

    def checked(self, arriving: ArrivingFile, name: str) -> CheckedFile:
        """Read a file that has arrived, which errors call `name`, and sync it; return what it is.

        UnknownFormatError or DamagedFileError if no take can use it. May run on any thread.
        """
        arriving.close()
        if arriving.is_lora:
            return self._checked_lora(arriving, name)
        with arriving.path.open("rb") as file:
            kind = format_name(file.read(HEAD))
        if kind not in PICTURES and kind not in FILMS:
            films = "a film (MP4, MOV, WebM, AVI, MPEG)"
            wanted = f"send a picture (PNG, JPEG, WebP, AVIF, GIF), {films} or a LoRA (safetensors)"
            raise UnknownFormatError(f"{name}: no picture, film or LoRA that can be read but {kind}; {wanted}")
        notes: tuple[str, ...] = ()
        try:
            if kind in PICTURES:
                notes = picture_in(arriving.path.read_bytes(), self._size, name).notes
            else:
                film = FilmReader(arriving.path, self._size, self._model.entry.fps, name=name)
                film.close()
                notes = tuple(film.notes)
        except UserError as e:
            raise DamagedFileError(str(e)) from None
        sync_file(arriving.path)
        described = UploadedFile(name, "picture" if kind in PICTURES else "film", arriving.size, notes)
        return CheckedFile(_SUFFIXES[kind], described)

    def _checked_lora(self, arriving: ArrivingFile, name: str) -> CheckedFile:
        """Fit a LoRA to the model; DamagedFileError if it does not fit, or if the model takes none."""
        try:
            loras = loras_of(self._model, name)
            lora = lora_for(arriving.path, loras.parameters, self._model.entry.name, called=name)
            loras.check(name, lora.changes)
        except UserError as e:
            raise DamagedFileError(str(e).replace(str(arriving.path), name)) from None
        sync_file(arriving.path)
        return CheckedFile(LORA_SUFFIX, UploadedFile(name, "lora", arriving.size, lora.notes), lora)

    def keep(self, arriving: ArrivingFile, checked: CheckedFile) -> UploadedFile:
        """Move a checked file beside the take, under a safe name near to its own; OSError if the disk does not."""
        found, suffix = checked.described, checked.suffix
        make_folder(self.folder)
        if self.folder.is_symlink():
            raise NotADirectoryError(f"{self.folder.name} is a symbolic link")
        with contextlib.suppress(PermissionError):  # a disk without permissions, such as exFAT
            self.folder.chmod(0o700)
        own = re.split(r"[/\\]", found.name)[-1].rpartition(".")
        stem = re.sub(r"[^A-Za-z0-9_-]+", "-", own[0] or own[2]).strip("-")[:40] or found.kind
        number, path = 1, self.folder / f"{stem}{suffix}"
        while path.is_symlink() or path.exists():
            number += 1
            path = self.folder / f"{stem}-{number}{suffix}"
        move(arriving.path, path)
        name = path.relative_to(self._takes).as_posix()
        kept = self._files[name] = UploadedFile(name, found.kind, found.size, found.notes)
        return kept

    def drop(self, arriving: ArrivingFile) -> None:
        """Forget a file that arrived, and delete it unless it was kept."""
        self._arriving.discard(arriving)
        arriving.close()
        remove(arriving.path)

    def delete(self, name: str, used: Collection[str]) -> None:
        """Delete a file that is not among those that cues have `used`; NoSuchFileError or UsedFileError otherwise."""
        if name not in self._files:
            raise NoSuchFileError("no file of this session has that name")
        if name in used:
            raise UsedFileError(f"{name}: the take has used it, and needs it to be drawn again")
        remove(self._takes / name)
        del self._files[name]

    def tidy(self, used: Collection[str]) -> None:
        """Delete all files but those that cues have `used`, which stay beside the take."""
        for name in [name for name in self._files if name not in used]:
            self.delete(name, used)
        for arriving in list(self._arriving):
            self.drop(arriving)
        with contextlib.suppress(OSError):  # it is not there, or has files that are used
            self.folder.rmdir()
