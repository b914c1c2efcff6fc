"""Find the processes that render films for a server or a farm."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil


def renders_of(parent: int, film: Path | None = None) -> list[psutil.Process]:
    """Return the renders below a process that are alive: all, or those whose command names a take or a film."""
    found: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(parent).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # also of one that has just ended
                words = child.cmdline()
                if "render" in words and (film is None or str(film) in words):
                    found.append(child)
    return found


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process runs, and is not only waited for."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
