"""Takes rendered in the background, one at a time, by the same command as in a terminal.

In a process of its own, not on the device thread: there a render that draws as fast as it can would take every second
chunk, and a session that needs more than half of the device would fall behind. A process has a priority, the lowest
one; it can be cancelled at any moment and killed with the server, as a render goes on where it was. The price is a
second copy of the weights. A GPU knows no priorities, so there it stands still while somebody watches.
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
from typing import Any

from models import catalog
from streaming.take import journal
from streaming.take.archive import Archive
from streaming.take.take_file import Take

log = logging.getLogger(__name__)

LOWEST = 19  # of a process's priorities
LOOK_EVERY = 0.5  # seconds


@dataclass
class Render:
    """One take on its way to a film."""

    name: str
    model: str
    chunks: int  # in all
    state: str = "waiting"  # rendering, held, done, cancelled, failed
    why: str = ""
    task: asyncio.Task[None] | None = None

    @property
    def over(self) -> bool:
        return self.state in ("done", "cancelled", "failed")


class Renders:
    """Renders of one archive's takes. `busy` says whether somebody watches, `engine` what is to run a model."""

    def __init__(
        self, archive: Archive, models: Path, device: str, busy: Callable[[], bool], engine: Callable[[str], str]
    ) -> None:
        self._archive, self._models, self._device, self._busy, self._engine = archive, models, device, busy, engine
        self._renders: dict[str, Render] = {}
        self._turn = asyncio.Lock()

    def film(self, name: str) -> Path:
        """Where the finished film of a take lies."""
        return self._archive.folder / f"{name}.mp4"

    def start(self, name: str, take: Take) -> None:
        """Render a take, or what has been added to it since; nothing if it is being rendered."""
        render = self._renders.get(name)
        if render is None or render.over:
            entry = catalog.find(take.model)
            render = Render(name, entry.name, take.chunks(entry.rollout.grid, entry.fps))
            path = self._archive.write(name, take)  # a full disk raises here: then nothing has begun
            self._renders[name] = render
            render.task = asyncio.get_running_loop().create_task(self._run(render, path))

    def cancel(self, name: str) -> None:
        """What is done is kept, and the next start goes on from there. KeyError if it is not being rendered."""
        render = self._renders[name]
        if render.over or render.task is None:
            raise KeyError(name)
        render.task.cancel()

    def state(self, name: str) -> dict[str, Any] | None:
        """How far a render is, whether a film is there; None if there is neither."""
        render, film = self._renders.get(name), self.film(name)
        if render is None:
            return {"state": "done", "film": True} if film.exists() else None
        done = render.chunks if render.state == "done" else self._done(name) if render.state != "waiting" else 0
        facts = {"state": render.state, "chunks": render.chunks, "done": min(done, render.chunks), "why": render.why}
        return {**facts, "film": film.exists()}

    async def close(self) -> None:
        """End what runs; it goes on at the next start."""
        tasks = [r.task for r in self._renders.values() if r.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, render: Render, take: Path) -> None:
        try:
            async with self._turn:
                render.state = "rendering"
                await self._command(render, take)
        except asyncio.CancelledError:
            render.state = "cancelled"
            raise
        except OSError as e:
            render.state, render.why = "failed", f"it could not be started ({e.strerror})"
        except Exception:
            log.exception("the render of %s failed", render.name)
            render.state, render.why = "failed", "it failed; the server's log says more"

    async def _command(self, render: Render, take: Path) -> None:
        command = [sys.executable, "-m", "app.cli", "render", str(take), "-o", str(self.film(render.name)), "--resume"]
        command += ["--device", self._device, "--engine", self._engine(render.model)]
        env = {**os.environ, "LONGTAKE_MODELS": str(self._models)}
        root = Path(__file__).parents[1]
        process = await asyncio.create_subprocess_exec(
            *command, cwd=root, env=env, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE
        )
        if sys.platform != "win32":
            os.setpriority(os.PRIO_PROCESS, process.pid, LOWEST)
        holding = asyncio.create_task(self._hold_while_busy(render, process))
        try:
            _, said = await process.communicate()
        finally:
            holding.cancel()
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        render.state = "failed" if process.returncode else "done"
        if process.returncode:
            render.why = self._why(process.returncode, said.decode("utf-8", "replace").strip())

    @staticmethod
    def _why(code: int | None, said: str) -> str:
        """The command's own line, without the folders in it: those are nobody's business."""
        *_, last = said.splitlines() or [""]
        if last.startswith("error: "):
            return re.sub(r"/\S*/", "", last.removeprefix("error: "))
        return f"it ended with code {code}; start it again to go on"

    async def _hold_while_busy(self, render: Render, process: Process) -> None:
        while self._device != "cpu" and sys.platform != "win32":
            hold = self._busy()
            if hold != (render.state == "held"):
                process.send_signal(signal.SIGSTOP if hold else signal.SIGCONT)
                render.state = "held" if hold else "rendering"
            await asyncio.sleep(LOOK_EVERY)

    def _done(self, name: str) -> int:
        """Chunks in the render's journal; an avatar's pictures come before their sound."""
        journals = (self._archive.folder / f"{name}{kind}.render" / "journal.jsonl" for kind in ("", ".silent"))
        return max(sum(line.get("type") == "chunk" for line in journal.read(path)) for path in journals)
