"""Limit the number of connections to a server, and the time in which headers must arrive and answers be read.

Without these limits, connections that never finish their headers (slowloris) or read their answers would stay open
until no file descriptor is left. The time for a body is bounded by `app.security`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import time
from collections import Counter
from collections.abc import Collection
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame

from app.credentials import network_of

log = logging.getLogger(__name__)

HEADER_SECONDS = 10.0  # from the connection, or the first byte of a later request, to the end of the headers
UNREAD_SECONDS = 60.0  # for which a client may read nothing of what waits for it, as nginx's send_timeout has it
MOST_OF_ADDRESS = 128  # simultaneous connections; a page needs at most 7
MOST_CONNECTIONS = 1000
BACKLOG = 128  # connections that wait to be accepted, and that are accepted before any of them is looked at
SPARE_DESCRIPTORS = 64  # for files, media and the device
MOST_REFUSED = 32  # connections at a time that are told why they are refused; further ones are closed without a word
MOST_FRAGMENTS = 1024  # of a WebSocket's message: each is remembered, and may hold nothing
MOST_UNREAD = 1 << 20  # bytes that a WebSocket's client may leave unread before its pings get no more answers
REFUSED_SECONDS = 1.0  # that a refused connection has to send the request which is answered
QUIET_SECONDS = 60.0  # between two lines of the log about descriptors
_open: Counter[str] = Counter()  # connections by address, WebSockets included
_serving: dict[BoundedConnection, None] = {}  # accepted and without WebSockets, the oldest first
_refused: set[BoundedConnection] = set()  # that have not been answered
_BODY = b'{"error":"too many connections are open; try again later"}'
_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 2\r\n"
    b"x-content-type-options: nosniff\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)


class BoundedConnection(H11Protocol):
    """Serve one connection as uvicorn does; refuse it if there are too many, close it if its headers are too late."""

    proxies: ClassVar[Collection[str]] = ()  # addresses that forward the requests of many clients

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Prepare a connection with uvicorn's arguments."""
        super().__init__(*arguments, **named)
        self._deadline: asyncio.TimerHandle | None = None
        self._address = ""
        self._upgraded = False  # whether the connection has become a WebSocket, which another object serves

    def connection_made(self, transport: Any) -> None:
        """Accept the connection unless there are too many, and start the timer for the first request's headers."""
        self._address = _counted(transport)
        _end_unless_read(transport)
        super().connection_made(transport)
        crowded = _open[self._address] > MOST_OF_ADDRESS and self._address not in self.proxies
        full = _open.total() > MOST_CONNECTIONS or few_descriptors(transport)
        if not crowded and (not full or self._takes_a_place()):
            _serving[self] = None
            self._expect_headers(HEADER_SECONDS)
        elif len(_refused) < MOST_REFUSED:
            _refused.add(self)
            self._expect_headers(REFUSED_SECONDS)
        else:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Handle bytes of a request, and stop or start the timer for headers; answer 503 if there are too many."""
        if self in _refused:  # the answer follows a request, since clients do not expect one before
            _refused.discard(self)
            self.transport.write(_REFUSAL)
            self.transport.close()
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._upgraded or (self.cycle is not None and not self.cycle.response_complete):
            self._forget_deadline()
        elif self._deadline is None:
            self._expect_headers(HEADER_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting the connection, and end its timer."""
        self._forget_deadline()
        _refused.discard(self)
        _serving.pop(self, None)
        _uncount(self._address)
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: Any) -> None:
        """Hand the connection to a BoundedSocket, which counts it from now on."""
        super().handle_websocket_upgrade(event)
        self._upgraded = True
        _serving.pop(self, None)
        _uncount(self._address)

    def _takes_a_place(self) -> bool:
        """Close the oldest idle connection of the address with most of them; False if this one's address has as many.

        So an address that fills the server with connections that ask for nothing keeps no other address out.
        """
        idle = (
            c for c in _serving if c._address not in self.proxies and (c.cycle is None or c.cycle.response_complete)
        )
        most = max(idle, key=lambda other: _open[other._address], default=self)
        if _open[most._address] <= _open[self._address]:
            return False
        _serving.pop(most)
        most.transport.abort()
        return True

    def _expect_headers(self, seconds: float) -> None:
        self._deadline = self.loop.call_later(seconds, self._give_up)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        log.debug("%s: no whole request in time; the connection is closed", self._address)  # there may be thousands
        self.transport.abort()


