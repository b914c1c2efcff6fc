"""Hold a folder for one process, so that others leave what is in it alone."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def hold(folder: Path) -> int | None:
    """Lock a folder until the descriptor is closed or this process has ended, however it does; None without locks.

    BlockingIOError if it is locked. Windows has no such locks, and NFS has none for folders.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        os.close(opened)
        if isinstance(e, BlockingIOError):
            raise
        return None
    return opened
