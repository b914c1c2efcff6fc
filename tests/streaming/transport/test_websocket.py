"""A slow WebSocket is served the present rather than what it missed, and is told when the session ends."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any

import av
import numpy as np
import pytest
from clocks import turn
from conftest import tiny_avatar
from sessions import running, until
from speakers import PORTRAIT, TAKE

from streaming.live.device import DeviceThread
from streaming.live.session import Session
from streaming.media.h264 import LiveEncoder
from streaming.speech.avatar import Avatar
from streaming.transport.control_channel import MOST_OF_WATCHER
from streaming.transport.websocket import SocketViewer

pytestmark = pytest.mark.asyncio
FRAME = 3600  # ticks


class SlowSocket:
    """Stand in for a socket that takes no binary message, and with `mute` no text, until `may_send` is set."""

    def __init__(self, *, mute: bool = False) -> None:
        self.may_send, self.fragments, self.waiting = asyncio.Event(), list[bytes](), False
        self.texts, self._mute = list[dict[str, Any]](), mute

    async def send_text(self, text: str) -> None:
        if self._mute:
            await self.may_send.wait()
        self.texts.append(json.loads(text))

    async def send_bytes(self, data: bytes) -> None:
        self.waiting = True
        await self.may_send.wait()
        self.fragments.append(data)

    async def receive(self) -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self.closed = code, reason


async def test_sound_does_not_pile_up_while_a_socket_takes_no_film() -> None:
    device, model = DeviceThread(), tiny_avatar()
    session = Session(model, TAKE, device, avatar=partial(Avatar, model, PORTRAIT, None))  # the test is its playout
    assert session.playout.sound is not None
    socket, encoder = SlowSocket(), LiveEncoder(32, 32, 25, 300_000)
    slow: Any = socket
    viewing = asyncio.create_task(SocketViewer(slow, session, None).run(asyncio.Future()))
    await until(lambda: session.broadcast.keyframe_wanted)

    async def plays(frames: range, *, key: int) -> None:
        for number in frames:
            for packet in encoder.encode(np.zeros((32, 32, 3), np.uint8), FRAME * number, keyframe=number == key):
                session.broadcast.send(packet)
            sound = av.Packet(bytes(1000))
            sound.pts, sound.is_keyframe = FRAME * number, True
            session.playout.sound.send(sound)  # type: ignore[union-attr]
            await turn()

    await plays(range(8), key=0)
    await until(lambda: socket.waiting)
    await plays(range(8, 300), key=8)
    socket.may_send.set()
    await until(lambda: session.broadcast.keyframe_wanted)  # it fell behind and asks for the present
    await plays(range(300, 320), key=300)
    await until(lambda: len(socket.fragments) >= 4)
    assert 1000 < max(map(len, socket.fragments[1:])) < 40_000  # 292 frames' sound would be 292 kB
    viewing.cancel()
    await asyncio.gather(viewing, return_exceptions=True)
    await session.close()
    device.close()


async def test_a_viewer_is_told_that_the_session_has_ended_before_its_socket_closes() -> None:
    socket = SlowSocket(mute=True)
    slow: Any = socket
    async with running() as (session, _):
        viewing = asyncio.create_task(SocketViewer(slow, session, None).run(asyncio.Future()))
        await until(lambda: session.playout.released > 0)
    await turn()
    socket.may_send.set()
    await viewing
    assert [text["type"] for text in socket.texts][:2] == ["hello", "timeline"]
    assert "ended" in [text["phase"] for text in socket.texts if text["type"] == "phase"]


async def test_a_flood_of_messages_ends_with_one_line_and_a_closed_socket() -> None:
    class Flooding(SlowSocket):
        received = 0

        async def receive(self) -> dict[str, Any]:
            self.received += 1
            await turn()
            return {"type": "websocket.receive", "text": '{"id": 1, "type": "pause"}'}

    socket = Flooding(mute=True)
    slow: Any = socket
    async with running() as (session, _):
        viewing = asyncio.create_task(SocketViewer(slow, session, None).run(asyncio.Future()))
        await until(lambda: socket.received > MOST_OF_WATCHER[1])
        socket.may_send.set()
        await viewing
        assert not session.over
    assert socket.closed == (1008, "too many messages")
    assert socket.texts[-1]["why"] == "too many messages; the connection is closed"
    assert socket.received < 3 * MOST_OF_WATCHER[1]


async def test_a_command_in_a_binary_message_is_obeyed_and_one_that_is_no_json_is_refused() -> None:
    class Binary(SlowSocket):
        def __init__(self) -> None:
            super().__init__()
            self.messages = [b'{"id": 1, "type": "pause"}', b"\xff\xfe", b""]

        async def receive(self) -> dict[str, Any]:
            if not self.messages:
                return await super().receive()
            return {"type": "websocket.receive", "bytes": self.messages.pop(0)}

    socket = Binary()
    slow: Any = socket
    async with running() as (session, _):
        await until(lambda: session.playout.released > 0)
        viewing = asyncio.create_task(SocketViewer(slow, session, lambda: True).run(asyncio.Future()))
        await until(lambda: sum(text["type"] == "refused" for text in socket.texts) == 2)
        assert session.state == "paused"
        assert not viewing.done()
        viewing.cancel()
        await asyncio.gather(viewing, return_exceptions=True)


async def test_a_viewer_that_may_not_watch_any_more_is_told_why_in_the_code_and_the_reason() -> None:
    socket, dismissed = SlowSocket(), asyncio.Future[str]()
    slow: Any = socket
    async with running() as (session, _):
        viewing = asyncio.create_task(SocketViewer(slow, session, None).run(dismissed))
        await until(lambda: socket.waiting)
        dismissed.set_result("this share link was revoked by é" + "é" * 100)
        await viewing
        assert not session.over
    code, reason = socket.closed
    assert (code, reason.rstrip("é")) == (1008, "this share link was revoked by ")
    assert 120 < len(reason.encode()) <= 123