class BoundedSocket(WebSocketsSansIOProtocol):
    """Serve a WebSocket as uvicorn does, counted among the connections of its address until it ends.

    What a client sends beside whole messages is bounded: fragments, pings whose answers it does not read, and text
    that is not UTF-8, for which uvicorn logs a traceback.
    """

    def connection_made(self, transport: Any) -> None:
        """Count the connection."""
        self._address = _counted(transport)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting the connection."""
        _uncount(self._address)
        super().connection_lost(exc)

    def handle_ping(self) -> None:
        """Answer a ping, unless too much waits to be read (RFC 6455, section 5.5.3: the newest answer is enough)."""
        pong = b"".join(self.conn.data_to_send())
        if self.transport.get_write_buffer_size() < MOST_UNREAD:
            self.transport.write(pong)

    def handle_cont(self, event: Frame) -> None:
        """Take a further fragment of a message."""
        if len(self.frames) < MOST_FRAGMENTS:
            super().handle_cont(event)
        else:
            self._refuse_message(CloseCode.MESSAGE_TOO_BIG, f"a message has at most {MOST_FRAGMENTS} fragments")

    def send_receive_event_to_app(self) -> None:
        """Pass a whole message on."""
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self._refuse_message(CloseCode.INVALID_DATA, "a text message that is not UTF-8")
                return
        super().send_receive_event_to_app()

    def _refuse_message(self, code: CloseCode, reason: str) -> None:
        self.frames.clear()
        if not self.close_sent:  # what has arrived together is handled to its end
            self.conn.fail(code, reason)
            self.handle_parser_exception()


def _counted(transport: Any) -> str:
    """Count one more connection of the transport's address, and return the address."""
    peer = transport.get_extra_info("peername")
    address = network_of(peer[0]) if isinstance(peer, tuple) else "?"
    _open[address] += 1
    return address


def _end_unless_read(transport: Any) -> None:
    """Have the kernel end a connection whose client takes nothing of what waits for it for UNREAD_SECONDS.

    That holds for a WebSocket too, and for one that is being closed, which asyncio would keep until all is read. Linux
    alone knows this (TCP_USER_TIMEOUT, tcp(7)); a client that reads a little now and then goes on.
    """
    connected = transport.get_extra_info("socket")
    if sys.platform == "linux" and connected is not None and connected.family in (socket.AF_INET, socket.AF_INET6):
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * UNREAD_SECONDS))


def _uncount(address: str) -> None:
    _open[address] -= 1
    if _open[address] <= 0:
        del _open[address]


def few_descriptors(transport: Any) -> bool:
    """Return whether a new connection leaves fewer than SPARE_DESCRIPTORS of the process, or half of a low limit.

    POSIX gives each new descriptor the lowest free number, so that all below the connection's are in use.
    """
    connected = transport.get_extra_info("socket")
    if sys.platform == "win32" or connected is None:
        return False
    import resource

    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = min(SPARE_DESCRIPTORS, most // 2)
    return most != resource.RLIM_INFINITY and connected.fileno() >= most - spare


def raise_descriptors() -> None:
    """Raise the process's limit of open files as far as the system permits and connections and media need."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * MOST_CONNECTIONS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


class DescriptorErrors:
    """Handle the event loop's errors (`loop.set_exception_handler`), logging a lack of descriptors once a minute.

    Without it, asyncio logs a traceback for each connection that it cannot accept, BACKLOG a second.
    """

    def __init__(self) -> None:
        self._told = -QUIET_SECONDS

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log a lack of descriptors at most once in QUIET_SECONDS; pass other errors to asyncio's own handler."""
        if "out of system resource" not in str(context.get("message")):
            loop.default_exception_handler(context)
        elif time.monotonic() - self._told >= QUIET_SECONDS:
            self._told = time.monotonic()
            log.error("no connection can be accepted (%s): raise the limit of open files", context.get("exception"))
