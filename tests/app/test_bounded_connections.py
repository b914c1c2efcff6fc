"""Connections that send nothing, too little or too much are ended, and cost others nothing."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from studio_app import studio
from websockets.asyncio.client import connect
from websockets.frames import CloseCode, Frame, Opcode

from app import bounded_connections, security
from app.bounded_connections import BoundedConnection, BoundedSocket, DescriptorErrors, few_descriptors
from app.listening import bound

REQUEST = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"


@asynccontextmanager
async def listening(app: Any, socket_class: type[BoundedSocket] = BoundedSocket) -> AsyncIterator[int]:
    """Serve an application as `longtake serve` does, and give its port."""
    (listener,) = bound("127.0.0.1", 0)
    server = uvicorn.Server(
        uvicorn.Config(app, http=BoundedConnection, ws=socket_class, log_config=None, lifespan="off")
    )
    serving = asyncio.create_task(server.serve([listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await serving


async def answer_to(port: int, *parts: bytes, pause: float = 0.0, address: str = "127.0.0.1") -> bytes:
    """Send the parts of a request with a pause before each later one; return all that comes until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))

    async def send() -> None:
        for number, part in enumerate(parts):
            await asyncio.sleep(pause if number else 0)
            writer.write(part)

    sending, got = asyncio.create_task(send()), b""
    try:
        async with asyncio.timeout(10):
            while some := await reader.read(4096):
                got += some
    except ConnectionError:  # closed while something was still being sent
        pass
    finally:
        sending.cancel()
        writer.close()
    return got


@pytest.fixture
def app(tmp_path: Path) -> Any:
    return studio(tmp_path, local=True)


@pytest.mark.asyncio
@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nx-a: b\r\n", REQUEST + b"GET /"])
async def test_a_connection_without_a_whole_request_is_closed(
    app: Any, begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_connections, "HEADER_SECONDS", 0.3)
    async with listening(app) as port:
        trickle = [b"y", b":", b"1"] * 30  # a byte now and then does not put it off
        got, _ = await asyncio.gather(
            answer_to(port, begun), answer_to(port, b"GET / HTTP/1.1\r\nx", *trickle, pause=0.1)
        )
        assert got.count(b"200 OK") == begun.count(b"healthz")


@pytest.mark.asyncio
async def test_a_request_that_takes_long_to_answer_is_not_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_connections, "HEADER_SECONDS", 0.1)

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.5)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body", "body": b"late"})

    async with listening(slow) as port:
        assert (await answer_to(port, REQUEST)).endswith(b"late\r\n0\r\n\r\n")


@pytest.mark.asyncio
async def test_a_body_that_does_not_come_is_answered_with_408(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "BODY_SECONDS", 0.3)
    head = b"POST /login HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\ntoken="
    async with listening(app) as port:
        for parts in ([head], [head, *[b"a"] * 90]):
            got = await answer_to(port, *parts, pause=0.1)
            assert got.startswith(b"HTTP/1.1 408 "), got
            assert b'{"error":"the body did not arrive in time"}' in got


