"""Record what code does to files, and build every state that a power cut may leave of it.

POSIX promises nothing of what was written since the last fsync of a file, and nothing of names that were given, changed
or taken away since the last fsync of their folder. So at every cut a state is built for each way of losing data
(all of it, none, its bytes as zeros, half of it, every second block of it) with each way of losing names (all changes
since the fsync, none, all but the newest).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

BLOCK = 512  # bytes that a disk writes at once
DATA = ("lost", "kept", "zeros", "torn", "holes")
NAMES = ("lost", "kept", "newest only")
FOLDER = -1  # instead of the number of a file
CALLS = ("open", "close", "write", "ftruncate", "fsync", "replace", "unlink", "mkdir")
Changes = tuple[tuple[str, int | None], ...]  # names with their files; None: the name was taken away


@dataclass
class File:
    """A file's content on the disk, and what was done to it since it was synced."""

    synced: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)  # (place, data), or (length, None): cut

    def content(self, way: str) -> bytes:
        """Return the content after a cut that loses data in one of the ways of DATA."""
        if way == "lost":
            return self.synced
        data = bytearray(self.synced)
        for number, (place, new) in enumerate(self.pending):
            if new is None:
                del data[place:]
                continue
            if way == "zeros":
                new = bytes(len(new))
            elif way == "torn" and number == len(self.pending) - 1:
                new = new[: len(new) // 2]
            elif way == "holes":
                blocks = [new[i : i + BLOCK] for i in range(0, len(new), BLOCK)]
                new = b"".join(b if i % 2 else bytes(len(b)) for i, b in enumerate(blocks))
            data[place : place + len(new)] = new
        return bytes(data)


def _apply(changes: Changes, names: dict[str, int]) -> None:
    for name, file in changes:
        if file is None:
            names.pop(name, None)
        else:
            names[name] = file


@dataclass
class Disk:
    """Files and names of a folder and what is below, with what is not synced yet."""

    files: dict[int, File] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)  # on the disk
    pending: dict[str, list[Changes]] = field(default_factory=dict)  # of the names in a folder since it was synced

    def sync(self, file: int) -> None:
        """Bring the content of a file to the disk."""
        self.files[file] = File(self.files[file].content("kept"))

    def sync_names(self, folder: str) -> None:
        """Bring the names in a folder to the disk."""
        for changes in self.pending.pop(folder, []):
            _apply(changes, self.names)

    def named(self, way: str) -> dict[str, int]:
        """Return the names after a cut that loses them in one of the ways of NAMES."""
        names = dict(self.names)
        for folder in self.pending.values():
            for changes in [] if way == "lost" else folder if way == "kept" else folder[-1:]:
                _apply(changes, names)
        return {n: f for n, f in names.items() if str(Path(n).parent) in (".", *names)}

    def write(self, target: Path, data: str, names: str) -> str:
        """Write a state into an empty folder, and return a digest of it."""
        digest = hashlib.sha256()
        for name, file in sorted(self.named(names).items()):
            if file == FOLDER:
                (target / name).mkdir()
                continue
            content = self.files[file].content(data)
            digest.update(f"{name} {len(content)} ".encode() + content)
            (target / name).write_bytes(content)
        return digest.hexdigest()


Step = Callable[[Disk], None]


