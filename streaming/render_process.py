"""Run programs that render films, such as with the lowest priority, and stop them while somebody watches on a GPU."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

LOWEST_PRIORITY = 19  # of a POSIX process
POLL_SECONDS = 0.5
NOTE = "note: "  # begins a line of a program for a person
_FOLDERS = re.compile(r"(?<![\w/:.])/\S*/")


def without_folders(message: str) -> str:
    """Cut absolute paths in a message down to file names, so that a viewer does not learn the server's folders."""
    return _FOLDERS.sub("", message)


@dataclass(frozen=True)
class Program:
    """Name a program that renders a take to a film, as `asyncio.create_subprocess_exec` takes it."""

    arguments: list[str]
    folder: Path  # in which it starts
    environment: dict[str, str]


@dataclass(frozen=True)
class Ending:
    """Tell how a program ended: by itself with a film (`why` is empty), with an error, or killed by a signal."""

    why: str = ""
    killed: bool = False
    notes: tuple[str, ...] = ()  # that it printed for a person, one line each


class RenderProcesses:
    """Run programs as processes that end with this one."""

    def __init__(self, device: str, watched: Callable[[], bool], *, priority: int | None = LOWEST_PRIORITY) -> None:
        """Run programs on a device of this type; `watched` says whether any session has viewers.

        They have this `priority` of a POSIX process; None: that of this one.
        """
        self._priority = priority
        self._holds = device != "cpu" and sys.platform != "win32"  # the CPU knows priorities
        self._watched = watched

    async def run(self, program: Program, tell: Callable[[Literal["held", "rendering"]], None]) -> Ending:
        """Run a program to its end; `tell` is called when it is stopped, and when it goes on.

        OSError if it cannot be started. If this is cancelled, the program is killed first.
        """
        process = await asyncio.create_subprocess_exec(
            *program.arguments,
            cwd=program.folder,
            env=program.environment,
            stdin=PIPE,  # its end tells the program that this process has ended
            stdout=DEVNULL,
            stderr=PIPE,
        )
        if sys.platform != "win32" and self._priority is not None:
            with contextlib.suppress(ProcessLookupError):  # it may have ended already
                os.setpriority(os.PRIO_PROCESS, process.pid, self._priority)
        holding = asyncio.create_task(self._hold_while_watched(process, tell))
        try:
            assert process.stderr is not None  # `communicate` would end the program's input
            errors = await process.stderr.read()
            await process.wait()
        finally:
            holding.cancel()
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        code = process.returncode or 0
        said = errors.decode("utf-8", "replace").strip()
        notes = tuple(line.removeprefix(NOTE) for line in said.splitlines() if line.startswith(NOTE))
        return Ending(_reason(code, said) if code else "", killed=code < 0, notes=notes)

    async def _hold_while_watched(self, process: Process, tell: Callable[[Literal["held", "rendering"]], None]) -> None:
        holding = False
        while self._holds:
            if self._watched() != holding:
                holding = not holding
                process.send_signal(signal.SIGSTOP if holding else signal.SIGCONT)
                tell("held" if holding else "rendering")
            await asyncio.sleep(POLL_SECONDS)


def _reason(code: int, errors: str) -> str:
    """Return the program's own error line without folders, or its exit code."""
    *_, last = errors.splitlines() or [""]
    if last.startswith("error: "):
        return without_folders(last.removeprefix("error: "))
    return f"it ended with code {code}; start it again to go on"
