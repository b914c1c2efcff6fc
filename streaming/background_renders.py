"""Render takes in the background, one at a time, each in a process of its own.

They do not run on the device thread: a render draws as fast as it can, would take every second chunk there, and a
session that needs more than half of the device would fall behind. A process has a priority (the lowest one), can be
cancelled at any moment, and may be killed with the server, because a render resumes. The price is a second copy of the
weights. A GPU knows no priorities, so there the process is stopped while a session has viewers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models import catalog
from streaming.take import journal
from streaming.take.archive import Archive
from streaming.take.take_file import Take

log = logging.getLogger(__name__)

LOWEST_PRIORITY = 19  # of a POSIX process
POLL_SECONDS = 0.5

State = Literal["waiting", "rendering", "held", "done", "cancelled", "failed"]
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
class Progress:
    """Tell how far the render of a take is; `film` says whether a finished film of the take is there."""

    state: State
    film: bool
    chunks: int = 0  # in all; 0 for a film that an earlier server rendered
    done: int = 0
    why: str = ""  # one line, of a render that failed


@dataclass
class Render:
    """Hold the render of one take, under way or over, of this run of the server."""

    name: str
    model: str
    chunks: int  # in all
    state: State = "waiting"
    why: str = ""
    task: asyncio.Task[None] | None = None

    @property
    def over(self) -> bool:
        """Return whether the render is done, cancelled or failed."""
        return self.state in ("done", "cancelled", "failed")

    def note_cancelled(self, task: asyncio.Task[None]) -> None:
        """Set the state of a render whose task was cancelled, perhaps before it had begun."""
        if task.cancelled():
            self.state = "cancelled"


class BackgroundRenders:
    """Queue, run and cancel the renders of one archive's takes; the methods belong to the event loop."""

    def __init__(
        self,
        archive: Archive,
        program: Callable[[str, Path, Path], Program],
        *,
        device: str,
        watched: Callable[[], bool],
    ) -> None:
        """Create an empty queue.

        `program` makes the program for (model, take file, film to write), `device` is the type of device that it runs
        on, and `watched` says whether any session has viewers.
        """
        self._archive, self._program, self._device, self._watched = archive, program, device, watched
        self._renders: dict[str, Render] = {}
        self._turn, self._starting = asyncio.Lock(), asyncio.Lock()

    def film(self, name: str) -> Path:
        """Return the path of a take's finished film."""
        return self._archive.folder / f"{name}.mp4"

    async def start(self, name: str, take: Take) -> None:
        """Queue a take, or what has been added to it since its last render; do nothing while it is being rendered.

        Raises UnknownModelError, and OSError where the take file cannot be written.
        """
        async with self._starting:
            render = self._renders.get(name)
            if render is not None and not render.over:
                return
            entry = catalog.find(take.model)
            render = Render(name, entry.name, take.chunks(entry.rollout.grid, entry.fps))
            # a full disk raises here, before anything has begun; a thread waits for the disk, and no session does
            path = await asyncio.to_thread(self._archive.write, name, take)
            self._renders[name] = render
            render.task = asyncio.get_running_loop().create_task(self._run(render, path))
            render.task.add_done_callback(render.note_cancelled)

    def cancel(self, name: str) -> None:
        """Stop a render; what is done is kept and the next start resumes. KeyError if it is not being rendered."""
        render = self._renders[name]
        if render.over or render.task is None:
            raise KeyError(name)
        render.task.cancel()

    def progress(self, name: str) -> Progress | None:
        """Return how far a render is; None if the take has neither a render nor a film."""
        render, film = self._renders.get(name), self.film(name).exists()
        if render is None:
            return Progress("done", film=True) if film else None
        done = render.chunks if render.state == "done" else self._done(name) if render.state != "waiting" else 0
        return Progress(render.state, film, render.chunks, min(done, render.chunks), render.why)

    async def close(self) -> None:
        """Cancel everything; the next start of each take resumes."""
        tasks = [r.task for r in self._renders.values() if r.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, render: Render, take: Path) -> None:
        try:
            async with self._turn:
                render.state = "rendering"
                await self._execute(render, take)
        except OSError as e:
            render.state, render.why = "failed", f"it could not be started ({e.strerror})"
        except Exception:
            log.exception("the render of %s failed", render.name)
            render.state, render.why = "failed", "it failed; the server's log says more"

    async def _execute(self, render: Render, take: Path) -> None:
        program = self._program(render.model, take.absolute(), self.film(render.name).absolute())
        process = await asyncio.create_subprocess_exec(
            *program.arguments,
            cwd=program.folder,
            env=program.environment,
            stdin=PIPE,  # its end tells the program that this process has ended
            stdout=DEVNULL,
            stderr=PIPE,
        )
        if sys.platform != "win32":
            with contextlib.suppress(ProcessLookupError):  # it may have ended already
                os.setpriority(os.PRIO_PROCESS, process.pid, LOWEST_PRIORITY)
        holding = asyncio.create_task(self._hold_while_watched(render, process))
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
        render.state = "failed" if process.returncode else "done"
        if process.returncode:
            render.why = _reason(process.returncode, errors.decode("utf-8", "replace").strip())
            log.warning("the render of %s failed: %s", render.name, render.why)

    async def _hold_while_watched(self, render: Render, process: Process) -> None:
        """Stop the process while a session has viewers and let it go on afterwards (POSIX, not on the CPU)."""
        while self._device != "cpu" and sys.platform != "win32":
            hold = self._watched()
            if hold != (render.state == "held"):
                process.send_signal(signal.SIGSTOP if hold else signal.SIGCONT)
                render.state = "held" if hold else "rendering"
            await asyncio.sleep(POLL_SECONDS)

    def _done(self, name: str) -> int:
        """Count the chunks in the render's journal; an avatar's pictures are rendered before their sound is added."""
        journals = (self._archive.folder / f"{name}{kind}.render" / "journal.jsonl" for kind in ("", ".silent"))
        return max(sum(line.type == "chunk" for line in journal.read(path)) for path in journals)


def _reason(code: int, errors: str) -> str:
    """Return the program's own error line without folders, or its exit code."""
    *_, last = errors.splitlines() or [""]
    if last.startswith("error: "):
        return without_folders(last.removeprefix("error: "))
    return f"it ended with code {code}; start it again to go on"