class Recorder:
    """Records the calls that change files below a folder, by standing before them in `os`."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        """Record from now on what is done below `root`; what lies there already is on the disk."""
        self.root = root
        self.steps: list[Step] = []
        self._marks: dict[str, list[int]] = {}
        self._before = Disk()
        self._names: dict[str, int] = {}  # as they are now
        self._held: dict[int, int] = {}  # descriptor → number of its file
        self._folders: dict[int, str] = {}  # descriptor → name of a folder
        self._count = 0
        self._lock = threading.RLock()
        for path in sorted(root.rglob("*")):
            name = str(path.relative_to(root))
            number = self._names[name] = FOLDER if path.is_dir() else self._number()
            self._before.names[name] = number
            if number != FOLDER:
                self._before.files[number] = File(path.read_bytes())
        self._real: dict[str, Callable[..., Any]] = {call: vars(os)[call] for call in CALLS}
        for call, stand_in in zip(
            CALLS,
            (
                self._open,
                self._close,
                self._write,
                self._ftruncate,
                self._fsync,
                self._replace,
                self._unlink,
                self._mkdir,
            ),
            strict=True,
        ):
            patch.setattr(os, call, stand_in)

    def mark(self, name: str) -> None:
        """Remember that something was told to the outside at this moment."""
        self._marks.setdefault(name, []).append(len(self.steps))

    def marked(self, name: str, cut: int) -> int:
        """Return how often that was told before a cut."""
        return sum(at <= cut for at in self._marks.get(name, []))

    def states(self, folder: Path, every: int = 1) -> Iterator[tuple[int, str, Path]]:
        """Yield (cut, how it lost what, folder with the state) of every `every`-th cut; equal states come once."""
        seen: set[tuple[str, ...]] = set()
        for cut in range(0, len(self.steps) + 1, every):
            disk = self.at(cut)
            for names in NAMES:
                for data in DATA:
                    target = folder / f"{cut}-{data}-{names.replace(' ', '-')}"
                    target.mkdir()
                    key = (disk.write(target, data, names), *(f"{m} {self.marked(m, cut)}" for m in self._marks))
                    if key in seen:
                        shutil.rmtree(target)
                    else:
                        seen.add(key)
                        yield cut, f"data {data}, names {names}", target

    def on_disk(self, name: str, cut: int | None = None, *, way: str = "lost") -> bytes:
        """Return what of a file is synced (or, with `way`, another content of it) at a cut, or now; b"" of no file."""
        disk = self.at(len(self.steps) if cut is None else cut)
        file = disk.named("kept").get(name)
        return b"" if file is None else disk.files[file].content(way)

    def replayed(self, folder: Path) -> Path:
        """Write what all recorded steps together give into a new folder, and return it."""
        folder.mkdir()
        self.at(len(self.steps)).write(folder, "kept", "kept")
        return folder

    def at(self, cut: int) -> Disk:
        """Return the disk after so many steps."""
        disk = Disk({n: File(f.synced) for n, f in self._before.files.items()}, dict(self._before.names))
        for step in self.steps[:cut]:
            step(disk)
        return disk

    # -- what stands before the calls ------------------------------------------------------------------------------

    def _inside(self, path: Any) -> str | None:
        """Return a path below the root; None for any other."""
        try:
            return str(Path(path).absolute().relative_to(self.root))
        except (ValueError, TypeError):
            return None

    def _number(self) -> int:
        self._count += 1
        return self._count

    def _renamed(self, *changes: tuple[str, int | None]) -> None:
        """Note that names were given (to the file of that number) or taken away (None), all in one folder."""
        for name, file in changes:
            if file is None:
                del self._names[name]
            else:
                self._names[name] = file
        folder = str(Path(changes[0][0]).parent)
        self.steps.append(lambda disk: disk.pending.setdefault(folder, []).append(changes))

    def _changed(self, file: int, place: int, data: bytes | None) -> None:
        self.steps.append(lambda disk: disk.files[file].pending.append((place, data)))

    def _open(self, path: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
        with self._lock:
            descriptor: int = self._real["open"](path, flags, mode, **more)
            name = None if more else self._inside(path)
            if name is not None and Path(path).is_dir():
                self._folders[descriptor] = name
            elif name is not None and (flags & os.O_CREAT or name in self._names):
                if name not in self._names:
                    number = self._number()
                    self.steps.append(lambda disk: disk.files.__setitem__(number, File()))
                    self._renamed((name, number))
                self._held[descriptor] = self._names[name]
            return descriptor

    def _close(self, descriptor: int) -> None:
        with self._lock:
            self._held.pop(descriptor, None)
            self._folders.pop(descriptor, None)
            self._real["close"](descriptor)

    def _write(self, descriptor: int, data: Any) -> int:
        with self._lock:
            file = self._held.get(descriptor)
            place = os.fstat(descriptor).st_size if file is not None else 0
            written: int = self._real["write"](descriptor, data)
            if file is not None:
                self._changed(file, place, bytes(data)[:written])
            return written

    def _ftruncate(self, descriptor: int, length: int) -> None:
        with self._lock:
            self._real["ftruncate"](descriptor, length)
            if descriptor in self._held:
                self._changed(self._held[descriptor], length, None)

    def _fsync(self, descriptor: int) -> None:
        with self._lock:
            self._real["fsync"](descriptor)
            if descriptor in self._held:
                file = self._held[descriptor]
                self.steps.append(lambda disk: disk.sync(file))
            elif descriptor in self._folders:
                folder = self._folders[descriptor]
                self.steps.append(lambda disk: disk.sync_names(folder))

    def _replace(self, source: Any, target: Any, **more: Any) -> None:
        with self._lock:
            self._real["replace"](source, target, **more)
            old, new = self._inside(source), self._inside(target)
            if old is not None and new is not None:
                self._renamed((new, self._names[old]), (old, None))

    def _unlink(self, path: Any, **more: Any) -> None:
        with self._lock:
            self._real["unlink"](path, **more)
            name = None if more else self._inside(path)
            if name in self._names:
                self._renamed((name, None))

    def _mkdir(self, path: Any, mode: int = 0o777, **more: Any) -> None:
        with self._lock:
            self._real["mkdir"](path, mode, **more)
            name = None if more else self._inside(path)
            if name is not None:
                self._renamed((name, FOLDER))
