"""Fit what a viewer is sent to the viewer's line: read its reports, pace packets, and bound what is sent again.

This is the one place that reaches into aiortc's sender. aiortc 1.16 keeps receiver reports and REMB to itself, answers
every request for a lost packet, and has no pacer. Two of its methods are replaced on the objects of one connection:
`RTCRtpSender._handle_rtcp_packet`, through which all RTCP for a sender comes, and `RTCDtlsTransport._send_rtp`, through
which all RTP leaves. `RTCRtpSender._retransmit` sends one packet of its history of 128 again.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Iterable

from aiortc import RTCRtpSender
from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTCP_RTPFB_NACK,
    RTP_HISTORY_SIZE,
    AnyRtcpPacket,
    RtcpPsfbPacket,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSrPacket,
    is_rtcp,
    unpack_remb_fci,
)

from streaming.live.clock import MONOTONIC, Clock
from streaming.media.broadcast import Viewer
from streaming.media.line_estimate import CALM_QUEUE, LineEstimate
from streaming.media.rungs import PACKET
from streaming.transport.events import LineEvent
from streaming.transport.line_events import LineEvents
from streaming.transport.pacer import Pacer
from streaming.transport.retransmission import Budget, Retransmissions, SentPacket

LOOK_EVERY = 0.25  # seconds between looks for a silent line
FADES = 0.8  # of the lateness of the event loop, from look to look
LEAST = 160_000  # bits a second that are assumed of a line on which no queue was seen
COPY_AFTER = 0.02  # seconds between a packet and its copy, so that a short burst of losses does not take both
COPIES_BELOW = 100  # packets a second; above it a lost request is soon repeated with the next gap
LOSSY, LOSSLESS = 0.025, 0.01  # share of lost packets from which copies are sent, and below which they end
BURST = 0.5  # seconds of the line's rate that may be sent again at once
LEARNT = 3  # reports after which loss without a queue is taken for that of radio
INSIST = 3  # reports after which a lost packet is sent again
OUTSIDE = 38  # bytes of IPv4, UDP and SRTP's tag around an RTP packet
SHORTEST = 0.05  # seconds between two repairs of a packet
REMEMBERED = 512  # packets that may be asked for
UNASKED = 90  # newest packets that may be sent again unasked: a late one 100 behind makes aiortc start anew from it


class ViewerLine:
    """Follow the line of one viewer's video."""

    def __init__(
        self,
        sender: RTCRtpSender,
        viewer: Viewer,
        bitrate: int,
        fps: int,
        *,
        fillers: bool = True,
        clock: Clock = MONOTONIC,
        tell: Callable[[LineEvent], None] = lambda event: None,
    ) -> None:
        """Read the RTCP of a sender that is not started; `tell` gets the events of the line.

        `bitrate` and `fps` are those of the film where no line is slow. `fillers`, which are of H.264, may be sent.
        """
        self.ample = 1.1 * bitrate + 8 * PACKET * (fps + bitrate / 8 / 1200)
        self.estimate = LineEstimate(self.ample)
        self.events = LineEvents(viewer, fps, tell)
        self._sender, self._viewer, self._clock = sender, viewer, clock
        self._forward = sender._handle_rtcp_packet
        sender._handle_rtcp_packet = self._received  # type: ignore[method-assign]
        self._packets: dict[int, SentPacket] = {}  # the newest REMEMBERED, by number without end
        self._inner: Callable[[bytes], Awaitable[None]] | None = None  # how the transport sends RTP
        self._retransmissions, self._no_fillers = Retransmissions(), not fillers
        self._newest: int | None = None
        self._begins_key = False  # whether the next packet is the first of a keyframe
        self._given_up = 0  # packets before this number are not needed any more
        self._asked: dict[int, int] = {}  # numbers that the viewer missed lately, and how often each was sent again
        self._unseen: int | None = None  # after a silence: the first number that never arrived
        self._pacer = Pacer(clock)
        self._budget = Budget(BURST, clock())
        self._heard = clock()  # when the last report came
        self._sent, self._per_second = 0, 0.0  # packets since then; packets a second before
        self._copies = False
        self._stalled = 0.0  # seconds by which the event loop was late, slowly forgotten
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Return how many packets and requests are remembered."""
        return len(self._packets) + len(self._asked) + len(self._tasks)

    @property
    def lost(self) -> bool:
        """Return whether nothing arrives at the viewer, as far as its reports tell."""
        return self._viewer.held

    # -- what leaves ------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Stand in front of the transport, which is settled once the sender asks for its first packet."""
        transport = self._sender.transport
        inner = self._inner = transport._send_rtp
        own, again = (ssrc.to_bytes(4, "big") for ssrc in (self._sender._ssrc, self._sender._rtx_ssrc))

        async def send(data: bytes) -> None:
            if is_rtcp(data) or data[8:12] not in (own, again):
                await inner(data)
            elif data[8:12] == own:
                await self._send(data, inner)
            else:
                await inner(self._retransmissions.renumbered(data))

        transport._send_rtp = send  # type: ignore[method-assign]

    def frame(self, *, keyframe: bool) -> None:
        """Note that the sender now sends the packets of a frame."""
        self._begins_key = keyframe

    async def _send(self, data: bytes, inner: Callable[[bytes], Awaitable[None]]) -> None:
        number = self._number(int.from_bytes(data[2:4], "big"))
        if self._newest is not None and number <= self._newest:  # a peer without RTX gets the packet itself again
            await inner(data)
            return
        self._newest = number
        if self._begins_key:
            self._begins_key = False
            await self._fill(number, data[4:8])
        size = len(data) + OUTSIDE
        await self._pacer.wait(size, self.estimate.rate)
        now = self._clock()
        self._packets[number] = SentPacket(data[4:8], size)
        self._packets.pop(number - REMEMBERED, None)
        self.estimate.sent(number, size, now)
        self._sent += 1
        self._budget.earn(self._total(), now)
        self._budget.spend(size)
        await inner(data)
        if self._copies:
            # Every other copy leaves behind the packet that follows, so that a lost packet is noticed at times: aiortc
            # asks for what it misses, and for what it asked for in vain, only when it sees a new gap.
            for n in (number, number - 1) if number % 2 else ():
                self._later(COPY_AFTER, n)

    def _total(self) -> float:
        """Return the bits a second that may leave, copies and repairs included."""
        return self.estimate.rate if self.estimate.rate is not None else max(1.25 * self.ample, LEAST)

    # -- what leaves again ------------------------------------------------------------------------------------------

    async def _send_filler(self, number: int, timestamp: bytes) -> None:
        if not self._retransmissions.known and not self._no_fillers and self._newest is not None:
            await self._sender._retransmit(self._newest & 0xFFFF)  # aiortc knows how a retransmission is marked
            self._no_fillers = not self._retransmissions.known  # the peer does not take any
        if self._retransmissions.known and not self._no_fillers and self._inner is not None:
            await self._inner(self._retransmissions.filler(number & 0xFFFF, timestamp))

    async def _repair(self, numbers: Iterable[int]) -> None:
        """Send lost packets again, as far as the line carries them; none twice within a round trip."""
        now, rest = self._clock(), self.estimate.round_trip or 0.0
        self._budget.earn(self._total(), now)
        missing = {n for n in (self._number(number) for number in numbers) if n in self._packets}
        for n in sorted(missing):
            self._asked.setdefault(n, 0)
            packet = self._packets[n]
            if packet.settled or now - packet.repaired < (SHORTEST if self._copies else max(SHORTEST, 0.9 * rest)):
                continue
            self._give_up(n, packet, missing)
            if not await self._send_again(n, packet, now):  # a filler and a keyframe instead
                packet.filler = packet.filler or self._after(n, missing)
                self._viewer.request_keyframe()
                if not await self._send_again(n, packet, now):
                    break
            if self.estimate.loss >= LOSSLESS:
                self._later(COPY_AFTER, n)

    async def _send_again(self, number: int, packet: SentPacket, now: float) -> bool:
        size = packet.size if packet.filler is None else PACKET
        if self._budget.left < size - (0.0 if packet.filler is None else 0.9 * BURST * self._total() / 8):
            return False
        self._budget.spend(size)
        packet.repaired = now
        if packet.filler is None:
            await self._sender._retransmit(number & 0xFFFF)
        else:
            packet.fillers += 1
            await self._send_filler(number, packet.filler)
        return True

    def _later(self, seconds: float, number: int) -> None:
        async def send() -> None:
            await asyncio.sleep(seconds)
            packet = self._packets.get(number)
            now = self._clock()
            self._budget.earn(self._total(), now)
            recent = self._newest is not None and number > self._newest - UNASKED
            spare = self._budget.left > BURST / 2 * self._total() / 8  # the rest is kept for what is asked for
            if packet is not None and recent and spare:
                await self._send_again(number, packet, now)

        if len(self._tasks) < RTP_HISTORY_SIZE:
            task = asyncio.get_running_loop().create_task(send())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _give_up(self, number: int, packet: SentPacket, missing: set[int]) -> None:
        """Have a packet replaced by a filler if a keyframe has made it useless, or if it is forgotten."""
        forgotten = self._newest is not None and number <= self._newest - RTP_HISTORY_SIZE
        if packet.filler is None and (number < self._given_up or forgotten):
            packet.filler = self._after(number, missing)
            if forgotten and number >= self._given_up:
                self._viewer.request_keyframe()

    def _after(self, number: int, missing: set[int]) -> bytes | None:
        """Return the timestamp of the first packet after this one that is not missing; None if none was sent yet."""
        following = next((n for n in range(number + 1, number + REMEMBERED) if n not in missing), number)
        return self._packets[following].timestamp if following in self._packets else None

    async def _fill(self, number: int, timestamp: bytes) -> None:
        """Give up what a viewer that goes on with this keyframe has missed before it."""
        unseen, self._unseen = self._unseen, None
        if self.estimate.rate is None and unseen is None:
            return
        self._given_up = number
        missing = set(self._asked) if unseen is None else set(range(unseen, number))
        self._asked = {n: 0 for n in sorted(missing & self._packets.keys()) if not self._packets[n].settled}
        for n in list(self._asked):
            self._packets[n].filler = self._after(n, missing) or timestamp
            await self._pacer.wait(PACKET, self.estimate.rate)
            await self._send_again(n, self._packets[n], self._clock())

    async def _insist(self, now: float) -> None:
        """Send again what was lost on a line with a queue, where a repair may be lost as well.

        A receiver that asks only once, such as aiortc's, would wait for it for ever.
        """
        self._budget.earn(self._total(), now)
        recent = (self._newest or 0) - UNASKED
        often = INSIST if self.estimate.rate is not None else 1
        # an older one is kept only if it was never sent again, for the fillers before the next keyframe
        self._asked = {
            n: times
            for n, times in self._asked.items()
            if n in self._packets
            and not self._packets[n].settled
            and (times < often if n > recent else self._packets[n].repaired == 0)
        }
        for n, times in [(n, times) for n, times in self._asked.items() if n > recent]:
            packet = self._packets[n]
            self._give_up(n, packet, set(self._asked))
            if self.estimate.queue > CALM_QUEUE or not await self._send_again(n, packet, now):
                break
            self._asked[n] = times + 1

    # -- what arrives -----------------------------------------------------------------------------------------------

    async def _received(self, packet: AnyRtcpPacket) -> None:
        now = self._clock()
        self.estimate.heard(now)
        if isinstance(packet, RtcpRrPacket | RtcpSrPacket):
            for report in packet.reports:
                if report.ssrc == self._sender._ssrc:
                    self._reported(report.highest_sequence, report.fraction_lost / 256, now)
                    await self._insist(now)
        elif isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_APP:
            try:
                bits, _ = unpack_remb_fci(packet.fci)
            except (ValueError, struct.error):  # more sources than it has room for
                return
            self.estimate.remb(bits, now)
            self._apply(now)
            return
        elif isinstance(packet, RtcpRtpfbPacket) and packet.fmt == RTCP_RTPFB_NACK:
            await self._repair(packet.lost)
            return
        await self._forward(packet)

    def _reported(self, highest: int, lost: float, now: float) -> None:
        number = self._number(highest & 0xFFFF)
        if self._viewer.held:
            self._unseen = number + 1
        self._pacer.pause(self.estimate.reported(number, lost, now, self._stalled))
        self._per_second, self._sent = self._sent / max(0.1, now - self._heard), 0
        self._heard = now
        self._viewer.hold(held=False)
        self._apply(now)

    def _apply(self, now: float) -> None:
        """Say what the viewer's video may take of the line, and tell the viewer."""
        estimate = self.estimate
        self._copies = (
            estimate.rate is None
            and estimate.loss >= (LOSSLESS if self._copies else LOSSY)
            and estimate.queue < CALM_QUEUE
            and estimate.reports > LEARNT
            and self._per_second < COPIES_BELOW
        )
        share = self._total() / 2 if self._copies else estimate.rate
        self._viewer.line = None if share is None or (self._copies and share >= self.ample) else share
        self.events.update(estimate, now)

    async def run(self) -> None:
        """Watch for silence until cancelled: nothing is sent on a line that carries nothing."""
        try:
            while True:
                due = self._clock() + LOOK_EVERY
                await asyncio.sleep(LOOK_EVERY)
                now = self._clock()
                self._stalled = max(now - due, FADES * self._stalled)
                if self.estimate.silent(now):
                    self._viewer.hold(held=True)
                self.events.update(self.estimate, now)
        finally:
            for task in self._tasks:
                task.cancel()

    def _number(self, number: int) -> int:
        """Return a number of 16 bits as one without end, near to the newest."""
        if self._newest is None:
            return number + (1 << 16)
        return self._newest + ((number - self._newest + (1 << 15)) & 0xFFFF) - (1 << 15)
