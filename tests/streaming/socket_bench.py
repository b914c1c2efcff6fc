"""Watch a session over a WebSocket, on a TCP line that carries little, and measure what arrives.

Run it with `python tests/streaming/socket_bench.py`, with the checkout, `tests` and `tests/streaming` on PYTHONPATH.
Times are of a picture's arrival; a page buffers up to 0.3 s more.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from typing import Any

import uvicorn
from line_bench import POCKET_SIZE, SMALL, Watched, film_model
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from tcp_relay import TcpRelay
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from app.paced_socket import PacedSocket
from streaming.live.device import DeviceThread
from streaming.live.pacing import TICKS
from streaming.live.session import Session
from streaming.take.take_file import CueLine, Take
from streaming.transport.websocket import SocketViewer


def pictures_of(fragment: bytes) -> list[int]:
    """Return the decode times of the pictures in moof + mdat, in 90 kHz ticks."""
    first = struct.unpack_from(">Q", fragment, fragment.index(b"tfdt") + 8)[0]
    run = fragment.index(b"trun") + 8
    (count,) = struct.unpack_from(">I", fragment, run)
    durations = [entry[0] for entry in struct.iter_unpack(">III", fragment[run + 8 : run + 8 + 12 * count])]
    return [first + sum(durations[:n]) for n in range(count)]


class SocketClient:
    """Serve a session as `longtake serve` does, and watch it over the relay."""

    def __init__(self, session: Session, rate: float) -> None:
        """Watch over a line of `rate` bits a second."""
        self.arrived, self.received = Watched(), 0
        self._session, self._rate = session, rate
        self._tasks: list[asyncio.Task[Any]] = []

    async def connect(self) -> None:
        """Serve, and begin to watch."""
        listening = socket.create_server(("127.0.0.1", 0))

        async def watch(web: WebSocket) -> None:
            await web.accept()
            await SocketViewer(web, self._session, None).run(asyncio.get_running_loop().create_future())

        app = Starlette(routes=[WebSocketRoute("/", watch)])
        self._server = uvicorn.Server(uvicorn.Config(app, ws=PacedSocket, log_config=None, lifespan="off"))
        self._tasks.append(asyncio.create_task(self._server.serve([listening])))
        self.relay = TcpRelay(listening.getsockname()[1], self._rate)
        await self.relay.open()
        self._tasks.append(asyncio.create_task(self._watch()))

    async def _watch(self) -> None:
        fps = self._session.playout.fps
        with contextlib.suppress(ConnectionClosed):
            async with connect(f"ws://127.0.0.1:{self.relay.port}/") as web:
                async for message in web:
                    self.received += len(message)
                    if isinstance(message, bytes) and message[4:8] == b"moof":
                        self.arrived.shown += [(time.monotonic(), t * fps // TICKS) for t in pictures_of(message)]

    async def close(self) -> None:
        """Leave, and end the server."""
        self._tasks[-1].cancel()
        self.relay.close()
        self._server.should_exit = True
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def measure(side: int, rate: float, seconds: float = 30.0, measured_from: float = 8.0) -> dict[str, float]:
    """Run a session of a film of `side` pixels, watched over a line of `rate` bits a second; return figures."""
    device = DeviceThread()
    session = Session(film_model(side), Take(model="tiny", seed=5, length=1, cues=[CueLine(prompt="one")]), device)
    released: dict[int, float] = {}
    session.playout.watch(lambda _, number: released.update({number: time.monotonic()}))
    session.start()
    client, clean = SocketClient(session, rate), SocketClient(session, 1e8)
    try:
        await clean.connect()
        await asyncio.sleep(2)
        await client.connect()
        await asyncio.sleep(measured_from)
        begin, received = time.monotonic(), client.received
        await asyncio.sleep(seconds - measured_from)
        end = time.monotonic()
        kbit = (client.received - received) * 8 / (end - begin) / 1000
        clean_fps = clean.arrived.figures(released, begin, end)["fps"]
        return {**client.arrived.figures(released, begin, end), "kbit": kbit, "clean_fps": clean_fps}
    finally:
        await client.close()
        await clean.close()
        await session.close()
        device.close()


def main() -> None:
    """Print the table."""
    print("| WebSocket | fps | worst freeze | behind live | at the end | kbit/s | clean viewer's fps |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for side, kbit in ((SMALL, 24), (SMALL, 60), (POCKET_SIZE, 60), (POCKET_SIZE, 100), (POCKET_SIZE, 200)):
        found = asyncio.run(measure(side, 1000 * kbit))
        figures = " | ".join(f"{found[name]:.2f}" for name in ("fps", "freeze", "lag", "lag_end", "kbit", "clean_fps"))
        print(f"| {kbit} kbit/s, {side}x{side} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