@pytest.mark.asyncio
async def test_one_address_has_a_bounded_number_of_connections_and_gets_them_back(
    app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_connections, "MOST_OF_ADDRESS", 4)
    async with listening(app) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
        head, _, body = (await answer_to(port, REQUEST)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 2\r\n" in head
        assert json.loads(body) == {"error": "too many connections are open; try again later"}
        monkeypatch.setattr(BoundedConnection, "proxies", ("127.0.0.1",))
        closing = REQUEST.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
        assert b"200 OK" in await answer_to(port, closing)  # a proxy speaks for many
        monkeypatch.setattr(BoundedConnection, "proxies", ())
        for _, writer in held:
            writer.close()
        async with asyncio.timeout(5):
            while b"200 OK" not in await answer_to(port, closing):
                await asyncio.sleep(0.02)


@pytest.mark.asyncio
async def test_a_refused_connection_that_asks_nothing_is_closed_soon_and_few_of_them_wait(
    app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_connections, "MOST_OF_ADDRESS", 1)
    monkeypatch.setattr(bounded_connections, "MOST_REFUSED", 2)
    monkeypatch.setattr(bounded_connections, "REFUSED_SECONDS", 0.3)
    async with listening(app) as port:
        held, *silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        assert await answer_to(port, REQUEST) == b""
        for reader, _ in silent:
            assert await asyncio.wait_for(reader.read(), 5) == b""
        assert b" 503 " in await answer_to(port, REQUEST)
        for _, writer in (held, *silent):
            writer.close()


@pytest.mark.asyncio
async def test_an_address_that_fills_the_server_with_idle_connections_keeps_no_other_out(
    app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_connections, "MOST_CONNECTIONS", 4)
    closing = REQUEST.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    async with listening(app) as port:
        greedy = [await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.3.1", 0)) for _ in range(4)]
        greedy[1][1].write(REQUEST)  # and waits for another request on the same connection
        await greedy[1][0].readuntil(b"}")
        for oldest, _ in greedy[:2]:
            assert b" 503 " in await answer_to(port, REQUEST, address="127.0.3.1")
            assert b" 200 OK" in await answer_to(port, closing)
            assert await asyncio.wait_for(oldest.read(), 5) == b""
            greedy.append(await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.3.1", 0)))
        for _, writer in greedy:
            writer.close()


@pytest.mark.asyncio
async def test_a_web_socket_outlives_the_time_for_headers_and_is_counted_until_it_closes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounded_connections, "HEADER_SECONDS", 0.2)
    monkeypatch.setattr(bounded_connections, "MOST_OF_ADDRESS", 3)

    async with listening(echo) as port:
        for _ in range(3):  # places are given back
            viewers = [await connect(f"ws://127.0.0.1:{port}") for _ in range(3)]
            assert b" 503 " in await answer_to(port, REQUEST)
            await asyncio.sleep(0.4)
            for viewer in viewers:
                await viewer.send("still here")
                assert await viewer.recv() == "still here"
                await viewer.close()


async def echo(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


def frame(opcode: Opcode, data: bytes = b"", *, fin: bool = True) -> bytes:
    """Return a frame as a client sends it."""
    return Frame(opcode, data, fin).serialize(mask=True)


@asynccontextmanager
async def raw_socket(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Give the two ends of a WebSocket after its handshake."""
    end = socket.socket()
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
    end.connect(("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=end)
    writer.write(
        b"GET /x HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    assert b" 101 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    yield reader, writer
    writer.close()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(Opcode.TEXT, b"\xff") * 4, CloseCode.INVALID_DATA),
        (frame(Opcode.TEXT, b"\xc3", fin=False) + frame(Opcode.CONT, b"("), CloseCode.INVALID_DATA),
        (frame(Opcode.TEXT, fin=False) + frame(Opcode.CONT, fin=False) * 3000, CloseCode.MESSAGE_TOO_BIG),
        (frame(Opcode.BINARY, fin=False) + frame(Opcode.CONT, fin=False) * 3000, CloseCode.MESSAGE_TOO_BIG),
        (frame(Opcode.CONT, b"x"), CloseCode.PROTOCOL_ERROR),
        (frame(Opcode.TEXT, b"a", fin=False) + frame(Opcode.TEXT, b"b"), CloseCode.PROTOCOL_ERROR),
        (Frame(Opcode.TEXT, b"not masked").serialize(mask=False), CloseCode.PROTOCOL_ERROR),
    ],
    ids=["no UTF-8", "none in two parts", "parts of text", "parts of data", "no first part", "two firsts", "no mask"],
)
async def test_a_message_that_is_no_text_or_has_no_end_closes_its_socket(
    sent: bytes, code: CloseCode, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(echo) as port, raw_socket(port) as (reader, writer):
        writer.write(sent)
        got = await asyncio.wait_for(reader.read(), 10)
        assert int.from_bytes(got[2:4], "big") == code, got
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [1 << 16, 1 << 23], ids=["in parts", "at once"])
async def test_a_client_that_does_not_read_its_answer_is_disconnected_and_one_that_reads_slowly_is_not(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(bounded_connections, "UNREAD_SECONDS", 1.0)
    monkeypatch.setattr(bounded_connections, "MOST_OF_ADDRESS", 2)

    async def large(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        for rest in range(1 << 23, 0, -size):  # 8 MB, of which the kernel holds up to 4
            await send({"type": "http.response.body", "body": bytes(size), "more_body": rest > size})

    async def asking(port: int, room: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        end = socket.socket()
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        end.connect(("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=end, limit=1024)
        writer.write(REQUEST)
        return reader, writer

    async with listening(large) as port:
        _, reads_nothing = await asking(port, 1 << 14)
        slow, writer = await asking(port, 1 << 20)
        assert b" 503 " in await answer_to(port, REQUEST)
        got = 0
        while some := await slow.read(1 << 20):
            got += len(some)
            await asyncio.sleep(0.01)
        assert got > 1 << 23
        monkeypatch.setattr(bounded_connections, "MOST_OF_ADDRESS", 1)
        async with asyncio.timeout(20):
            while b" 503 " in await head_of(port):
                await asyncio.sleep(0.05)
        writer.close()
        reads_nothing.close()


async def head_of(port: int) -> bytes:
    """Return the beginning of an answer, and leave."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    try:
        return await asyncio.wait_for(reader.read(64), 10)
    finally:
        writer.transport.abort()


@pytest.mark.asyncio
async def test_text_in_fragments_is_put_together() -> None:
    async with listening(echo) as port, raw_socket(port) as (reader, writer):
        writer.write(frame(Opcode.TEXT, b"h\xc3", fin=False) + frame(Opcode.PING) + frame(Opcode.CONT, b"\xa9"))
        assert await asyncio.wait_for(reader.readexactly(2), 10) == b"\x8a\x00"  # the ping is answered in between
        assert await asyncio.wait_for(reader.readexactly(5), 10) == b"\x81\x03h\xc3\xa9"


@pytest.mark.asyncio
async def test_answers_to_pings_that_are_not_read_take_a_bounded_room(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[int] = []  # bytes, after each ping

    class Watched(BoundedSocket):
        def handle_ping(self) -> None:
            super().handle_ping()
            waiting.append(self.transport.get_write_buffer_size())

    monkeypatch.setattr(bounded_connections, "MOST_UNREAD", 1 << 16)
    async with listening(echo, Watched) as port, raw_socket(port) as (_, writer):
        pings = frame(Opcode.PING, bytes(125)) * 1000
        for _ in range(64):  # 8 MB, of which the kernel holds up to 4
            writer.write(pings)
            await writer.drain()
        async with asyncio.timeout(60):
            while len(waiting) < 64_000:
                await asyncio.sleep(0.01)
    assert (1 << 16) <= max(waiting) < 1 << 19  # what was read at once is answered at once: 256 KiB more


def test_connections_leave_descriptors_for_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    class Transport:
        """Has a socket with the newest descriptor."""

        def __init__(self, number: int) -> None:
            self._number = number

        def get_extra_info(self, _: str) -> Transport:
            return self

        def fileno(self) -> int:
            return self._number

    for limit, first in ((1024, 960), (200, 136), (20, 10), (1 << 20, (1 << 20) - 64)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, limit=limit: (limit, limit))
        assert few_descriptors(Transport(first))
        assert not few_descriptors(Transport(first - 1))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert not few_descriptors(Transport(5000))


def test_a_lack_of_descriptors_is_one_line_of_the_log_and_other_errors_keep_their_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = asyncio.new_event_loop()
    handler = DescriptorErrors()
    lack = {
        "message": "socket.accept() out of system resource",
        "exception": OSError(errno.EMFILE, "Too many open files"),
    }
    with caplog.at_level(logging.ERROR):
        for _ in range(2000):
            handler(loop, lack)
        assert len(caplog.records) == 1
        assert "Too many open files" in caplog.text
        handler(loop, {"message": "a defect", "exception": RuntimeError("x")})
        assert "a defect" in caplog.text
    loop.close()
