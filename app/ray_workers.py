"""Render the films of a farm on a cluster of Ray: a film, or a part of one, is a task, and runs wherever there is room.

A task starts a process that does what one of this machine would do, so a film is the same to the byte. Ray is not asked
to try a task again: the farm does, since only it knows whether a film got on. All nodes must have Longtake installed,
and the takes and films in folders of the same names, such as on NFS.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import time

import ray
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayError, WorkerCrashedError

from app.commands import CommandError
from app.farm_workers import FarmRender, render_here
from streaming.render_files import RenderFiles
from streaming.render_process import POLL_SECONDS, Ending

CONNECT_SECONDS = 10.0
LEASE_SECONDS = 100.0  # for which an NFS server may keep the lock of a node that died: by default 90 (nfsd, NFSv4)
SEEN_SECONDS = 70.0  # after which a file of another node is seen here: NFS clients remember for 60 that there was none
CANCEL_SECONDS = 20.0  # for a task to end that is killed
_ADDRESS = re.compile(r"auto|[\w.-]+:\d{1,5}|\[[0-9a-fA-F:.]+\]:\d{1,5}", re.ASCII)


class RayWorkers:
    """Render films by tasks of a cluster, each with a GPU or so many cores of its own."""

    def __init__(self, device: str, address: str, threads: int) -> None:
        """Connect to the cluster at an address; CommandError if that fails, or if it has no such device.

        A task has `threads` cores, and as many threads. With `auto` as device it has a GPU if there is any.
        """
        if device not in ("auto", "cpu", "cuda"):
            raise CommandError(f"--device {device}: Ray chooses which; with --ray there are auto, cpu and cuda")
        if _ADDRESS.fullmatch(address) is None:
            raise CommandError(f"--ray {address[:60]}: is neither auto nor HOST:PORT, as `ray start` tells it")
        try:
            if address != "auto":  # Ray itself would wait for minutes
                host, _, port = address.rpartition(":")
                socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
            ray.init(address=address, log_to_driver=False, logging_level="error")
        except (RayError, OSError, OverflowError, RuntimeError, ValueError) as e:
            why = str(e).strip().partition("\n")[0].rstrip(".")
            raise CommandError(f"--ray {address}: no cluster can be used there ({why})") from None
        self._threads, self._nodes = threads, [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self.kind = "cuda" if device == "cuda" or (device == "auto" and self._room("GPU", 1)) else "cpu"

    @property
    def usual(self) -> int:
        """Return as many as the cluster has room for; CommandError if that is none."""
        count = self._room("GPU", 1) if self.kind == "cuda" else self._room("CPU", self._threads)
        if not count:
            lacks = "GPU" if self.kind == "cuda" else f"node with {self._threads} cores"
            raise CommandError(f"--ray: the cluster has no {lacks}; say --workers if it grows once it is asked to")
        return count

    def _room(self, resource: str, each: int) -> int:
        """Return how many tasks that need so much of a resource have room; one does not stretch over nodes."""
        return sum(int(node.get(resource, 0) // each) for node in self._nodes)

    def device_of(self, worker: int) -> str:
        """Return the device of a task, which sees no other GPU than its own."""
        return self.kind

    def threads(self, workers: int) -> int | None:
        """Return the threads of a task."""
        return self._threads

    async def render(self, task: FarmRender) -> Ending:
        """Render by a task; one whose process or node dies was killed."""
        room = {"num_cpus": self._threads, "num_gpus": 1 if self.kind == "cuda" else 0}
        reference = _render.options(**room).remote(task)
        try:
            ending: Ending = await reference
        except asyncio.CancelledError:
            ray.cancel(reference, force=True)
            await asyncio.to_thread(ray.wait, [reference], timeout=CANCEL_SECONDS)
            raise
        except (WorkerCrashedError, NodeDiedError, OutOfMemoryError):
            return Ending("its node or process died", killed=True)
        except RayError as e:
            return Ending(f"Ray could not run it ({str(e).strip().splitlines()[-1]})")
        until = time.monotonic() + SEEN_SECONDS
        while not ending.why and not task.film.exists():
            if time.monotonic() > until:
                return Ending("a node rendered it, and it is not here; all nodes must share the folder of the films")
            await asyncio.sleep(POLL_SECONDS)
        return ending


@ray.remote(max_retries=0)
def _render(task: FarmRender) -> Ending:
    """Render on a node, once the lock of another one that died is gone."""
    if task.threads is not None:  # the nodes' own OMP_NUM_THREADS would make films differ
        os.environ.update(OMP_NUM_THREADS=str(task.threads))
    silent = task.film.with_name(f"{task.film.stem}.silent.mp4")  # of an avatar, whose sound is added to it
    until = time.monotonic() + LEASE_SECONDS
    while any(RenderFiles(film).in_use() for film in (task.film, silent)) and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
    return asyncio.run(render_here(task))
