"""Keep built engines in a folder, and tell a trustworthy one from a damaged or a stale one.

An artifact is a folder named after the hash of all that it depends on: weights, configuration, engine, precision,
device, tool versions. It is built beside its place and renamed at the end, so that a build that dies leaves nothing
under the final name; a manifest holds a digest of every file, so that what was damaged later is found too.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.checkpoints.held_folder import hold
from models.errors import UserError

MANIFEST = "manifest.json"


class ExportError(UserError):
    """Report an engine that cannot be built or used; the message is one line for a person."""


@dataclass(frozen=True)
class Key:
    """Hold all that an artifact depends on, as JSON values."""

    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """Return the folder's name: engine and precision for a reader, a hash of everything for trust."""
        text = json.dumps(self.facts, sort_keys=True)
        digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        return f"{self.facts['model']}-{self.facts['engine']}-{self.facts['precision']}-{digest}"


class Store:
    """Keep artifacts in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: Key) -> Path:
        return self.folder / key.name

    def beside(self, key: Key, what: str) -> Path:
        """Return the path of a file that belongs to an artifact but is made after it."""
        return self.folder / f"{key.name}.{what}"

    def names(self) -> set[str]:
        """Return the names of what is in the folder: nothing if there is no folder, or it is not for this user."""
        try:
            return {path.name for path in self.folder.iterdir()}
        except OSError:  # such as a home that is another user's, in a container
            return set()

    def find(self, key: Key) -> Path | None:
        """Return the artifact's folder if it is whole, None if there is none; ExportError if it cannot be trusted."""
        folder = self.path(key)
        if not folder.is_dir():
            return None
        try:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            facts, digests = manifest["key"], dict(manifest["files"])
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise ExportError(f"{folder}: damaged ({MANIFEST} cannot be read)") from e
        if facts != json.loads(json.dumps(key.facts)):
            differs = sorted(k for k in {*facts, *key.facts} if facts.get(k) != key.facts.get(k))
            raise ExportError(f"{folder}: made for something else ({', '.join(differs) or 'its key'} differs)")
        for name, digest in digests.items():
            if not (folder / name).is_file() or _digest(folder / name) != digest:
                raise ExportError(f"{folder}: damaged ({name} is not what was built)")
        return folder

    @contextlib.contextmanager
    def building(self, key: Key) -> Iterator[Path]:
        """Give a scratch folder that becomes the artifact if the block ends well, and is gone if it does not.

        The leftovers of a killed build are swept away; ExportError when the disk does not take the files.
        """
        scratch = self.folder / f".{key.name}.{os.getpid()}-{secrets.token_hex(4)}.partial"
        lock: int | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._sweep(key)
            scratch.mkdir()
            lock = hold(scratch)
            yield scratch
            digests = {p.name: _digest(p) for p in sorted(scratch.iterdir())}
            manifest = {"key": key.facts, "files": digests}
            (scratch / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
            final = self.path(key)
            if final.exists():
                shutil.rmtree(final)
            os.replace(scratch, final)
        except OSError as e:
            raise no_room(self.folder, e) from e
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            if lock is not None:
                os.close(lock)

    def _sweep(self, key: Key) -> None:
        for left in self.folder.glob(f".{key.name}.*.partial"):
            if not _in_use(left):
                shutil.rmtree(left, ignore_errors=True)


def no_room(folder: Path, error: OSError) -> ExportError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        elsewhere = error.filename and not Path(error.filename).is_relative_to(folder)  # such as a full /tmp
        full = Path(error.filename).parent if elsewhere else folder
        return ExportError(f"{full}: no space left on the disk; nothing was kept, make room and run it again")
    return ExportError(f"{error.filename or folder}: cannot be written ({error.strerror or error})")


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically, so that a reader never sees half a file; ExportError if that fails."""
    partial = path.with_suffix(f".{secrets.token_hex(8)}.partial")  # two first starts may write at once
    try:
        partial.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
        os.replace(partial, path)
    except OSError as e:
        partial.unlink(missing_ok=True)
        raise no_room(path.parent, e) from e


def read_json(path: Path) -> Any:
    """Return the JSON value of a file; None if the file is missing or not whole."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def size_of(folder: Path) -> int:
    """Return the size of an artifact in bytes."""
    return sum(p.stat().st_size for p in folder.iterdir())


def _digest(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _in_use(scratch: Path) -> bool:
    """Return whether a build writes into a scratch folder now.

    Containers that share a folder have processes of the same number, so that the lock decides where there is one.
    """
    try:
        lock = hold(scratch)
    except BlockingIOError:
        return True
    if lock is not None:
        os.close(lock)
    return _runs(int(scratch.name.split(".")[-2].partition("-")[0]))


def _runs(process: int) -> bool:
    if process == os.getpid():
        return False  # a build of this very process that is over
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
