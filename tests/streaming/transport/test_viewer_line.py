"""Test what a viewer's line is sent, and sent again, with a sender that notes it and time that the tests move."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTCP_RTPFB_NACK,
    AnyRtcpPacket,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtpPacket,
    pack_remb_fci,
    unwrap_rtx,
    wrap_rtx,
)
from clocks import TestClock, turn

from streaming.media.broadcast import Broadcast
from streaming.transport import viewer_line
from streaming.transport.events import LineEvent
from streaming.transport.retransmission import NOTHING
from streaming.transport.viewer_line import ViewerLine

pytestmark = pytest.mark.asyncio
OWN, AGAIN, BITRATE, FPS = 1111, 2222, 300_000, 16


@dataclass
class Transport:
    """Note what is sent, in place of aiortc's DTLS transport."""

    sent: list[RtpPacket] = field(default_factory=list)

    async def _send_rtp(self, data: bytes) -> None:
        self.sent.append(RtpPacket.parse(data))

    @property
    def again(self) -> list[RtpPacket]:
        return [packet for packet in self.sent if packet.ssrc == AGAIN]


@dataclass
class Sender:
    """Send packets through a transport and keep the newest 128, as aiortc's sender does."""

    transport: Transport = field(default_factory=Transport)
    history: dict[int, RtpPacket] = field(default_factory=dict)
    _ssrc: int = OWN
    _rtx_ssrc: int = AGAIN

    async def _handle_rtcp_packet(self, packet: AnyRtcpPacket) -> None:
        pass

    async def _retransmit(self, number: int) -> None:
        packet = self.history.get(number % 128)
        if packet is not None and packet.sequence_number == number:
            await self.transport._send_rtp(wrap_rtx(packet, payload_type=98, sequence_number=7, ssrc=AGAIN).serialize())


class Stand:
    """Send packets of 1000 bytes on a line at times that the test chooses."""

    def __init__(self) -> None:
        self.clock, self.number = TestClock(), 65_500  # numbers wrap early
        self.clock.now = 100.0
        self.sender, self.viewer = Sender(), Broadcast().join()
        self.told: list[LineEvent] = []
        self.line = ViewerLine(
            self.sender,  # type: ignore[arg-type]
            self.viewer,
            BITRATE,
            FPS,
            clock=self.clock,
            tell=self.told.append,
        )
        self.line.begin()

    async def send(self, packets: int = 1, *, keyframe: bool = False, every: float = 1 / 30) -> None:
        for _ in range(packets):
            self.clock.now += every
            packet = RtpPacket(97, 1, self.number & 0xFFFF, self.number * 100 & 0xFFFFFFFF, OWN, b"x" * 1000)
            self.sender.history[packet.sequence_number % 128] = packet
            self.line.frame(keyframe=keyframe)
            await self.sender.transport._send_rtp(packet.serialize())
            self.number += 1
            for _ in range(4):
                await turn()  # for copies

    async def report(self, newest: int, lost: float = 0.0) -> None:
        info = RtcpReceiverInfo(OWN, int(256 * lost), 0, newest & 0xFFFF, 0, 0, 0)
        await self.sender._handle_rtcp_packet(RtcpRrPacket(ssrc=1, reports=[info]))

    async def ask(self, *numbers: int) -> None:
        packet = RtcpRtpfbPacket(RTCP_RTPFB_NACK, 1, OWN, [number & 0xFFFF for number in numbers])
        await self.sender._handle_rtcp_packet(packet)

    async def congest(self) -> None:
        """Report a queue of a second for a while."""
        for _ in range(4):
            await self.send(30)
            await self.report(self.number - 30)


async def test_a_lost_packet_is_sent_again_whole_and_not_twice_within_a_round_trip() -> None:
    stand = Stand()
    await stand.send(50)
    lost = stand.number - 3
    for _ in range(5):
        await stand.ask(lost)
    (again,) = stand.sender.transport.again
    assert unwrap_rtx(again, 97, OWN).sequence_number == lost & 0xFFFF
    assert len(again.payload) == 1002
    stand.clock.now += 0.2
    await stand.ask(lost)
    assert len(stand.sender.transport.again) == 2


async def test_requests_bring_no_more_than_the_line_carries() -> None:
    stand = Stand()
    await stand.send(60)
    await stand.congest()
    assert stand.line.estimate.rate is not None
    before = len(stand.sender.transport.again)
    for _ in range(100):
        stand.clock.now += 0.1
        await stand.ask(*range(stand.number - 60, stand.number))
    repeated = stand.sender.transport.again[before:]
    sent = sum(len(packet.payload) + viewer_line.OUTSIDE for packet in repeated)
    assert sent <= (10 + 2 * viewer_line.BURST) * stand.line.estimate.rate / 8
    assert stand.viewer.wants_keyframe  # instead


