"""Fetch a model's files from the hub or from a folder, and resume after an interruption."""

from __future__ import annotations

import fnmatch
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

from models.catalog import Entry, Source
from models.checkpoints.checkpoint_error import CheckpointError, some_of
from models.checkpoints.known_hashes import KnownHashes
from models.checkpoints.model_files import PULLING, UNFINISHED, finished
from models.checkpoints.verify import verify, verify_file
from models.errors import UserError

_BLOCK = 8 << 20
_SPARE = 64 << 20  # bytes of a disk that are left free


class PullError(UserError):
    """Report, in one line for a person, files that cannot be fetched."""


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Mark a model's folder as unusable while files are written to it, until `accept` has verified them.

    If writing fails before any file was completed or replaced, the mark is removed: the model is unchanged.
    """
    marked, before = (folder / PULLING).exists(), _whole_files(folder)
    _mark(folder)
    try:
        yield
    except BaseException:
        if not marked and _whole_files(folder) == before:
            (folder / PULLING).unlink(missing_ok=True)
        raise


def _mark(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PULLING).write_text("A pull of this model goes on, was cut off, or brought files that do not fit.\n")
    except OSError as e:
        raise PullError(f"{e.filename or folder}: {e.strerror or type(e).__name__}") from e


def _whole_files(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return size and modification time (ns) of each complete file of the model, without hidden files."""
    inside = (p for p in folder.rglob("*") if finished(p))
    return {
        path: (path.stat().st_size, path.stat().st_mtime_ns)
        for path in inside
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


def accept(entry: Entry, folder: Path, progress: Callable[[str], None]) -> None:
    """Verify the files of a model and remove the mark of an unfinished pull.

    `progress` is called with the name of each part before it is checked. If a file does not fit, the folder is marked
    and CheckpointError names the first such file.
    """
    try:
        verify(entry, folder, progress)
    except CheckpointError:
        _mark(folder)
        raise
    try:
        (folder / PULLING).unlink(missing_ok=True)
    except OSError as e:
        raise PullError(f"{folder / PULLING}: {e.strerror or type(e).__name__}") from e


def from_hub(entry: Entry, folder: Path, hashes: KnownHashes) -> None:
    """Download the files that the catalog names into `folder`, without fetching present files or parts again.

    All sizes are requested first, and the hashes of all files are compared at the end: a file that has another one is
    deleted. Raises PullError if the disk lacks the room, or if the hub cannot be reached, CheckpointError for a hash.
    """
    from huggingface_hub import snapshot_download

    to_come: list[tuple[Source, int]] = []
    for source in entry.sources:
        with _reported(source):
            plan = snapshot_download(
                source.repo,
                revision=hashes.revision(source.repo),
                allow_patterns=list(source.files),
                local_dir=folder,
                dry_run=True,
            )
        if coming := [f.file_size or 0 for f in plan if f.will_download]:
            to_come.append((source, sum(coming)))
    _require_room(folder, sum(size for _, size in to_come))
    marked, before = (folder / PULLING).exists(), _whole_files(folder)
    if to_come:
        with _writing(folder):
            for source, _ in to_come:
                with _reported(source):
                    snapshot_download(
                        source.repo,
                        revision=hashes.revision(source.repo),
                        allow_patterns=list(source.files),
                        local_dir=folder,
                    )
    if (wrong := _without_known_hash(entry, folder, hashes, before)) is not None:
        if not marked and _whole_files(folder) == before and to_come:
            (folder / PULLING).unlink(missing_ok=True)
        else:
            _mark(folder)
        raise wrong


def _without_known_hash(
    entry: Entry, folder: Path, hashes: KnownHashes, before: Mapping[Path, tuple[int, int]]
) -> CheckpointError | None:
    """Check the kinds and the hashes of a model's files; return the error about the first wrong one, or None.

    Wrong files that are not among those of `before`, the ones before the download, are deleted.
    """
    errors: list[CheckpointError] = []
    for file in sorted({f for s in entry.sources for p in s.files for f in folder.glob(p) if finished(f)}):
        try:
            verify_file(file)
            hashes.require(file.relative_to(folder).as_posix(), file)
        except CheckpointError as e:
            errors.append(e)
            if before.get(file) != (file.stat().st_size, file.stat().st_mtime_ns):
                file.unlink()
    return errors[0] if errors else None


@contextmanager
def _reported(source: Source) -> Iterator[None]:
    """Convert any error of the hub's library to a PullError of one line (context manager)."""
    try:
        yield
    except Exception as e:  # its HTTP stack raises errors of many classes
        reason = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
        raise PullError(
            f"{source.repo}: cannot be downloaded ({reason[:160]}); what has come is kept, try again, "
            f"or copy the files from another machine with --from FOLDER"
        ) from e


def from_folder(
    entry: Entry, folder: Path, source: Path, progress: Callable[[int, int], None], hashes: KnownHashes
) -> None:
    """Copy the files that the catalog names from below `source`; `progress` is called with (bytes done, total bytes).

    Stand-ins for files (pointers, web pages) and files with other hashes are refused before anything is copied. A file
    gets its name only once it is complete and on the disk. Raises PullError or CheckpointError.
    """
    try:
        wanted = _matching(entry, source)
        missing = [f for s in entry.sources for f in s.files if not fnmatch.filter(wanted, f)]
        if missing:
            more = f" (and {len(missing) - 1} more)" if missing[1:] else ""
            raise PullError(f"{source}: holds no {missing[0]}{more}")
        for file in wanted.values():
            verify_file(file)
        total, done = sum(p.stat().st_size for p in wanted.values()), 0
        to_come = {name for name, file in wanted.items() if not _same(file, folder / name)}
        partly = sum(p.stat().st_size for p in folder.rglob("*" + UNFINISHED[0])) if folder.is_dir() else 0
        _require_room(folder, sum(wanted[name].stat().st_size for name in to_come) - partly)
        for name, file in wanted.items():
            hashes.require(name, file)
        with _writing(folder) if to_come else nullcontext():
            for name, file in wanted.items():
                if name in to_come:
                    _copy(file, folder / name, lambda n, before=done: progress(before + n, total))  # type: ignore[misc]
                done += file.stat().st_size
                progress(done, total)
    except OSError as e:
        where = e.filename or folder
        raise PullError(f"{where}: {e.strerror or type(e).__name__}; what has come is kept, try again") from e


def _require_room(folder: Path, size: int) -> None:
    place = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(place).free
    if size > max(0, free - _SPARE):
        raise PullError(f"{folder}: {size / 1e9:.1f} GB are needed, the disk has {free / 1e9:.1f} GB free")


def _matching(entry: Entry, source: Path) -> dict[str, Path]:
    """Return the files below `source` that the entry names, by their path in the model's folder.

    Raises PullError if files of one pattern lie in several folders, since they may belong to several models.
    """
    patterns = [f for s in entry.sources for f in s.files]
    found: dict[str, Path] = {}
    roots: dict[str, list[Path]] = {p: [] for p in patterns}
    for path in sorted(p for p in source.rglob("*") if finished(p)):
        parts = path.relative_to(source).parts
        if any(part.startswith(".") for part in parts):
            continue
        tails = ["/".join(parts[i:]) for i in range(len(parts))]
        for name, pattern in ((t, f) for t in tails for f in patterns if fnmatch.fnmatch(t, f)):
            root = source.joinpath(*parts[: len(parts) - name.count("/") - 1])
            if root not in roots[pattern]:
                roots[pattern].append(root)
            found.setdefault(name, path)
            break
    for pattern, places in roots.items():
        if len(places) > 1:
            raise PullError(
                f"{source}: holds {pattern} in several places ({some_of([str(p) for p in places])}), "
                f"perhaps of several models; name the folder of one"
            )
    return found


def _same(file: Path, goal: Path) -> bool:
    """Return whether the copy of a file exists and has the same bytes."""
    if not goal.is_file() or goal.stat().st_size != file.stat().st_size:
        return False
    with file.open("rb") as a, goal.open("rb") as b:
        return _common(a, b) == file.stat().st_size


def _common(a: BinaryIO, b: BinaryIO) -> int:
    """Return the number of leading bytes that two files share, in whole blocks or to the shorter one's end."""
    agree = 0
    while (block := b.read(_BLOCK)) and block == a.read(len(block)):
        agree += len(block)
    return agree


def _copy(file: Path, goal: Path, progress: Callable[[int], None]) -> None:
    """Copy a file under a temporary name, which is replaced once it is complete and synced; resume partial copies."""
    goal.parent.mkdir(parents=True, exist_ok=True)
    partial = goal.with_name(goal.name + UNFINISHED[0])
    with file.open("rb") as source, partial.open("a+b") as out:
        out.seek(0)
        agree = _common(source, out)  # another file of that name may have been copied before
        out.truncate(agree)
        source.seek(agree)
        while block := source.read(_BLOCK):
            out.write(block)
            progress(out.tell())
        out.flush()
        os.fsync(out.fileno())
        if out.tell() != file.stat().st_size:
            raise PullError(f"{file}: changed while it was copied; try again")
    os.replace(partial, goal)
