"""Keep a data folder for one server: a second one would delete what the sessions of the first have not finished."""

from __future__ import annotations

import os
from pathlib import Path

from app.commands.outputs import OutputError
from models.checkpoints.held_folder import hold

SESSIONS = "sessions"  # below the data folder: what the workers of a cluster keep of their sessions
_held: dict[tuple[int, int], int] = {}  # device and inode of a folder → its descriptor, open until the process ends


def require_alone(data: Path, *, workers: bool = False) -> None:
    """Hold a folder until this process ends (POSIX); OutputError if another process holds it.

    The workers of a cluster share the folder that their ingress holds, and outlive it: a server without `workers` is
    refused while there are any. The kernel's lock ends with its process, however that ends. Over NFS, where a folder
    has none, nothing is held.
    """
    _require(data, f"{data}: another server uses this folder; end it, or choose another with --data")
    if not workers and (data / SESSIONS).is_dir():
        running = "workers of longtake serve --ray use this folder; start that again, or choose another with --data"
        _require(data / SESSIONS, f"{data}: {running}")


def share_as_worker(data: Path) -> None:
    """Hold a data folder with other workers until this process ends; OutputError if a server without workers has it."""
    sessions = data / SESSIONS
    sessions.mkdir(parents=True, exist_ok=True)
    _require(sessions, f"{data}: a server without workers uses this folder; end it", shared=True)


def has_workers(data: Path) -> bool:
    """Return whether workers of a cluster hold a data folder."""
    sessions = data / SESSIONS
    try:
        opened = hold(sessions) if sessions.is_dir() else None
    except BlockingIOError:
        return True
    if opened is not None:
        os.close(opened)
    return False


def _require(folder: Path, refusal: str, *, shared: bool = False) -> None:
    facts = folder.stat()
    if (facts.st_dev, facts.st_ino) in _held:
        return
    try:
        opened = hold(folder, shared=shared)
    except BlockingIOError:
        raise OutputError(refusal) from None
    if opened is not None:
        _held[facts.st_dev, facts.st_ino] = opened
