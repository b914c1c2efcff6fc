"""Render takes in the background, one at a time, each in a process of its own.

They do not run on the device thread: a render draws as fast as it can, would take every second chunk there, and a
session that needs more than half of the device would fall behind. A process has a priority (the lowest one) and can be
cancelled at any moment. It ends with the server, however that ends: what was asked for is on the disk
(`streaming.render_records`), and the next server goes on with it. The price is a second copy of the weights. A GPU
knows no priorities, so there the process is stopped while a session has viewers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from models import catalog
from models.errors import UserError
from streaming.render_files import RenderFiles
from streaming.render_records import Kept, RenderRecord, RenderRecords
from streaming.take import journal
from streaming.take.archive import Archive
from streaming.take.take_file import Take, load

log = logging.getLogger(__name__)

LOWEST_PRIORITY = 19  # of a POSIX process
POLL_SECONDS = 0.5
MOST_TRIES = 3  # servers in a row that may be killed before a render gets on; the next one waits for a person
ANOTHER = "another process renders this film; this render begins after it"

State = Literal["waiting", "rendering", "held", "done", "cancelled", "failed"]
_FOLDERS = re.compile(r"(?<![\w/:.])/\S*/")


def without_folders(message: str) -> str:
    """Cut absolute paths in a message down to file names, so that a viewer does not learn the server's folders."""
    return _FOLDERS.sub("", message)


class RenderCutOffError(UserError):
    """Report a render with which server after server was killed."""


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
    chunks: int = 0  # in all; 0 for a film that an earlier release rendered
    done: int = 0
    why: str = ""  # one line, of a render that failed or waits for another process


@dataclass
class Render:
    """Hold the render of one take, under way or over."""

    name: str
    model: str
    chunks: int  # in all
    asked: float = field(default_factory=time.time)  # seconds since 1970
    begun_at: int = 0  # chunks that were done when its process was last started
    tries: int = 0  # servers in a row that were killed before it got on from there
    state: State = "waiting"
    why: str = ""
    task: asyncio.Task[None] | None = None

    @property
    def over(self) -> bool:
        """Return whether the render is done, cancelled or failed."""
        return self.state in ("done", "cancelled", "failed")

    def record(self, state: Kept) -> RenderRecord:
        """Return what a later server has to know of it."""
        return RenderRecord(
            state=state,
            asked=self.asked,
            model=self.model,
            chunks=self.chunks,
            why=self.why,
            begun_at=self.begun_at,
            tries=self.tries,
        )


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
        self._records = RenderRecords(archive)
        self._renders: dict[str, Render] = {}
        self._keeping: set[asyncio.Task[None]] = set()  # that write records of cancelled renders
        self._closing = False
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
            await asyncio.to_thread(self._archive.write, name, take)
            await asyncio.to_thread(self._records.write, name, render.record("asked"))
            self._begin(render)

    async def go_on(self) -> None:
        """Take up what an earlier server knew: renders that its end has cut off are queued again, in their order."""
        for name, record in (await asyncio.to_thread(self._records.read)).items():
            render = Render(name, record.model, record.chunks, record.asked)
            self._renders[name] = render
            if record.state == "asked":
                await self._go_on_with(render, record)
            else:
                render.state, render.why = record.state, record.why

    async def _go_on_with(self, render: Render, record: RenderRecord) -> None:
        """Queue a render that was cut off, unless server after server was killed with it."""
        render.tries = record.tries if self._done(render.name) <= record.begun_at else 0
        try:
            if render.tries >= MOST_TRIES:
                raise RenderCutOffError(f"the server was killed {MOST_TRIES} times while it was rendered; try it again")
            take = await asyncio.to_thread(load, self._archive.take_file(render.name))
            entry = catalog.find(render.model)
            render.chunks = take.chunks(entry.rollout.grid, entry.fps)
        except UserError as e:
            render.state, render.why = "failed", without_folders(str(e))
            await self._keep(render, "failed")
        else:
            self._begin(render)

    def _begin(self, render: Render) -> None:
        """Have a render wait for its turn."""
        self._renders[render.name] = render
        render.task = asyncio.get_running_loop().create_task(self._run(render))
        render.task.add_done_callback(lambda task: self._note_cancelled(render, task))

    def _note_cancelled(self, render: Render, task: asyncio.Task[None]) -> None:
        """Set the state of a render whose task was cancelled, perhaps before it had begun."""
        if task.cancelled():
            render.state, render.tries = "cancelled", 0
            keep = self._keep(render, "asked" if self._closing else "cancelled")
            keeping = asyncio.get_running_loop().create_task(keep)
            self._keeping.add(keeping)
            keeping.add_done_callback(self._keeping.discard)

    def cancel(self, name: str) -> None:
        """Stop a render; what is done is kept and the next start resumes. KeyError if it is not being rendered."""
        render = self._renders[name]
        if render.over or render.task is None:
            raise KeyError(name)
        render.task.cancel()

    def forget(self, name: str) -> None:
        """Forget the render of a take that is deleted; KeyError while it is under way, which `cancel` ends."""
        render = self._renders.get(name)
        if render is not None and not render.over:
            raise KeyError(name)
        self._renders.pop(name, None)

    def progress(self, name: str) -> Progress | None:
        """Return how far a render is; None if the take has neither a render nor a film."""
        render, film = self._renders.get(name), self.film(name).exists()
        if render is None:
            return Progress("done", film=True) if film else None
        done = render.chunks if render.state == "done" else self._done(name)
        return Progress(render.state, film, render.chunks, min(done, render.chunks), render.why)

    async def close(self) -> None:
        """End everything; the next server goes on with it."""
        self._closing = True
        tasks = [r.task for r in self._renders.values() if r.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*self._keeping)

    async def _run(self, render: Render) -> None:
        try:
            while True:
                await self._until_free(render)
                async with self._turn:
                    if self._in_use(render.name):  # since its turn was waited for
                        continue
                    render.state = "rendering"
                    render.begun_at, render.tries = self._done(render.name), render.tries + 1
                    await self._keep(render, "asked")
                    await self._execute(render)
                    break
        except OSError as e:
            render.state, render.why = "failed", f"it could not be started ({e.strerror})"
        except Exception:
            log.exception("the render of %s failed", render.name)
            render.state, render.why = "failed", "it failed; the server's log says more"
        await self._keep(render, "done" if render.state == "done" else "failed")

    async def _until_free(self, render: Render) -> None:
        """Wait while another process renders the same film, such as `longtake render` in a terminal."""
        while self._in_use(render.name):
            render.why = ANOTHER
            await asyncio.sleep(POLL_SECONDS)
        render.why = ""

    def _in_use(self, name: str) -> bool:
        """Return whether another process renders a take; the pictures of an avatar are rendered without sound first."""
        return any(RenderFiles(self._archive.folder / f"{name}{kind}.mp4").in_use() for kind in ("", ".silent"))

    async def _keep(self, render: Render, state: Kept) -> None:
        """Write the record of a render; a disk that does not take it costs no more than that a server forgets it."""
        try:
            await asyncio.to_thread(self._records.write, render.name, render.record(state))
        except OSError as e:
            log.warning("the state of the render of %s cannot be written (%s)", render.name, e.strerror)

    async def _execute(self, render: Render) -> None:
        take = self._archive.take_file(render.name)
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
