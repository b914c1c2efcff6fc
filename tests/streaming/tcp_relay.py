"""Relay TCP between a client and a server over a line that carries only so many bits a second to the client."""

from __future__ import annotations

import asyncio

PIECE = 500  # bytes that pass at a time


class TcpRelay:
    """Stand between a client and a server on this machine; the system's buffers are those of any proxy."""

    def __init__(self, server: int, rate: float) -> None:
        """Carry `rate` bits a second from the server's port to each client."""
        self.port, self._at, self._rate = 0, server, rate
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """End all connections."""
        self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, out = await asyncio.open_connection("127.0.0.1", self._at)
        for work in (self._pass(reader, out, None), self._pass(there, writer, self._rate)):
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, rate: float | None) -> None:
        loop = asyncio.get_running_loop()
        free = loop.time()
        try:
            while data := await source.read(PIECE):
                if rate is not None:
                    free = max(free, loop.time()) + 8 * len(data) / rate
                    await asyncio.sleep(free - loop.time())
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass
        finally:
            sink.close()
