"""Render takes in the background, one at a time, each in a process of its own.

They do not run on the device thread: a render draws as fast as it can, would take every second chunk there, and a
session that needs more than half of the device would fall behind. A process has a priority (the lowest one) and can be
cancelled at any moment. It ends with the server, however that ends: what was asked for is in the table of jobs
(`streaming.job_table`), and the next server goes on with it. The price is a second copy of the weights. A GPU
knows no priorities, so there the process is stopped while a session has viewers.

Jobs are of two kinds. The render of a take of the archive has the take's id, lies beside it and stays; a video that a
client ordered has a folder of its own and expires.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from models import catalog
from models.errors import ErrorKind, UserError
from streaming.job_table import JobRecord, JobTable, Kept
from streaming.render_files import RenderFiles
from streaming.render_process import POLL_SECONDS, Ending, Program, RenderProcesses, without_folders
from streaming.render_progress import Progress, Render
from streaming.render_records import move_to_table
from streaming.take import journal
from streaming.take.archive import Archive
from streaming.take.take_file import Take, load, parse
from streaming.video_files import VideoFiles

log = logging.getLogger(__name__)

MOST_TRIES = 3  # kills in a row, of servers or of its process, before a render gets on; it then waits for a person
MOST_UNFINISHED, MOST_KEPT = 20, 500  # videos of one owner
EXPIRY = 7 * 24 * 3600.0  # seconds after its end for which a video is kept
SWEEP_SECONDS = 600.0  # between two looks for expired videos
ANOTHER = "another process renders this film; this render begins after it"


class QuotaError(UserError):
    """Report an owner with the most videos that may wait, or be kept, already."""

    kind = ErrorKind.BUSY


class BackgroundRenders:
    """Queue, run and cancel jobs; the methods belong to the event loop."""

    def __init__(
        self,
        archive: Archive,
        table: JobTable,
        videos: VideoFiles,
        program: Callable[[str, Path, Path], Program],
        *,
        device: str,
        watched: Callable[[], bool],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Create an empty queue.

        `program` makes the program for (model, take file, film to write), `device` is the type of device that it runs
        on, `watched` says whether any session has viewers, and `clock` gives seconds since 1970.
        """
        self._archive, self._table, self.videos, self._program = archive, table, videos, program
        self._processes, self._clock = RenderProcesses(device, watched), clock
        self._renders: dict[str, Render] = {}
        self._keeping: set[asyncio.Task[None]] = set()  # that write records of cancelled renders
        self._closing = False
        self._turn, self._starting = asyncio.Lock(), asyncio.Lock()

    def film(self, name: str) -> Path:
        """Return the path of a job's finished film."""
        return self._folder(name) / f"{name}.mp4"

    async def start(self, name: str, take: Take) -> None:
        """Queue a take, or what has been added to it since its last render; do nothing while it is being rendered.

        Raises UnknownModelError, and OSError where the take file cannot be written.
        """
        async with self._starting:
            render = self._renders.get(name)
            if render is not None and not render.over:
                return
            job = self._asked(name, take, next((cue.prompt for cue in take.cues if cue.prompt), ""))
            # a full disk raises here, before anything has begun; a thread waits for the disk, and no session does
            await asyncio.to_thread(self._archive.write, name, take)
            await asyncio.to_thread(self._table.write, job)
            self._begin(Render(job))

    async def order(
        self,
        name: str,
        take: Take,
        owner: str,
        prompt: str,
        seconds: str,
        *,
        remix_of: str | None = None,
        extends: str | None = None,
    ) -> Render:
        """Queue a video, whose files but the take lie in `videos` already; return it once it will survive a kill.

        QuotaError if the owner has too many, UnknownModelError, and OSError where the disk refuses.
        """
        async with self._starting:
            own = [render for render in self.of(owner) if self.videos.owns(render.job.name)]
            if sum(not render.over for render in own) >= MOST_UNFINISHED:
                raise QuotaError(f"{MOST_UNFINISHED} videos of this key wait or are rendered; wait for one of them")
            if len(own) >= MOST_KEPT:
                raise QuotaError(f"{MOST_KEPT} videos of this key are kept; delete some, or wait until some expire")
            job = replace(
                self._asked(name, take, prompt), owner=owner, seconds=seconds, remix_of=remix_of, extends=extends
            )
            await asyncio.to_thread(self._table.write, job)
            render = Render(job)
            self._begin(render)
            return render

    def of(self, owner: str) -> list[Render]:
        """Return the jobs of an owner, the newest last."""
        return sorted((r for r in self._renders.values() if r.job.owner == owner), key=lambda r: r.job.asked)

    def job(self, name: str, owner: str) -> Render | None:
        """Return a job of an owner; None if there is none of this name, or it is somebody else's."""
        render = self._renders.get(name)
        return render if render is not None and render.job.owner == owner else None

    async def go_on(self) -> None:
        """Take up what an earlier server knew: renders that its end has cut off are queued again, in their order."""
        await asyncio.to_thread(move_to_table, self._archive, self._table)
        for job in await asyncio.to_thread(self._table.read):
            render = self._renders[job.name] = Render(job)
            if job.state == "asked":
                await self._go_on_with(render)
            else:
                render.state, render.why = job.state, job.why
        await asyncio.to_thread(self.videos.delete_others, set(self._renders))

    async def _go_on_with(self, render: Render) -> None:
        """Queue a render that was cut off, unless server after server was killed with it."""
        job = render.job
        tries = job.tries if self._done(job.name) <= job.begun_at else 0
        try:
            if tries >= MOST_TRIES:
                raise UserError(f"the server was killed {MOST_TRIES} times while it was rendered; try it again")
            take = await asyncio.to_thread(self._take, job)
            entry = catalog.find(job.model)
            render.job = replace(job, tries=tries, chunks=take.chunks(entry.rollout.grid, entry.fps))
        except UserError as e:
            await self._end(render, "failed", without_folders(str(e)))
        else:
            self._begin(render)

    def _take(self, job: JobRecord) -> Take:
        """Return the take of a job, which may have gone on since it was asked for; UserError if it is lost."""
        file = self._archive.take_file(job.name)
        return load(file) if not job.take or file.exists() else parse(job.take, f"{job.name}.yaml")

    def _asked(self, name: str, take: Take, prompt: str) -> JobRecord:
        entry = catalog.find(take.model)
        grid, fps = entry.rollout.grid, entry.fps
        width, height = take.width_height(entry.size)
        return JobRecord(
            name=name,
            state="asked",
            asked=self._clock(),
            model=entry.name,
            chunks=take.chunks(grid, fps),
            take=take.dumped(),
            prompt=prompt,
            size=f"{width}x{height}",
        )

    def _begin(self, render: Render) -> None:
        """Have a render wait for its turn."""
        self._renders[render.job.name] = render
        render.task = asyncio.get_running_loop().create_task(self._run(render))
        render.task.add_done_callback(lambda task: self._note_cancelled(render, task))

    def _note_cancelled(self, render: Render, task: asyncio.Task[None]) -> None:
        """Set the state of a render whose task was cancelled, perhaps before it had begun."""
        if task.cancelled():
            render.state, render.job = "cancelled", replace(render.job, tries=0)
            keep = self._keep(render, "asked") if self._closing else self._end(render, "cancelled")
            keeping = asyncio.get_running_loop().create_task(keep)
            self._keeping.add(keeping)
            keeping.add_done_callback(self._keeping.discard)

    def cancel(self, name: str) -> None:
        """Stop a render; what is done is kept and the next start resumes. KeyError if it is not being rendered."""
        render = self._renders[name]
        if render.over or render.task is None:
            raise KeyError(name)
        render.task.cancel()

    async def forget(self, name: str) -> None:
        """Forget the render of a take that is deleted; KeyError while it is under way, which `cancel` ends.

        OSError if the disk refuses.
        """
        render = self._renders.get(name)
        if render is not None and not render.over:
            raise KeyError(name)
        self._renders.pop(name, None)
        await asyncio.to_thread(self._table.delete, name)

    async def delete(self, name: str) -> None:
        """Cancel a job and delete it with its film; the take of the archive stays. KeyError if there is none."""
        render = self._renders.pop(name)
        if render.task is not None:
            render.task.cancel()
            await asyncio.gather(render.task, return_exceptions=True)
            await asyncio.gather(*self._keeping)  # that of this render would write it once more
        await asyncio.to_thread(self._table.delete, name)
        await asyncio.to_thread(self.videos.delete if self.videos.owns(name) else self._discard, name)

    def _discard(self, name: str) -> None:
        for kind in ("", ".silent"):
            RenderFiles(self._archive.folder / f"{name}{kind}.mp4").discard()

    async def sweep(self) -> None:
        """Delete videos that have expired, now and from time to time."""
        while True:
            expiring = [(r.job.expires, name) for name, r in self._renders.items() if r.job.expires is not None]
            for expires, name in expiring:
                if expires <= self._clock() and name in self._renders:
                    try:
                        await self.delete(name)
                    except OSError as e:
                        log.warning("the expired video %s cannot be deleted (%s)", name, e.strerror)
            await asyncio.sleep(SWEEP_SECONDS)

    def progress(self, name: str) -> Progress | None:
        """Return how far a render is; None if the take has neither a render nor a film."""
        render, film = self._renders.get(name), self.film(name).exists()
        if render is None:
            return Progress("done", film=True) if film else None
        done = render.job.chunks if render.state == "done" else self._done(name)
        return Progress(render.state, film, render.job.chunks, min(done, render.job.chunks), render.why)

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
            why = await self._rendered(render)
        except OSError as e:
            why = f"it could not be started ({e.strerror})"
        except Exception:
            log.exception("the render of %s failed", render.job.name)
            why = "it failed; the server's log says more"
        await self._end(render, "failed" if why else "done", why)

    async def _rendered(self, render: Render) -> str:
        """Wait for a render's turn and execute it, anew if it is killed; return why it failed, or nothing."""
        while True:
            await self._until_free(render)
            async with self._turn:
                if self._in_use(render.job.name):  # since its turn was waited for
                    continue
                done = self._done(render.job.name)
                tries = render.job.tries if done <= render.job.begun_at else 0
                if tries >= MOST_TRIES:
                    return f"it was killed {MOST_TRIES} times before it got on; start it again to go on"
                render.state, render.job = "rendering", replace(render.job, begun_at=done, tries=tries + 1)
                await self._keep(render, "asked")
                ending = await self._executed(render)
            if not ending.killed:
                return ending.why
            log.warning("the process that rendered %s was killed; it goes on", render.job.name)
            render.state = "waiting"

    async def _executed(self, render: Render) -> Ending:
        name, job = render.job.name, render.job
        take = self._folder(name) / f"{name}.yaml"
        if self.videos.owns(name):
            source = self.film(job.extends) if job.extends is not None else None
            await asyncio.to_thread(self.videos.prepare, name, job.take, source)

        def tell(state: Literal["held", "rendering"]) -> None:
            render.state = state

        ending = await self._processes.run(self._program(job.model, take.absolute(), self.film(name).absolute()), tell)
        if ending.why:
            log.warning("the render of %s failed: %s", name, ending.why)
        return ending

    async def _until_free(self, render: Render) -> None:
        """Wait while another process renders the same film, such as `longtake render` in a terminal."""
        while self._in_use(render.job.name):
            render.why = ANOTHER
            await asyncio.sleep(POLL_SECONDS)
        render.why = ""

    def _in_use(self, name: str) -> bool:
        """Return whether another process renders a take; the pictures of an avatar are rendered without sound first."""
        return any(RenderFiles(self._folder(name) / f"{name}{kind}.mp4").in_use() for kind in ("", ".silent"))

    async def _end(self, render: Render, state: Literal["done", "cancelled", "failed"], why: str = "") -> None:
        """Note that a render is over, and from when on its video is expired."""
        now = self._clock()
        render.job = replace(render.job, ended=now, expires=now + EXPIRY if self.videos.owns(render.job.name) else None)
        render.state, render.why = state, why
        await self._keep(render, state)

    async def _keep(self, render: Render, state: Kept) -> None:
        """Write the record of a render; a disk that does not take it costs no more than that a server forgets it."""
        render.job = replace(render.job, state=state, why=render.why)
        if self._renders.get(render.job.name) is not render:  # it was deleted meanwhile
            return
        try:
            await asyncio.to_thread(self._table.write, render.job)
        except OSError as e:
            log.warning("the state of the render of %s cannot be written (%s)", render.job.name, e.strerror)

    def _folder(self, name: str) -> Path:
        return self.videos.folder if self.videos.owns(name) else self._archive.folder

    def _done(self, name: str) -> int:
        """Count the chunks in the render's journal; an avatar's pictures are rendered before their sound is added."""
        journals = (self._folder(name) / f"{name}{kind}.render" / "journal.jsonl" for kind in ("", ".silent"))
        return max(sum(line.type == "chunk" for line in journal.read(path)) for path in journals)
