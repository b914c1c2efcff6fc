"""A WebRTC connection leaves nothing behind, and a viewer that does not read fills no memory."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Callable
from typing import Any

import pytest
from aiortc import RTCIceTransport, RTCPeerConnection, RTCSessionDescription
from aiortc.exceptions import InvalidStateError
from clocks import turn
from sessions import async_test, running, until

from streaming.transport import connection, peers
from streaming.transport.commands import parse


@async_test
async def test_a_viewer_that_never_connects_leaves_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECTED_WITHIN", 0.3)
    async with running() as (session, _):
        peer, page = peers.Peer(session, None), RTCPeerConnection()
        page.addTransceiver("video", direction="recvonly")
        await page.setLocalDescription(await page.createOffer())
        await peer.answer(page.localDescription.sdp)  # which never reaches it
        assert len(session.broadcast) == 1
        await until(peer.gone.is_set)
        assert len(session.broadcast) == 0
        await page.close()


async def offer(connection: RTCPeerConnection) -> str:
    """Return an offer to receive video, and to exchange control messages."""
    connection.addTransceiver("video", direction="recvonly")
    connection.createDataChannel("control")
    await connection.setLocalDescription(await connection.createOffer())
    return str(connection.localDescription.sdp)


@async_test
async def test_an_offer_whose_request_is_cancelled_leaves_no_viewer(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asyncio.Event()

    async def never(connection: RTCPeerConnection) -> None:
        asked.set()
        await asyncio.Event().wait()

    async with running() as (session, _):
        page, peer = RTCPeerConnection(), peers.Peer(session)
        sdp = await offer(page)
        monkeypatch.setattr(RTCPeerConnection, "createAnswer", never)
        request = asyncio.create_task(peer.answer(sdp))
        await asked.wait()
        assert len(session.broadcast) == 1
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert peer.gone.is_set()
        assert len(session.broadcast) == 0
        await page.close()


class StuckChannel:
    """Accept messages that nobody reads, as a data channel does whose peer acknowledges nothing."""

    readyState = "open"

    def __init__(self) -> None:
        self.bufferedAmount = 0

    def on(self, event: str, handler: Callable[..., Any]) -> None:
        """Receive nothing."""

    def send(self, text: str) -> None:
        self.bufferedAmount += len(text)


@async_test
async def test_messages_for_a_viewer_that_does_not_read_are_dropped_beyond_a_bound() -> None:
    async with running() as (session, _):
        page, peer, channel = RTCPeerConnection(), peers.Peer(session), StuckChannel()
        await peer.answer(await offer(page))
        peer.connection.emit("datachannel", channel)
        await until(lambda: channel.bufferedAmount > 0)
        for number in range(10_000):
            session.obey(parse(f'{{"type": "look_ahead", "id": {number}, "value": "smooth"}}'))
        assert peers.BACKLOG - 1000 < channel.bufferedAmount < peers.BACKLOG + 1000
        await peer.close()
        await page.close()


@async_test
async def test_an_error_in_a_task_of_aiortc_is_taken_when_a_peer_leaves_early(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    started = asyncio.Event()

    async def closed(transport: RTCIceTransport, parameters: object) -> None:
        started.set()  # what aiortc does if a transport was closed before its turn came
        raise InvalidStateError("RTCIceTransport is closed")

    async with running() as (session, _):
        page, peer = RTCPeerConnection(), peers.Peer(session)
        sdp = await offer(page)
        with monkeypatch.context() as patched:
            patched.setattr(RTCIceTransport, "start", closed)
            await peer.answer(sdp)
            await started.wait()
            await turn()
        await peer.close()
        await page.close()
    gc.collect()
    assert reported == []


@async_test
async def test_a_watcher_that_floods_its_data_channel_is_disconnected() -> None:
    async with running() as (session, _):
        page, peer = RTCPeerConnection(), peers.Peer(session)
        page.addTransceiver("video", direction="recvonly")
        channel, heard = page.createDataChannel("control"), list[str]()
        channel.on("message", lambda text: heard.append(json.loads(text).get("why")))
        await page.setLocalDescription(await page.createOffer())
        answer = await peer.answer(str(page.localDescription.sdp))
        await page.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await until(lambda: channel.readyState == "open")
        for _ in range(200):
            channel.send("{}")
        await until(peer.gone.is_set)
        assert "too many messages; the connection is closed" in heard
        assert not session.over
        await page.close()
