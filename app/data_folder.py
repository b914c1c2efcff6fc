"""Keep a data folder for one server: a second one would delete what the sessions of the first have not finished."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from app.commands.outputs import OutputError

_held: dict[tuple[int, int], int] = {}  # device and inode of a folder → its descriptor, open until the process ends


def require_alone(data: Path) -> None:
    """Hold a folder until this process ends (POSIX); OutputError if another process holds it.

    The kernel's lock ends with its process, however that ends. Over NFS, where a folder has none, nothing is held.
    """
    if sys.platform == "win32":
        return
    import fcntl

    facts = data.stat()
    if (facts.st_dev, facts.st_ino) in _held:
        return
    folder = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(folder)
        raise OutputError(f"{data}: another server uses this folder; end it, or choose another with --data") from None
    except OSError:
        os.close(folder)
    else:
        _held[facts.st_dev, facts.st_ino] = folder
