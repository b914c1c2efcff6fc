"""Estimate what a viewer's line carries from the reports of its receiver (RFC 3550, section 6.4; REMB).

A receiver report tells the newest packet that arrived and the share that was lost. The server knows when it sent each
packet, so a report also tells how long the oldest packet that had not arrived was on its way: beyond the shortest time
seen, that is the queue in front of a bottleneck. Only a queue, or loss together with one, lowers the estimate: loss
alone is often radio, and sending less does not lower it. A receiver's own estimate (REMB) follows what is sent and
reads jitter as congestion, so it is believed only while there is a queue.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

HISTORY = 1024  # packets that are remembered
QUEUE = 0.25  # seconds that packets wait in front of a bottleneck, beyond which less is sent
CALM_QUEUE = 0.1  # seconds, below which more may be sent
BACK_OFF = 0.85  # of what was delivered, so that the queue drains
FLOOR = 4_000.0  # bits a second: the least that is assumed of any line
STEP = 0.6  # of the rate that is kept at least in one reduction, as the delivered rate is measured roughly
OVERFLOW = 0.25  # share of packets lost beyond what is usual on the line, by which a queue overflows
LOSING = 0.1  # share of packets lost, over a few reports, with which a queue that is short but lasts overflows
HOPELESS = 0.3  # share of packets lost, over a few reports, that a queue too short to be seen must cause
LONGEST_TRIP = 0.5  # seconds that a round trip without a queue is taken to last at most
DRAINS = 0.7  # of the queue of the report before: a smaller one is becoming empty
USED = 0.6  # of the rate; what sends less does not use it
UNUSED = 15  # reports in a row that find the rate not used, after which more is allowed
PATIENCE = 3.0  # seconds after a reduction before more is tried
GROWTH, QUICK_GROWTH, SLOW_GROWTH = 1.08, 1.25, 1.04  # a report
FAR, BEYOND = 0.7, 1.5  # of what was carried before the newest reduction: quick below the one, slow from 1 to the other
SILENCE = 2.5  # seconds, or this many times the longest pause between two reports, after which a line is silent


@dataclass(frozen=True)
class _Sent:
    number: int
    time: float
    total: int  # bytes of the stream up to and with this packet


@dataclass(frozen=True)
class _Report:
    time: float
    newest: int  # number of the newest packet that had arrived
    arrived: int  # bytes of the stream up to and with the newest packet that had arrived
    sent: int  # bytes of the stream that had been sent by then


class LineEstimate:
    """Estimate one line; times are seconds of one clock, which the caller reads."""

    def __init__(self, ample: float) -> None:
        """Begin without a limit; `ample` is the bits a second, headers included, of the unlimited stream."""
        self.rate: float | None = None  # bits a second, headers included, that the line carries; None: no limit seen
        self.loss = 0.0  # share of the packets, over the last few reports
        self.reports = 0  # so far
        self.queue = 0.0  # seconds that packets waited in front of a bottleneck
        self.round_trip: float | None = None  # seconds, without a queue; None before the first report
        self._ample = ample
        self._packets: deque[_Sent] = deque(maxlen=HISTORY)
        self._total = 0
        self._trips: deque[float] = deque(maxlen=30)  # seconds, of the newest reports
        self._last: _Report | None = None
        self._heard = 0.0  # when the receiver last said anything
        self._pause = 0.0  # the longest between two reports, slowly forgotten
        self._reduced = -PATIENCE  # when
        self._changed = 0  # number of the first packet that was sent after the newest reduction or silence
        self._silenced = False  # whether the line was silent since the newest report
        self._before = 0.0  # bits a second that were well carried, or half of what was sent, at the newest reduction
        self._unused = 0  # reports in a row that found the rate not used
        self._sending = 0.0  # bits a second between the newest two reports

    def __len__(self) -> int:
        """Return how many packets are remembered."""
        return len(self._packets)

    def sent(self, number: int, size: int, now: float) -> None:
        """Note a packet of the stream; numbers follow one another without end, `size` is bytes with all headers."""
        self._total += size
        self._packets.append(_Sent(number, now, self._total))

    def heard(self, now: float) -> None:
        """Note a sign of life, such as a request for a lost packet; a report is one without this call."""
        if self.silent(now):
            self._silenced = True
            self._changed = self._packets[-1].number + 1 if self._packets else 0
        self._heard = now

    def silent(self, now: float) -> bool:
        """Return whether the receiver, which has reported before, has not been heard of for long."""
        return self._last is not None and now - self._heard > max(SILENCE, SILENCE * self._pause)

    def reported(self, number: int, lost: float, now: float, stalled: float = 0.0) -> float:
        """Take a report: the newest packet that arrived, and the share of packets lost since the report before.

        `stalled` is how many seconds late this machine may read the report, which are no queue of the line.
        Returns the seconds for which nothing should be sent, so that a queue drains.
        """
        position = number - self._packets[0].number if self._packets else -1
        if not 0 <= position < len(self._packets):
            return 0.0
        self.heard(now)
        silent, last, self._silenced = self._silenced, self._last, False
        newest = self._packets[position]
        following = self._packets[position + 1] if position + 1 < len(self._packets) else None
        report = self._last = _Report(now, number, newest.total, self._total)
        self.reports += 1
        if silent and last is not None and (report.arrived - last.arrived) * (1 - lost) > (report.sent - last.sent) / 2:
            self._pause = now - last.time  # it received all the time, and reports rarely
        self._trips.append(now - newest.time)
        self.round_trip = min(*self._trips, LONGEST_TRIP)  # the queue may have been there from the start
        waited = now - stalled - following.time if following is not None else 0.0
        if last is None and position and waited > LONGEST_TRIP + QUEUE:
            self.queue, self._sending = waited - self.round_trip, 8 * report.sent / (now - self._packets[0].time)
            return self._congested(BACK_OFF * 8 * report.arrived / (now - self._packets[0].time), now)
        if silent or last is None or now <= last.time:
            self.queue = 0.0
            return 0.0
        between = now - last.time
        self._pause = max(0.9 * self._pause, between)
        queued, before = self.queue, self.loss
        self.queue = max(0.0, waited - self.round_trip)
        self.loss += 0.3 * (lost - self.loss)
        arrived, self._sending = (8 * n / between for n in (report.arrived - last.arrived, report.sent - last.sent))
        # one late report may be a busy machine at either end; a queue lasts, or overflows
        lasts = queued > QUEUE / 2 or lost > before + OVERFLOW
        drains = self.queue < DRAINS * queued
        # where the queue was there before the first report, it looks shorter than it is, and only its losses tell of it
        overflows = min(self.queue, queued) > CALM_QUEUE and min(self.loss, lost) > LOSING
        congested = (self.queue > QUEUE and lasts and not drains) or overflows or self.loss > HOPELESS
        # what was sent before the newest reduction or silence tells nothing of the rate since
        if congested and last.newest >= self._changed:
            return self._congested(BACK_OFF * arrived * (1 - lost), now)
        self._unused = self._unused + 1 if self.rate is not None and self._sending < USED * self.rate else 0
        if self.queue < CALM_QUEUE:
            self._grow(now)
        return 0.0

    def remb(self, bits: float, now: float) -> None:
        """Take the receiver's own estimate of the line, in bits a second."""
        known = self._last is not None and self._last.newest >= self._changed
        if known and self.queue > CALM_QUEUE and bits < 0.95 * self._sending:
            self._reduce(bits, now)

    def _congested(self, rate: float, now: float) -> float:
        """Reduce the rate; return the seconds for which nothing should be sent, so that the queue drains."""
        self._reduce(rate, now)
        return min(2.0, self.queue - QUEUE) if self.queue > 2 * QUEUE else 0.0

    def _reduce(self, rate: float, now: float) -> None:
        used = self.rate is None or self._sending >= USED * self.rate
        if used and now - self._reduced > PATIENCE:  # what the film did not send says nothing of the line
            self._before = max(rate, self._sending / 2)
        self._reduced = now
        self._changed = self._packets[-1].number + 1
        present = self.rate if self.rate is not None else self._ample
        least = STEP * self.rate if self.rate is not None else FLOOR
        self.rate = max(FLOOR, min(max(rate, least), present))

    def _grow(self, now: float) -> None:
        """Allow more where what was allowed was used, or has not been needed for long; in the end there is no limit."""
        if self.rate is None or now - self._reduced < PATIENCE or 0 < self._unused < UNUSED:
            return
        near = self._before <= self.rate < BEYOND * self._before
        self.rate *= QUICK_GROWTH if self.rate < FAR * self._before else SLOW_GROWTH if near else GROWTH
        if self.rate > 1.1 * self._ample:
            self.rate = None
