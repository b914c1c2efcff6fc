"""Run asyncio code in simulated time: nothing waits, and work in executors takes as long as a test says."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any


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
    """Count simulated seconds from 0, and run executors' work on the loop's own thread."""

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
                result = func(*args)
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
