"""A WebRTC peer sees a broadcast from the moment it joins, and leaves it with its connection."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from itertools import pairwise

import numpy as np
import pytest
import pytest_asyncio
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCRtpReceiver
from aiortc.exceptions import OperationError
from aiortc.mediastreams import MediaStreamError
from clocks import turn

from streaming.media.broadcast import Broadcast
from streaming.media.h264 import LiveEncoder
from streaming.transport.tracks import PacketTrack, send_video

pytestmark = pytest.mark.asyncio
FPS = 25


def picture(frame: int) -> np.ndarray:
    """Return a picture [128, 128, 3] whose brightness is the frame's number modulo 8."""
    return np.full((128, 128, 3), 20 + 28 * (frame % 8), np.uint8)


class Studio:
    """Encode and send one frame after another, and note the numbers of the keyframes."""

    def __init__(self) -> None:
        self.broadcast, self.keys, self.frame = Broadcast(), list[int](), 0

    async def run(self) -> None:
        encoder = LiveEncoder(128, 128, FPS, 300_000)
        while True:
            key = self.broadcast.keyframe_wanted
            for packet in encoder.encode(picture(self.frame), 90_000 // FPS * self.frame, keyframe=key):
                if packet.is_keyframe:
                    self.keys.append(self.frame)
                self.broadcast.send(packet)
            self.frame += 1
            await asyncio.sleep(1 / FPS)


@pytest_asyncio.fixture
async def studio() -> AsyncIterator[Studio]:
    studio = Studio()
    task = asyncio.ensure_future(studio.run())
    yield studio
    task.cancel()


@contextlib.asynccontextmanager
async def watching(
    broadcast: Broadcast, direction: str = "recvonly"
) -> AsyncIterator[tuple[MediaStreamTrack, RTCPeerConnection, RTCPeerConnection]]:
    """Connect a page that asks to receive video to a server; yield the page's track and both connections."""
    page, server = RTCPeerConnection(), RTCPeerConnection()
    transceiver = page.addTransceiver("video", direction=direction)
    send_video(server, broadcast)
    try:
        await page.setLocalDescription(await page.createOffer())
        await server.setRemoteDescription(page.localDescription)
        await server.setLocalDescription(await server.createAnswer())
        await page.setRemoteDescription(server.localDescription)
        yield transceiver.receiver.track, page, server
    finally:
        await page.close()
        await server.close()


async def frames(track: MediaStreamTrack, count: int) -> list[int]:
    """Return the numbers (modulo 8) that the next pictures show."""
    got = []
    for _ in range(count):
        frame = await asyncio.wait_for(track.recv(), 5)
        assert (frame.width, frame.height) == (256, 256)
        got.append(round((frame.to_ndarray(format="rgb24").mean() - 20) / 28))
    return got


def in_order(numbers: list[int]) -> bool:
    return all((a + 1) % 8 == b for a, b in pairwise(numbers))


async def test_the_peer_sees_every_frame_in_order(studio: Studio) -> None:
    async with watching(studio.broadcast) as (track, _, _):
        assert in_order(await frames(track, 20))


async def test_a_late_viewer_gets_a_picture_at_once_and_the_first_viewer_misses_no_frame(studio: Studio) -> None:
    async with watching(studio.broadcast) as (first, _, _):
        before = await frames(first, 20)
        began = time.monotonic()
        async with watching(studio.broadcast) as (second, _, _):
            (number,) = await frames(second, 1)
            assert time.monotonic() - began < 3
            assert len(studio.keys) == 3  # the stream's own first, and one for each viewer
            assert number == studio.keys[-1] % 8
            assert in_order([number, *await frames(second, 10)])
        assert in_order([*before, *await frames(first, 15)])


async def test_a_peer_that_lost_the_picture_gets_a_keyframe(studio: Studio) -> None:
    async with watching(studio.broadcast) as (track, page, server):
        await frames(track, FPS)
        keys = len(studio.keys)
        await page.getTransceivers()[0].receiver._send_rtcp_pli(server.getTransceivers()[0].sender._ssrc)
        await frames(track, 10)
        assert len(studio.keys) == keys + 1


async def test_the_answer_sends_h264_whatever_else_is_offered(studio: Studio) -> None:
    async with watching(studio.broadcast, "sendrecv") as (_, page, server):
        assert "VP8" in page.localDescription.sdp
        assert "VP8" not in server.localDescription.sdp
        assert "H264" in server.localDescription.sdp
        assert "a=sendonly" in server.localDescription.sdp


async def test_an_offer_without_h264_is_refused() -> None:
    broadcast, page, server = Broadcast(), RTCPeerConnection(), RTCPeerConnection()
    transceiver = page.addTransceiver("video", direction="recvonly")
    codecs = RTCRtpReceiver.getCapabilities("video").codecs
    transceiver.setCodecPreferences([c for c in codecs if c.mimeType == "video/VP8"])
    send_video(server, broadcast)
    await page.setLocalDescription(await page.createOffer())
    with pytest.raises(OperationError):
        await server.setRemoteDescription(page.localDescription)
    assert len(broadcast) == 1
    await server.close()
    await page.close()
    assert len(broadcast) == 0  # a connection that never came about leaves too


async def test_a_peer_that_goes_leaves_the_broadcast(studio: Studio) -> None:
    async with watching(studio.broadcast) as (track, _, _):
        await frames(track, 1)
        assert len(studio.broadcast) == 1
    assert len(studio.broadcast) == 0


async def test_a_track_ends_with_its_broadcast() -> None:
    broadcast = Broadcast()
    track = PacketTrack(broadcast)
    waiting = asyncio.ensure_future(track.recv())
    await turn()
    broadcast.close()
    with pytest.raises(MediaStreamError):
        await waiting
    assert track.readyState == "ended"
    with pytest.raises(MediaStreamError):
        await track.recv()
