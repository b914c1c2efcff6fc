"""Malformed RTP and RTCP under the valid keys of a connection make nothing fail, and no other viewer notices them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pylibsrtp
import pytest
from aiortc import RTCDtlsTransport, RTCPeerConnection, RTCSessionDescription
from aiortc.rtp import pack_remb_fci
from sessions import async_test, running, until

from streaming.live.session import Session
from streaming.transport.peers import Peer

CHANCE = random.Random(23)
NUMBERS = itertools.count(1, 3)
ROUND = 250  # packets of each kind
Send = Callable[[bytes], Any]


def rtp(payload_type: int, ssrc: int, payload: bytes) -> bytes:
    number, time = next(NUMBERS) & 0xFFFF, CHANCE.randrange(1 << 32)  # what repeats a number is dropped by SRTP
    mark = CHANCE.choice([0, 128])
    return struct.pack("!BBHII", 0x80, payload_type | mark, number, time, ssrc) + payload


def hostile_rtp(types: list[int], ssrcs: list[int]) -> bytes:
    """Return a packet of a known or unknown codec and source, with a payload that no codec has."""
    junk = CHANCE.randbytes(CHANCE.choice([0, 1, 2, 3, 30, 900]))
    payloads = [
        junk,
        b"\x90\x80" + junk[:1],  # a VP8 descriptor that is cut off
        b"\x10" + junk,  # the beginning of a VP8 picture
        bytes([0x7C, CHANCE.randrange(256)]) + junk,  # a fragment of H.264
        b"\x78\xff\xff" + junk,  # several units of H.264, longer than the packet
        b"\x67" + junk,  # parameters of H.264
        b"\x65" + junk,  # a keyframe of H.264
    ]
    packet = rtp(CHANCE.choice([*types, *types, 127]), CHANCE.choice([*ssrcs, CHANCE.randrange(1 << 32)]), b"")
    if CHANCE.random() < 0.2:  # extensions and padding that claim more than there is
        packet = bytes([packet[0] | CHANCE.choice([0x10, 0x20, 0x30, 0x0F])]) + packet[1:]
        junk = b"\xbe\xde" + struct.pack("!H", CHANCE.choice([0, 1, 0xFFFF])) + junk
        return packet + junk
    return packet + CHANCE.choice(payloads)


def rtcp(kind: int, count: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    return struct.pack("!BBH", 0x80 | count, kind, len(body) // 4) + body


def hostile_rtcp(film: int, own: int) -> bytes:
    """Return feedback about the film or another source that is damaged, absurd or not for this sender to say."""
    target = CHANCE.choice([film, own, CHANCE.randrange(1 << 32)])
    head = struct.pack("!II", own, target)
    lost = struct.pack("!HH", CHANCE.randrange(1 << 16), 0xFFFF) * CHANCE.choice([1, 50, 250])
    report = struct.pack("!IIIIII", target, CHANCE.randrange(1 << 32), 0xFFFFFFFF, 0xFFFFFFFF, 1, CHANCE.randrange(9))
    remb = pack_remb_fci(CHANCE.choice([0, 1, 2**40, 2**60]), [film])
    options = [
        rtcp(205, 1, head + lost),
        rtcp(205, 15, head + CHANCE.randbytes(40)),
        rtcp(206, CHANCE.choice([1, 4]), head + CHANCE.randbytes(CHANCE.choice([0, 8]))),
        rtcp(206, 15, head + CHANCE.choice([remb, remb[:6], b"REMB\xff" + b"\xff" * 11, b"REMB\x01\xff"])),
        rtcp(201, 1, struct.pack("!I", own) + report),
        rtcp(201, 31, struct.pack("!I", own) + report),
        rtcp(200, 1, head + CHANCE.randbytes(CHANCE.choice([4, 16, 40]))),
        rtcp(202, CHANCE.randrange(32), head + CHANCE.randbytes(CHANCE.choice([1, 9, 30]))),
        rtcp(203, CHANCE.choice([1, 2, 31]), head),  # a farewell in the name of others
        rtcp(CHANCE.randrange(192, 224), CHANCE.randrange(32), CHANCE.randbytes(CHANCE.choice([0, 4, 64]))),
    ]
    first = CHANCE.choice(options)
    return first + CHANCE.choice([b"", CHANCE.choice(options), CHANCE.randbytes(5)])


class Faults:
    """Collect what the event loop and threads report as failed, and errors in the log."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog, self._found = caplog, list[str]()

    def add(self, what: object) -> None:
        self._found.append(repr(what))

    def all(self) -> list[str]:
        logged = [r.getMessage() for r in self._caplog.records if r.exc_info or r.levelno >= logging.ERROR]
        return [*self._found, *logged]


@pytest.fixture
def faults(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Faults:
    found = Faults(caplog)
    monkeypatch.setattr(threading, "excepthook", lambda args: found.add(args.exc_value))
    return found


async def connected(session: Session) -> tuple[Peer, RTCPeerConnection]:
    """Return a viewer that controls the session and sends a camera, connected with its page."""
    peer, page = Peer(session, controls=lambda: True), RTCPeerConnection()
    page.addTransceiver("video", direction="recvonly")
    page.addTransceiver("video", direction="sendonly")
    page.createDataChannel("control")
    await page.setLocalDescription(await page.createOffer())
    answer = await peer.answer(page.localDescription.sdp)
    await page.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    await until(lambda: page.connectionState == "connected" and session.camera.connected)
    return peer, page


async def flood(transport: RTCDtlsTransport, packets: Iterator[bytes]) -> None:
    for number, packet in enumerate(packets):
        with contextlib.suppress(pylibsrtp.Error, ValueError):  # wrong in a way, or so long, that it cannot be sent
            await transport._send_rtp(packet)
        if number % 25 == 0:
            await asyncio.sleep(0.005)  # for the other side, which runs in this process


@async_test
async def test_malformed_media_and_feedback_under_valid_keys_cost_nobody_anything(faults: Faults) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.add(context))
    async with running() as (session, _):
        peer, page = await connected(session)
        beside = session.broadcast.join()
        sender = page.getTransceivers()[1].sender
        transport, own = sender.transport, sender._ssrc
        types = [codec.payloadType for codec in page.getTransceivers()[1]._codecs]
        peer_dtls = peer.connection.getTransceivers()[0].sender.transport
        film = peer.connection.getTransceivers()[0].sender._ssrc
        memory = []
        for _ in range(3):
            await flood(transport, (hostile_rtp(types, [own, film]) for _ in range(ROUND)))
            await flood(transport, (hostile_rtcp(film, own) for _ in range(ROUND)))
            memory.append(psutil.Process().memory_info().rss >> 20)
        released = session.playout.released
        await until(lambda: session.playout.released > released + 16)
        assert await asyncio.wait_for(beside.get(), 10) is not None
        assert not session.over
        assert memory[2] - memory[1] < 30, memory
        async with asyncio.timeout(20):
            await peer.close()
        await page.close()
        assert {transport.state for transport in (peer_dtls, peer_dtls.transport)} == {"closed"}
    assert faults.all() == []
