"""Run the models' work for all sessions on one thread a device.

A session has at most two jobs waiting, a chunk and a text, and jobs run in the order in which they come. That alone
shares the device fairly between sessions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class DeviceThread:
    """Run functions one after another, off the event loop."""

    def __init__(self) -> None:
        """Start the thread with the first job."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="device")

    async def run(self, job: Callable[[], T]) -> T:
        """Run `job` after those before it, and return its result or raise its exception."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, job)

    def close(self) -> None:
        """Cancel the jobs that wait, and block until the running one is done."""
        self._thread.shutdown(wait=True, cancel_futures=True)
