"""Run workers as actors of a Ray cluster: the one module that imports Ray.

Actors are detached and named, so that a new ingress finds those of the last one. Ray places each on a node with a free
slot (a GPU, or a CPU), tells of their deaths, and has its autoscaler add nodes for those that wait for one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
import ray
from ray.exceptions import ActorDiedError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from app.cluster.fleet import SessionReport, Worker, WorkerDeadError, WorkerReport
from models.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from app.cluster.worker_server import WorkerOptions, WorkerServer

log = logging.getLogger(__name__)

NAMESPACE = "longtake"
PREFIX = "worker-"
AT_ONCE = 200  # calls of a worker that may wait for its answers
KILL_PATIENCE = 8.0  # seconds in which a node must say that a process has ended; Ray itself kills it after 5

T = TypeVar("T")


class UnreachableError(UserError):
    """Report a Ray cluster that cannot be joined."""


class WorkerActor:
    """Hold a worker's server in a process of its own."""

    def __init__(self, name: str, options: WorkerOptions) -> None:
        """Prepare the actor; what takes long is done by `start`."""
        from app.cluster.worker_server import WorkerServer

        self._server: WorkerServer = WorkerServer(name, ray.util.get_node_ip_address(), options)

    async def place(self) -> tuple[str, int]:
        """Return the node that the actor runs on, and its process."""
        return ray.get_runtime_context().get_node_id(), os.getpid()

    async def start(self) -> None:
        """Serve; return once sessions can be started."""
        await self._server.start()

    async def lives(self) -> None:
        """Never return: a call that waits for this fails once the process has ended."""
        await asyncio.Event().wait()

    async def report(self) -> WorkerReport:
        """Return what the worker does now."""
        return self._server.report()

    async def go_on(self, session: str, left: SessionReport) -> SessionReport:
        """Go on with a session that another worker had."""
        return await self._server.go_on(session, left)

    async def hand_over(self, session: str) -> int | None:
        """Stop a session so that another worker can go on with it."""
        return await self._server.hand_over(session)


class RayWorker:
    """Reach a worker by Ray."""

    def __init__(self, name: str, actor: Any) -> None:
        self.name, self.actor = name, actor
        self.place: tuple[str, int] | None = None  # node and process, once they are known

    async def ended(self) -> None:
        """Return once the worker's process has ended for certain."""
        with contextlib.suppress(WorkerDeadError):
            if self.place is None:
                self.place = await self._of(self.actor.place.remote())
            await self._of(self.actor.lives.remote())

    async def report(self) -> WorkerReport:
        """Return what the worker does now."""
        return await self._of(self.actor.report.remote())

    async def go_on(self, session: str, left: SessionReport) -> SessionReport:
        """Go on with a session that another worker had."""
        return await self._of(self.actor.go_on.remote(session, left))

    async def hand_over(self, session: str) -> int | None:
        """Stop a session so that another worker can go on with it."""
        return await self._of(self.actor.hand_over.remote(session))

    async def _of(self, answer: Awaitable[Any]) -> Any:
        """Return an answer; WorkerDeadError if the actor has died, and what the worker raised. Others are Ray's."""
        try:
            return await answer
        except RayTaskError as e:
            raise (e.cause if isinstance(e.cause, Exception) else e) from None
        except ActorDiedError as e:
            raise WorkerDeadError(f"{self.name}: {str(e).splitlines()[0]}") from None


class RayFleet:
    """Start and end workers in a Ray cluster."""

    def __init__(self, address: str, options: WorkerOptions) -> None:
        """Prepare a fleet in the cluster at `address`; each worker has a GPU to itself, or a CPU."""
        self._address, self._options = address, options

    async def found(self) -> list[Worker]:
        """Return the workers that an earlier director has left running."""
        return await asyncio.to_thread(self._found)

    def _found(self) -> list[Worker]:
        if not ray.is_initialized():
            # the address is always given: Ray would join any cluster that it finds
            try:
                ray.init(self._address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.WARNING)
            except (ConnectionError, RuntimeError, ValueError) as e:
                reason = (str(e).splitlines() or [type(e).__name__])[0]
                raise UnreachableError(f"--ray {self._address}: cannot join this cluster ({reason})") from e
        workers: list[Worker] = []
        for name in ray.util.list_named_actors():
            if name.startswith(PREFIX):
                with contextlib.suppress(ValueError):  # it has died meanwhile
                    workers.append(RayWorker(name, ray.get_actor(name)))
        return workers

    async def hire(self) -> Worker:
        """Start a worker; return once it can take sessions, which takes as long as a node with a slot does."""
        name = f"{PREFIX}{secrets.token_hex(4)}"
        worker = RayWorker(name, await asyncio.to_thread(self._begin, name))
        try:
            await worker.actor.start.remote()
        except BaseException as e:
            if not isinstance(e, asyncio.CancelledError):
                await asyncio.to_thread(ray.kill, worker.actor)
            raise
        return worker

    def _begin(self, name: str) -> Any:
        actor = ray.remote(WorkerActor).options(
            name=name,
            namespace=NAMESPACE,
            lifetime="detached",
            max_restarts=0,  # the director hires another one, and knows what became of the sessions
            max_concurrency=AT_ONCE,
            **self._slot(),
        )
        return actor.remote(name, self._options)

    def _slot(self) -> dict[str, float]:
        """Return what a worker takes of its node; RuntimeError while no node has anything to give."""
        there = ray.cluster_resources()
        if there.get("GPU") and self._options.studio.device != "cpu":
            return {"num_cpus": 0, "num_gpus": 1}
        if there.get("CPU") and not self._options.studio.device.startswith("cuda"):
            return {"num_cpus": 1}
        raise RuntimeError("no node of the cluster has a GPU or a CPU for workers yet")

    async def kill(self, worker: Worker) -> None:
        """End a worker's process, whatever it does; return once it has ended for certain."""
        assert isinstance(worker, RayWorker), "a worker of another fleet"
        place = worker.place
        await asyncio.to_thread(ray.kill, worker.actor)
        if place is not None:
            # Ray calls the actor dead at once, and its process lives for another 5 s where it is stopped
            on_node = _ended_on_node.options(scheduling_strategy=NodeAffinitySchedulingStrategy(place[0], soft=False))
            try:
                await asyncio.wait_for(on_node.remote(place[1]), KILL_PATIENCE)
            except Exception as e:  # a node that has died takes its processes along
                log.warning("the node of %s does not say that it has ended: %r", worker.name, e)
        await worker.ended()


@ray.remote(num_cpus=0, max_retries=0)
def _ended_on_node(process: int) -> None:
    """Kill a worker's process on this node, and return once it is gone."""
    found = Path(f"/proc/{process}")
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        if WorkerActor.__name__.encode() in (found / "cmdline").read_bytes():  # as Ray names it
            os.kill(process, signal.SIGKILL)
            while (found / "cmdline").read_bytes():  # empty of one that has ended and is still listed
                time.sleep(0.02)