async def test_after_a_silence_the_packets_that_never_arrived_are_replaced_by_fillers_before_a_keyframe() -> None:
    stand = Stand()
    for _ in range(5):
        await stand.send(30)
        await stand.report(stand.number - 1)
    seen = stand.number - 1
    await stand.send(40)
    stand.clock.now += 8
    stand.viewer.hold(held=True)
    await stand.report(seen)
    assert not stand.viewer.held
    await stand.send(keyframe=True)
    again = [packet for packet in stand.sender.transport.again if len(packet.payload) < 10]
    originals = [unwrap_rtx(packet, 97, OWN) for packet in again]
    assert [packet.sequence_number for packet in originals] == [(seen + 1 + i) & 0xFFFF for i in range(40)]
    assert {packet.payload for packet in originals} == {NOTHING}
    key = stand.sender.transport.sent[-1]
    assert {packet.timestamp for packet in again} == {key.timestamp}
    assert not any(packet.marker for packet in again)
    numbers = [packet.sequence_number for packet in stand.sender.transport.again]
    assert numbers == [(numbers[0] + i) & 0xFFFF for i in range(len(numbers))]


async def test_what_a_keyframe_made_useless_is_replaced_twice_at_most_however_often_it_is_asked_for() -> None:
    stand = Stand()
    await stand.send(60)
    await stand.congest()
    lost = [stand.number - n for n in range(10, 40)]
    await stand.ask(*lost)
    stand.sender.transport.sent.clear()
    for _ in range(8):
        stand.clock.now += 2
        await stand.send(keyframe=True)
        await stand.ask(*lost)
        await stand.report(stand.number - 1)
    replaced = Counter(unwrap_rtx(p, 97, OWN).sequence_number for p in stand.sender.transport.again)
    assert all(replaced[number & 0xFFFF] <= 2 for number in lost)
    assert sum(len(p.payload) < 10 for p in stand.sender.transport.again) >= len(lost)


async def test_loss_on_a_good_line_brings_a_copy_of_each_packet_and_little_loss_ends_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(viewer_line, "COPY_AFTER", 0.0)
    stand = Stand()
    for _ in range(8):
        await stand.send(20, every=0.05)
        await stand.report(stand.number - 1, lost=0.05)
    stand.sender.transport.sent.clear()
    await stand.send(20, every=0.05)
    copies = {unwrap_rtx(packet, 97, OWN).sequence_number for packet in stand.sender.transport.again}
    assert len(copies) == 20
    assert stand.line.estimate.rate is None
    for _ in range(20):
        await stand.send(20, every=0.05)
        await stand.report(stand.number - 1)
    stand.sender.transport.sent.clear()
    await stand.send(20, every=0.05)
    assert stand.sender.transport.again == []


async def test_a_queue_limits_the_viewer_and_the_viewer_is_told() -> None:
    stand = Stand()
    await stand.send(30)
    await stand.report(stand.number - 1)
    assert stand.told[0].state == "clear"
    await stand.congest()
    assert stand.viewer.line is not None
    assert stand.viewer.line < BITRATE
    assert stand.told[-1].state == "reduced"
    assert stand.told[-1].kbit == pytest.approx(stand.viewer.line / 1000, abs=1)


async def test_an_estimate_of_the_receiver_counts_only_while_there_is_a_queue() -> None:
    stand = Stand()
    remb = RtcpPsfbPacket(RTCP_PSFB_APP, 1, 0, pack_remb_fci(50_000, [OWN]))
    for _ in range(4):
        await stand.send(30)
        await stand.report(stand.number - 1)
    await stand.sender._handle_rtcp_packet(remb)
    assert stand.viewer.line is None
    await stand.send(30)
    await stand.report(stand.number - 12)
    await stand.sender._handle_rtcp_packet(remb)
    assert stand.viewer.line == pytest.approx(50_000, rel=0.01)


async def test_what_is_kept_for_a_viewer_is_bounded_whatever_it_asks_for() -> None:
    stand = Stand()
    for second in range(120):
        await stand.send(30)
        await stand.ask(*range(stand.number - 400, stand.number, 3))
        if second % 3:
            await stand.report(stand.number - second % 30 - 1, lost=0.3)
    assert len(stand.line) <= 2 * viewer_line.REMEMBERED


async def test_damaged_reports_change_nothing() -> None:
    stand = Stand()
    await stand.send(30)
    for newest in (0, 30_000, 65_535):
        await stand.report(newest, lost=1.0)
    for damaged in (b"REMX", b"REMB\xff\x00\x00\x00"):
        await stand.sender._handle_rtcp_packet(RtcpPsfbPacket(RTCP_PSFB_APP, 1, 0, damaged))
    await stand.ask(1, 2, 30_000)
    assert stand.viewer.line is None
    assert stand.sender.transport.again == []


async def test_a_peer_that_takes_no_retransmissions_is_sent_no_fillers_and_no_storm_of_the_newest_packet() -> None:
    stand = Stand()

    async def plain(number: int) -> None:  # as aiortc does it for a peer without RTX
        await stand.sender.transport._send_rtp(stand.sender.history[number % 128].serialize())

    stand.sender._retransmit = plain  # type: ignore[method-assign]
    await stand.send(30)
    await stand.report(stand.number - 1)
    seen = stand.number - 1
    await stand.send(60)
    stand.viewer.hold(held=True)
    await stand.report(seen)
    stand.sender.transport.sent.clear()
    await stand.send(keyframe=True)
    assert len(stand.sender.transport.sent) == 2  # the keyframe, and once more to learn that it is not marked
    assert {packet.ssrc for packet in stand.sender.transport.sent} == {OWN}
