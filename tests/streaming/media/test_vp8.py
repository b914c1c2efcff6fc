"""Test that VP8 is encoded once more, without delay, as lines carry it, and only while a viewer takes it."""

from __future__ import annotations

import asyncio
from fractions import Fraction

import av
import numpy as np
import pytest
from clocks import turn
from test_h264 import BITRATE, FPS, picture

from streaming.media import vp8
from streaming.media.broadcast import Viewer
from streaming.media.vp8 import Vp8Encoder, Vp8Stream


def test_every_picture_becomes_one_packet_at_once_and_only_requested_ones_are_keyframes() -> None:
    encoder, decoder = Vp8Encoder(128, 128, FPS, BITRATE), av.CodecContext.create("vp8", "r")
    keys = []
    for i in range(300):
        (packet,) = encoder.encode(picture(i), 5625 * i, keyframe=i in (5, 6, 299))
        assert (packet.pts, packet.time_base) == (5625 * i, Fraction(1, 90_000))
        keys += [i] * packet.is_keyframe
        (decoded,) = decoder.decode(av.Packet(bytes(packet)))
    assert keys == [0, 5, 6, 299]
    assert (decoded.width, decoded.height) == (256, 256)  # enlarged, as H.264 is
    seen = decoded.to_ndarray(format="rgb24")[::2, ::2].astype(int)
    assert np.abs(seen - picture(299)).mean() < 12


@pytest.mark.asyncio
async def test_nothing_is_encoded_without_a_viewer_and_a_viewer_begins_with_a_keyframe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[tuple[int, int]] = []

    class Counted(Vp8Encoder):
        def __init__(self, width: int, height: int, fps: int, bitrate: int) -> None:
            opened.append((width, height))
            super().__init__(width, height, fps, bitrate)

    monkeypatch.setattr(vp8, "Vp8Encoder", Counted)
    stream = Vp8Stream(FPS)
    for number in range(3):
        await stream.send(picture(number), number, cut=False)
    assert opened == []
    for begin in (10, 20):
        viewer = stream.broadcast.join()
        first = asyncio.create_task(viewer.get())
        await asyncio.sleep(0)
        for number in range(begin, begin + 3):
            await stream.send(picture(number), number, cut=number == begin + 2)
        packets = [await first, await viewer.get(), await viewer.get()]
        assert [p.is_keyframe for p in packets if p is not None] == [True, False, True]
        stream.broadcast.leave(viewer)
        await stream.send(picture(begin + 3), begin + 3, cut=False)
    assert opened == [(128, 128)] * 2


@pytest.mark.asyncio
async def test_a_slow_viewer_is_sent_what_its_line_carries_and_the_one_beside_it_every_picture() -> None:
    stream = Vp8Stream(FPS)
    slow, other = stream.broadcast.join(), stream.broadcast.join()
    got: dict[str, list[tuple[int, int]]] = {"slow": [], "other": []}  # frame, bytes

    async def read(name: str, viewer: Viewer) -> None:
        while (packet := await viewer.get()) is not None:
            got[name].append((packet.pts // 5625, packet.size))

    tasks = [asyncio.create_task(read("slow", slow)), asyncio.create_task(read("other", other))]
    for number in range(160):
        if number == 16:
            slow.line = 30_000
        await turn()
        noise = np.random.default_rng(number).integers(0, 80, (128, 128, 3), np.uint8)
        await stream.send(noise, number, cut=False)
    await turn()
    stream.broadcast.close()
    await asyncio.gather(*tasks)
    assert [frame for frame, _ in got["other"]] == list(range(160))
    late = [(frame, size) for frame, size in got["slow"] if frame >= 48]
    assert sum(8 * size for _, size in late) / (112 / FPS) < 30_000
    assert len(late) > 112 / 8
