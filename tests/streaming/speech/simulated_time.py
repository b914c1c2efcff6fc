"""Run asyncio code in simulated time: nothing waits, and work in executors takes as long as a test says."""

from __future__ import annotations

import asyncio
import functools
import itertools
import selectors
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any
from unittest import mock


class JumpingSelector(selectors.SelectSelector):
    """Advance the time instead of waiting until a timer is due."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return the ready files; RuntimeError if the loop would wait for ever."""
        if timeout is None:
            raise RuntimeError("no timer is set: the code waits for something that never happens")
        self.now += max(0.0, timeout)
        return super().select(0)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Count simulated seconds from 0, and run executors' work on the loop's own thread.

    What the work measures of itself with `time.perf_counter` is simulated too: on a busy machine it would measure the
    machine, and sessions decide by it what they draw.
    """

    def __init__(self, *, encoding: float, drawing: float, late: bool) -> None:
        """Work on the default executor takes `encoding` seconds, on any other `drawing` seconds, which may be changed.

        The function is called at the beginning of that time, or at its end with `late`; its result comes at the end.
        """
        self._selector_in_time = JumpingSelector()
        super().__init__(self._selector_in_time)
        self._encoding, self.drawing, self._late = encoding, drawing, late

    def time(self) -> float:
        """Return the simulated seconds so far."""
        return self._selector_in_time.now

    def run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Return a future that holds the result of a call once the simulated time of the work is over."""
        future: asyncio.Future[Any] = self.create_future()
        seconds = self._encoding if executor is None else self.drawing

        def outcome() -> Callable[[], None]:
            try:
                result = self._measured(seconds, func, *args)
            except Exception as e:
                error = e
                return lambda: future.set_exception(error)
            return lambda: future.set_result(result)

        tell = None if self._late else outcome()

        def finish() -> None:
            if not future.cancelled():
                (tell or outcome())()

        self.call_later(seconds, finish)
        return future

    def _measured(self, seconds: float, func: Callable[..., Any], *args: Any) -> Any:
        """Call a function, within which the time is first read at its beginning, then half way and at its end."""
        began = self.time()
        readings = itertools.chain((began, began + seconds / 2), itertools.repeat(began + seconds))
        with mock.patch("time.perf_counter", side_effect=readings):
            return func(*args)


def in_simulated_time(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test on a loop on which a frame is encoded in 10 ms, and a chunk drawn in 40 ms and settled in 40 ms."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=lambda: SimulatedLoop(encoding=0.01, drawing=0.04, late=True)) as runner:
            runner.run(test(*args, **kwargs))  # type: ignore[arg-type]

    return run
