"""Write files so that a power cut leaves either the old or the new state.

Written data is certain to be on the disk only after an fsync of the file, and a new, changed or removed name only after
an fsync of its folder (POSIX.1-2017, fsync). Files that a journal refers to are therefore written through these
functions, and synced before the journal's line.
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
    """Append to a file, whose length in bytes is `size`."""

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
        """Append all of `data`; if writing fails, remove what was written and raise OSError."""
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
        """Wait until the appended data and the file's name are on the disk; raise OSError if that fails."""
        self.sync_content()
        if self._folder is not None:
            sync_folder(self._folder)
            self._folder = None

    def sync_content(self) -> None:
        """Wait until the appended data is on the disk, for a file that will be renamed."""
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


def open_no_link(path: Path, flags: int, mode: int = 0o666) -> int:
    """Open a file with the flags and the mode of `os.open`; OSError if the path is a symbolic link."""
    return os.open(path, flags | BINARY | NO_LINK, mode)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file atomically: a reader, or a power cut, finds either the old content or the new.

    Raises OSError if writing fails; the old file is then unchanged.
    """
    with _replacing(path) as file:
        file.append(data)


def copy_beginning(source: Path, path: Path, size: int) -> None:
    """Copy the first `size` bytes of a file to `path` atomically; raise OSError as `write_whole` does."""
    with source.open("rb") as read, _replacing(path) as file:
        while block := read.read(min(BLOCK, size - file.size)):
            file.append(block)


def move(source: Path, path: Path) -> None:
    """Rename a synced file to `path`, in the same folder, and sync the folder."""
    os.replace(source, path)
    sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Create a folder in an existing one unless it exists, and sync its name."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(path)
        sync_folder(path.parent)


def remove(path: Path) -> None:
    """Delete a file if it exists, without syncing its folder: a reappearing file is deleted again later."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def sync_file(path: Path) -> None:
    """Wait until a file's data is on the disk; raise OSError if that fails."""
    file = os.open(path, os.O_RDWR | BINARY)
    try:
        _sync(file)
    finally:
        os.close(file)


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk; on Windows, which journals names, do nothing."""
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
    """Return the temporary path of `write_whole`, at which a kill may leave a file."""
    return path.with_name(f"{path.name}.partial")


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[AppendedFile]:
    """Yield a temporary file that replaces `path` when complete, and is deleted after an error."""
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
