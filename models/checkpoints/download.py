"""Fetch a model's files from the hub, or from a folder on this machine. Both go on where they stopped."""

from __future__ import annotations

import fnmatch
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from models.catalog import Entry
from models.errors import UserError

_BLOCK = 8 << 20


class PullError(UserError):
    """Report files that cannot be had, in one line for a person."""


def from_hub(entry: Entry, folder: Path) -> None:
    """Download what the catalog names into `folder`; what is there already, or in part, is not fetched again."""
    from huggingface_hub import snapshot_download

    for source in entry.sources:
        try:
            snapshot_download(source.repo, allow_patterns=list(source.files), local_dir=folder)
        except Exception as e:  # its HTTP stack raises whatever it likes; a person needs one line
            reason = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
            raise PullError(
                f"{source.repo}: cannot be downloaded ({reason[:160]}); what has come is kept, try again, "
                f"or copy the files from another machine with --from FOLDER"
            ) from e


def from_folder(entry: Entry, folder: Path, source: Path, progress: Callable[[int, int], None]) -> None:
    """Copy what the catalog names from anywhere below `source`; `progress` gets (bytes done, bytes in all)."""
    wanted = _matching(entry, source)
    total, done = sum(p.stat().st_size for p in wanted.values()), 0
    missing = [f for s in entry.sources for f in s.files if not fnmatch.filter(wanted, f)]
    if missing:
        raise PullError(f"{source}: holds no {missing[0]}" + (f" (and {len(missing) - 1} more)" if missing[1:] else ""))
    folder.mkdir(parents=True, exist_ok=True)
    here = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    if shutil.disk_usage(folder).free + here < total:
        raise PullError(f"{folder}: {total / 1e9:.1f} GB are needed, more than the disk has free")
    for name, file in wanted.items():
        size, goal = file.stat().st_size, folder / name
        if not (goal.exists() and goal.stat().st_size == size):
            _copy(file, goal, lambda n, before=done: progress(before + n, total))  # type: ignore[misc]
        done += size
        progress(done, total)


def _matching(entry: Entry, source: Path) -> dict[str, Path]:
    """Return the files below `source` that the entry names, by their place in the model's folder."""
    patterns = [f for s in entry.sources for f in s.files]
    found: dict[str, Path] = {}
    for path in sorted(p for p in source.rglob("*") if p.is_file()):
        parts = path.relative_to(source).parts
        tails = ["/".join(parts[i:]) for i in range(len(parts))]
        name = next((t for t in tails if any(fnmatch.fnmatch(t, f) for f in patterns)), None)
        if name is not None:
            found.setdefault(name, path)
    return found


def _copy(file: Path, goal: Path, progress: Callable[[int], None]) -> None:
    goal.parent.mkdir(parents=True, exist_ok=True)
    partial = goal.with_name(goal.name + ".partial")
    with file.open("rb") as source, partial.open("ab") as out:
        if out.tell() > file.stat().st_size:
            out.truncate(0)
        source.seek(out.tell())
        while block := source.read(_BLOCK):
            out.write(block)
            progress(out.tell())
    os.replace(partial, goal)
