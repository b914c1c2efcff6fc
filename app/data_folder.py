"""Keep a data folder for one server: a second one would delete what the sessions of the first have not finished."""

from __future__ import annotations

from pathlib import Path

from app.commands.outputs import OutputError
from models.checkpoints.held_folder import hold

_held: dict[tuple[int, int], int] = {}  # device and inode of a folder → its descriptor, open until the process ends


def require_alone(data: Path) -> None:
    """Hold a folder until this process ends (POSIX); OutputError if another process holds it.

    The kernel's lock ends with its process, however that ends. Over NFS, where a folder has none, nothing is held.
    """
    facts = data.stat()
    if (facts.st_dev, facts.st_ino) in _held:
        return
    try:
        folder = hold(data)
    except BlockingIOError:
        raise OutputError(f"{data}: another server uses this folder; end it, or choose another with --data") from None
    if folder is not None:
        _held[facts.st_dev, facts.st_ino] = folder
