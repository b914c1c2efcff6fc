"""The one thread that runs steps on a device for all sessions.

Every session has at most one job waiting, a chunk long, and jobs run in the order in which they come: with that alone
the device is shared fairly by chunk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class DeviceThread:
    """Runs functions one after another, off the event loop."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="device")

    async def run(self, job: Callable[[], T]) -> T:
        """Run `job` when those before it are done, and return its result."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, job)

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
