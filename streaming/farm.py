"""Render many films at once, each by a process of its own; a process that is killed is started again and goes on.

There is no state but the folder of the films: what a process has drawn lies in the files of its render, from which the
next one goes on. A film is given up once its process was killed several times in a row without a new checkpoint.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from models.errors import UserError
from streaming.render_files import RenderFiles
from streaming.render_process import POLL_SECONDS, Ending

MOST_RETRIES = 3  # in a row, without a new checkpoint


@dataclass(frozen=True)
class FarmTask:
    """Know how to render `film`, or a part of one, by a process of its own that goes on with what is there."""

    film: Path
    chunks: int  # in all
    run: Callable[[int], Awaitable[Ending]]  # by the worker of that number, from 0; OSError if nothing can be started
    before: int = 0  # chunks of the film that other tasks draw before

    def drawn(self) -> int:
        """Return how many chunks of the task are drawn so far."""
        return max(0, min(self.chunks, self._lines(b'"type":"chunk"') - self.before))

    def checkpoints(self) -> int:
        """Return at how many checkpoints the render has arrived."""
        return self._lines(b'"type":"checkpoint"')

    def _lines(self, kind: bytes) -> int:
        """Count the lines of a kind in the journal; an avatar's pictures are rendered before their sound is added."""
        counts = [0]
        for film in (self.film, self.film.with_name(f"{self.film.stem}.silent.mp4")):
            try:
                counts.append(RenderFiles(film).journal.read_bytes().count(kind))
            except OSError:
                continue
        return max(counts)


class FarmFilm(Protocol):
    """Say what is to be done for one film."""

    @property
    def name(self) -> str:
        """Return what a person calls it."""
        ...

    @property
    def parts(self) -> Sequence[FarmTask]:
        """Return the tasks that are left and can run at once, before the film is put together."""
        ...

    @property
    def whole(self) -> FarmTask:
        """Return the task that renders the film, or what the parts have left of it."""
        ...

    def join(self) -> list[str]:
        """Put the parts together, if there are any, so that `whole` goes on with them; return notes for a person.

        UserError or OSError if that fails.
        """
        ...

    def finish(self) -> None:
        """Note that the film is finished; OSError if that fails."""
        ...


@dataclass
class Outcome:
    """Tell what became of a film; it is finished unless `why`, one line, says why not."""

    film: FarmFilm
    why: str = ""
    notes: list[str] = field(default_factory=list)  # one line each, for a person


class Farm:
    """Render films with a number of processes at once."""

    def __init__(self, films: Sequence[FarmFilm], workers: int, ended: Callable[[Outcome], None]) -> None:
        """Prepare to render films in their order with up to `workers` processes; `ended` is called after each film."""
        self._films, self._ended = films, ended
        self._free: asyncio.Queue[int] = asyncio.Queue()
        for worker in range(workers):
            self._free.put_nowait(worker)
        self._running: set[FarmTask] = set()
        self._over = 0  # chunks of tasks that are over

    async def run(self, progress: Callable[[int], None] = lambda drawn: None) -> list[Outcome]:
        """Render all films and return what became of each; `progress` is called with the chunks that are drawn.

        If this is cancelled, all processes are killed, and their films can be gone on with.
        """
        watching = asyncio.create_task(self._watch(progress))
        try:
            async with asyncio.TaskGroup() as group:  # it waits until all processes have ended, however it is left
                films = [group.create_task(self._film(film)) for film in self._films]
        finally:
            watching.cancel()
        return [film.result() for film in films]

    async def _film(self, film: FarmFilm) -> Outcome:
        outcome = Outcome(film)
        try:
            whys = await asyncio.gather(*(self._task(part, outcome) for part in film.parts))
            outcome.why = next((why for why in whys if why), "")
            if not outcome.why:
                outcome.notes += await asyncio.to_thread(film.join)
                outcome.why = await self._task(film.whole, outcome)
            if not outcome.why:
                await asyncio.to_thread(film.finish)
        except UserError as e:
            outcome.why = str(e)
        except OSError as e:
            outcome.why = f"{film.whole.film}: {e.strerror or e}"
        self._ended(outcome)
        return outcome

    async def _task(self, task: FarmTask, outcome: Outcome) -> str:
        """Run a task's process, anew when it is killed; return why it failed, or nothing."""
        async with self._worker() as worker:
            kills = 0
            while True:
                before = task.checkpoints()
                try:
                    with self._counted(task):
                        ending = await task.run(worker)
                except OSError as e:
                    return f"its process could not be started ({e.strerror or e})"
                outcome.notes += [note for note in ending.notes if note not in outcome.notes]
                if not ending.killed:
                    self._over += 0 if ending.why else task.chunks
                    return ending.why
                kills = kills + 1 if task.checkpoints() <= before else 1
                if kills > MOST_RETRIES:
                    return f"its process was killed {kills} times before it got on; the same command tries it again"
                outcome.notes.append(f"its process was killed after {task.drawn()} chunks; it was gone on with")

    @asynccontextmanager
    async def _worker(self) -> AsyncIterator[int]:
        """Wait for a free worker, and hold it."""
        worker = await self._free.get()
        try:
            yield worker
        finally:
            self._free.put_nowait(worker)

    @contextmanager
    def _counted(self, task: FarmTask) -> Iterator[None]:
        """Count a task's chunks as they are drawn."""
        self._running.add(task)
        try:
            yield
        finally:
            self._running.discard(task)

    async def _watch(self, progress: Callable[[int], None]) -> None:
        while True:
            progress(self._over + sum(task.drawn() for task in self._running))
            await asyncio.sleep(POLL_SECONDS)
