"""Control the time and the event loop in tests: nothing waits for real time."""

from __future__ import annotations

import asyncio
import contextlib
import random
import selectors
from collections.abc import Callable, Coroutine
from typing import Any


async def turn() -> None:
    """Run the tasks of the event loop that are ready."""
    await asyncio.sleep(0)


class TestClock:
    """Move only by sleeping, waiting and working; every sleep is late by up to `jitter` seconds."""

    __test__ = False

    def __init__(self, jitter: float = 0.0, waited: Callable[[], None] = lambda: None) -> None:
        """Begin at 0; `waited` is called after every wait for an event that was not set."""
        self.now, self.chance, self.waited = 0.0, random.Random(0), waited
        self._jitter = jitter

    def __call__(self) -> float:
        return self.now

    def works(self, seconds: float) -> None:
        """Let work take up to so many seconds."""
        self.now += self.chance.uniform(0, seconds)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds + self.chance.uniform(0, self._jitter)
        await turn()

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        if not event.is_set():
            self.now += seconds
            self.waited()
        await turn()


class _Hurrying(selectors.DefaultSelector):
    """Let time pass at once where the event loop would wait."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.now += timeout or 0.0
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Run tasks in a time of their own, which moves only when all of them wait; threads' work takes none of it."""

    def __init__(self) -> None:
        self._hurrying = _Hurrying()
        super().__init__(self._hurrying)

    def time(self) -> float:
        return self._hurrying.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except BaseException as e:
            done.set_exception(e)
        return done


class LoopClock:
    """Read the time of the running event loop."""

    def __call__(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), seconds)


def in_virtual_time(test: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on a VirtualTimeLoop."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(test)
