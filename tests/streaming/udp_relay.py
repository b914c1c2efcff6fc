"""Relay UDP between two peers over a line with delay, jitter, loss, outages and a bottleneck with a finite queue."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

HEADERS = 28  # bytes of an IPv4 and a UDP header, which a bottleneck carries too


@dataclass(frozen=True)
class Line:
    """Describe one direction of a line."""

    delay: float = 0.0  # seconds
    jitter: float = 0.0  # seconds that are added at random; packets keep their order
    loss: float = 0.0  # share of the packets, each by chance
    rate: float | None = None  # bits a second, headers included; None: as fast as the machine
    queue: float = 1.0  # seconds of its rate that wait in front of the bottleneck; later packets are dropped
    outages: tuple[tuple[float, float], ...] = ()  # begin and end, seconds after `begin`; everything is dropped


class Direction:
    """Carry the packets of one direction, and count them."""

    def __init__(self, line: Line, deliver: Callable[[bytes], None], seed: int) -> None:
        self.line, self.sent, self.dropped = line, 0, 0  # bytes with headers; packets
        self.began: float | None = None
        self._deliver, self._chance = deliver, random.Random(seed)
        self._free = self._last = 0.0  # when the bottleneck is free; when the newest packet arrives

    def send(self, data: bytes) -> None:
        """Take a packet, and deliver it when the line has carried it; it may be dropped."""
        loop, line = asyncio.get_running_loop(), self.line
        now = loop.time()
        self.sent += len(data) + HEADERS
        since = now - self.began if self.began is not None else -1.0
        if any(a <= since < b for a, b in line.outages) or self._chance.random() < line.loss:
            self.dropped += 1
            return
        through = now
        if line.rate is not None:
            waits = max(0.0, self._free - now)
            if waits > line.queue:
                self.dropped += 1
                return
            through = self._free = now + waits + 8 * (len(data) + HEADERS) / line.rate
        arrival = max(self._last, through + line.delay + self._chance.uniform(0, line.jitter))
        self._last = arrival
        loop.call_at(arrival, self._deliver, data)


class _Socket(asyncio.DatagramProtocol):
    def __init__(self, received: Callable[[bytes, tuple[str, int]], None]) -> None:
        self._received = received

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._received(data, addr)


class Relay:
    """Stand between a client and a server: the client is told the relay's address in place of the server's."""

    def __init__(self, host: str, down: Line, up: Line, seed: int = 0) -> None:
        self.host, self.port = host, 0
        self.down = Direction(down, self._to_client, seed)
        self.up = Direction(up, self._to_server, seed + 1)
        self._server: tuple[str, int] | None = None
        self._client: tuple[str, int] | None = None

    async def open(self, server: tuple[str, int]) -> None:
        """Open both sockets; packets of the client go to this address of the server."""
        self._server, loop = server, asyncio.get_running_loop()
        self._near, _ = await loop.create_datagram_endpoint(
            lambda: _Socket(self._from_client), local_addr=(self.host, 0)
        )
        self._far, _ = await loop.create_datagram_endpoint(
            lambda: _Socket(lambda data, _: self.down.send(data)), local_addr=(self.host, 0)
        )
        self.port = self._near.get_extra_info("sockname")[1]

    def begin(self) -> None:
        """Count the times of outages from now on."""
        self.down.began = self.up.began = asyncio.get_running_loop().time()

    def close(self) -> None:
        """Close both sockets."""
        self._near.close()
        self._far.close()

    def _from_client(self, data: bytes, addr: tuple[str, int]) -> None:
        self._client = addr
        self.up.send(data)

    def _to_client(self, data: bytes) -> None:
        if self._client is not None and not self._near.is_closing():
            self._near.sendto(data, self._client)

    def _to_server(self, data: bytes) -> None:
        if not self._far.is_closing():
            self._far.sendto(data, self._server)
