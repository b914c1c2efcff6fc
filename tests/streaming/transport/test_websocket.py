"""A WebSocket that takes the film slowly is served the present, and what it missed is not kept for it."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import av
import numpy as np
import pytest
from conftest import tiny_avatar
from sessions import until
from speakers import PORTRAIT, TAKE

from streaming.live.device import DeviceThread
from streaming.live.session import Session
from streaming.media.h264 import LiveEncoder
from streaming.speech.avatar import Avatar
from streaming.transport.websocket import SocketViewer

pytestmark = pytest.mark.asyncio
FRAME = 3600  # ticks


class SlowSocket:
    """A socket that takes no binary message until `may_send` is set."""

    def __init__(self) -> None:
        self.may_send, self.fragments, self.waiting = asyncio.Event(), list[bytes](), False

    async def send_text(self, text: str) -> None:
        """Take a message."""

    async def send_bytes(self, data: bytes) -> None:
        self.waiting = True
        await self.may_send.wait()
        self.fragments.append(data)

    async def receive_text(self) -> str:
        await asyncio.Event().wait()
        return ""

    async def close(self) -> None:
        """Close."""


async def test_sound_does_not_pile_up_while_a_socket_takes_no_film() -> None:
    device, model = DeviceThread(), tiny_avatar()
    session = Session(model, TAKE, device, avatar=partial(Avatar, model, PORTRAIT, None))  # the test is its playout
    assert session.playout.sound is not None
    socket, encoder = SlowSocket(), LiveEncoder(32, 32, 25, 300_000)
    slow: Any = socket
    viewing = asyncio.create_task(SocketViewer(slow, session, None).run())
    await until(lambda: session.broadcast.keyframe_wanted)

    async def plays(frames: range, *, key: int) -> None:
        for number in frames:
            for packet in encoder.encode(np.zeros((32, 32, 3), np.uint8), FRAME * number, keyframe=number == key):
                session.broadcast.send(packet)
            sound = av.Packet(bytes(1000))
            sound.pts, sound.is_keyframe = FRAME * number, True
            session.playout.sound.send(sound)  # type: ignore[union-attr]
            await asyncio.sleep(0)

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
