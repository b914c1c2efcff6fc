"""Write files so that a power cut leaves either what was there before or what was asked for.

What is written reaches the disk for sure only with an fsync of the file, and a name that was given, changed or taken
away only with an fsync of its folder (POSIX.1-2017, fsync). Whatever a journal speaks of is therefore written through
these functions, and synced before the journal's line.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

BLOCK = 1 << 20  # bytes copied at a time
UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM)  # of a folder that cannot be synced
if sys.platform == "win32":
    BINARY, NO_LINK = os.O_BINARY, 0
else:
    BINARY, NO_LINK = 0, os.O_NOFOLLOW  # what is written never lands where a symbolic link points


class AppendedFile:
    """Append to a file; `size` is where it ends."""

    def __init__(self, path: Path, *, keep: int = 0) -> None:
        """Open or create a file and cut it to its first `keep` bytes; ValueError if it has fewer.

        OSError if the disk does not take it, or the path is a symbolic link.
        """
        self._folder: Path | None = path.parent  # until its name is synced
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | BINARY | NO_LINK, 0o666)
        try:
            size = os.fstat(self._file).st_size
            if size < keep:
                raise ValueError(f"{path} has {size} bytes, not {keep}")
            if size > keep:
                os.ftruncate(self._file, keep)
        except BaseException:
            os.close(self._file)
            raise
        self.size = keep

    def append(self, data: bytes) -> None:
        """Append all of `data` or nothing; OSError if the disk does not take it, and what it took is taken back."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self.size)
            raise
        self.size += len(data)

    def sync(self) -> None:
        """Return when all that was appended is on the disk, and the file's name; OSError if it did not take them."""
        self.sync_content()
        if self._folder is not None:
            sync_folder(self._folder)
            self._folder = None

    def sync_content(self) -> None:
        """Return when all that was appended is on the disk, for a file that is to get another name."""
        _sync(self._file)

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        if self._file >= 0:
            file, self._file = self._file, -1
            os.close(file)

    def __enter__(self) -> AppendedFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_no_link(path: Path, flags: int) -> int:
    """Open a file with the flags of `os.open`; OSError if the path is a symbolic link."""
    return os.open(path, flags | BINARY | NO_LINK, 0o666)


def write_whole(path: Path, data: bytes) -> None:
    """Put a file with this content at `path`, in one move: a reader, or a power cut, finds the old one or this one.

    OSError if the disk does not take it; what was there before is unharmed.
    """
    with _replacing(path) as file:
        file.append(data)


def copy_beginning(source: Path, path: Path, size: int) -> None:
    """Put the first `size` bytes of a file at `path`, in one move; OSError as of `write_whole`."""
    with source.open("rb") as read, _replacing(path) as file:
        while block := read.read(min(BLOCK, size - file.size)):
            file.append(block)


def move(source: Path, path: Path) -> None:
    """Give a file that is synced the name `path`, in the same folder, and sync that."""
    os.replace(source, path)
    sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder in one that is there, if it is not there yet, and sync its name."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(path)
        sync_folder(path.parent)


def remove(path: Path) -> None:
    """Delete a file if it is there. Its folder is not synced: a file that comes back is deleted again next time."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def sync_file(path: Path) -> None:
    """Return when what was written to the file is on the disk; OSError if it did not take it."""
    file = os.open(path, os.O_RDWR | BINARY)
    try:
        _sync(file)
    finally:
        os.close(file)


def sync_folder(path: Path) -> None:
    """Return when the names in a folder are on the disk. Windows keeps them in its journal and has no call for it."""
    if sys.platform == "win32":
        return
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # one that may be written but not read
        return
    try:
        os.fsync(folder)
    except OSError as e:
        if e.errno not in UNSUPPORTED:
            raise
    finally:
        os.close(folder)


def partial_of(path: Path) -> Path:
    """Return where `write_whole` writes first; a kill may leave such a file."""
    return path.with_name(f"{path.name}.partial")


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[AppendedFile]:
    """Give a file that takes the place of `path` once it is whole, and goes if it does not become so."""
    partial = partial_of(path)
    try:
        with AppendedFile(partial) as file:
            yield file
            file.sync_content()
        move(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            remove(partial)
        raise


def _sync(file: int) -> None:
    if sys.platform == "darwin":  # where fsync leaves data in the disk's own cache
        import fcntl

        fcntl.fcntl(file, fcntl.F_FULLFSYNC)
    else:
        os.fsync(file)
