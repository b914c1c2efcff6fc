"""Bound what connections may cost a server: how many there are, and how long one may take to send a request.

Without this, connections that never finish their headers (slowloris) are held for ever, until no descriptor is left for
others. The time for a body is bounded by `app.security`.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections import Counter
from collections.abc import Collection
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

from app.credentials import network_of

log = logging.getLogger(__name__)

HEADER_SECONDS = 10.0  # from the connection, or from the first byte of a later request, to the end of its headers
MOST_OF_ADDRESS = 128  # connections at a time; a page needs at most 7
MOST_CONNECTIONS = 1000
SPARE_DESCRIPTORS = 64  # for files, media and the device
QUIET_SECONDS = 60.0  # between two lines of the log about descriptors


class BoundedConnection(H11Protocol):
    """Serve one connection as uvicorn does, and end it if there are too many, or if a request is late."""

    proxies: ClassVar[Collection[str]] = ()  # addresses that speak for many clients
    _open: ClassVar[Counter[str]] = Counter()  # by address

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Prepare a connection with what uvicorn gives it."""
        super().__init__(*arguments, **named)
        self._deadline: asyncio.TimerHandle | None = None
        self._address = ""

    def connection_made(self, transport: Any) -> None:
        """Begin, unless there are too many connections."""
        peer = transport.get_extra_info("peername")
        self._address = network_of(peer[0]) if isinstance(peer, tuple) else "?"
        self._open[self._address] += 1
        super().connection_made(transport)
        crowded = self._open[self._address] > MOST_OF_ADDRESS and self._address not in self.proxies
        if crowded or self._open.total() > most_connections():
            transport.abort()
        else:
            self._expect_headers()

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget_deadline()
        elif self._deadline is None:
            self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._forget_deadline()
        self._open[self._address] -= 1
        if self._open[self._address] <= 0:
            del self._open[self._address]
        super().connection_lost(exc)

    def _expect_headers(self) -> None:
        self._deadline = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        log.info("%s: no whole request within %.0f s; the connection is closed", self._address, HEADER_SECONDS)
        self.transport.abort()


def most_connections() -> int:
    """Return how many connections the process may hold at a time, so that descriptors are left for its other work."""
    if sys.platform == "win32":
        return MOST_CONNECTIONS
    import resource

    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(8, min(MOST_CONNECTIONS, descriptors - SPARE_DESCRIPTORS))


def raise_descriptors() -> None:
    """Let the process open as many files as the system permits it, at most what all connections and media need."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * MOST_CONNECTIONS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


class DescriptorErrors:
    """Handle the event loop's errors (`loop.set_exception_handler`): one line a minute where no descriptor is left.

    asyncio reports each connection that it cannot accept with a traceback, thousands in a second.
    """

    def __init__(self) -> None:
        self._told = -QUIET_SECONDS

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle one error."""
        if "out of system resource" not in str(context.get("message")):
            loop.default_exception_handler(context)
        elif time.monotonic() - self._told >= QUIET_SECONDS:
            self._told = time.monotonic()
            log.error("no connection can be accepted (%s): raise the limit of open files", context.get("exception"))
